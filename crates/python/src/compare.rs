//! Statistics of results of many prompts on the disk: of two sets, or of one.

use std::path::PathBuf;

use pyo3::prelude::*;
use resolvent::field::{self, CompareOptions, ResultSet};

use crate::failure::Result;
use crate::lists::Many;
use crate::result::PyResultOf;
use crate::work::detached;

/// Compares two sets of results, paired by the names of their prompts: b - a at each place, as an array NAME.difference
/// with its 95 % interval NAME.low and NAME.high, p values NAME.p, .p_holm and .p_bh, and NAME.pairs, .mean_a and
/// .mean_b.
///
/// A set is a folder of shards or a .safetensors file of many prompts; it may be larger than memory. `arrays` are
/// names; without them, all arrays that have the same places in all prompts. Differences of at most `floor` count as
/// none.
#[pyfunction]
#[pyo3(
    signature = (a, b, *, arrays = Many::default(), floor = 0.0),
    text_signature = "(a, b, *, arrays=(), floor=0.0)"
)]
pub(crate) fn compare(py: Python<'_>, a: PathBuf, b: PathBuf, arrays: Many<String>, floor: f64) -> Result<PyResultOf> {
    let options = CompareOptions { arrays: arrays.0, floor, ..CompareOptions::default() };
    let result = detached(py, |_| field::compare(&ResultSet::open(&a)?, &ResultSet::open(&b)?, &options))?;
    PyResultOf::new(py, result, None, None)
}

/// What is known of the values of all prompts at each place: NAME.mean with its 95 % interval NAME.low and NAME.high,
/// NAME.deviation, the quantiles NAME.q05, .q25, .median, .q75, .q95, and NAME.prompts.
///
/// `results` is a folder of shards or a .safetensors file of many prompts; it may be larger than memory. `arrays` are
/// as in `compare`.
#[pyfunction]
#[pyo3(
    signature = (results, *, arrays = Many::default()),
    text_signature = "(results, *, arrays=())"
)]
pub(crate) fn summarise(py: Python<'_>, results: PathBuf, arrays: Many<String>) -> Result<PyResultOf> {
    let options = CompareOptions { arrays: arrays.0, ..CompareOptions::default() };
    let result = detached(py, |_| field::summarise(&ResultSet::open(&results)?, &options))?;
    PyResultOf::new(py, result, None, None)
}
