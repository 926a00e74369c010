//! Shards of an analysis of many prompts, for `resolvent.distribute`, which has the processes.

use std::cell::Cell;
use std::ops::Range;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use resolvent::field::{Prompts, Shards};

use crate::failure::{Result, value_error};
use crate::lists::count;
use crate::work::detached;

/// Analyses of `Prompts` that have a result for each prompt.
pub(crate) const EACH: [&str; 11] =
    ["run", "sensitivity", "patch", "transfer", "flow", "edges", "attribute", "lens", "green", "regime", "invert"];

/// A shard that the next analysis of this thread computes, in place of the result of all prompts.
pub(crate) struct Target {
    shards: Shards,
    shard: usize,
}

thread_local! {
    static TARGET: Cell<Option<Target>> = const { Cell::new(None) };
}

impl Target {
    /// Takes the shard that this thread is to compute.
    pub(crate) fn take() -> Option<Self> {
        TARGET.take()
    }

    /// Returns the prompts of the shard.
    pub(crate) fn prompts(&self) -> Range<usize> {
        self.shards.work().rows(self.shard)
    }

    /// Writes the shard.
    pub(crate) fn write(&self, results: &Prompts) -> resolvent::field::Result<()> {
        self.shards.write(self.shard, results, 0)
    }
}

/// The shards of an analysis, in a folder.
#[pyclass(frozen, name = "_Shards", module = "resolvent._native")]
pub(crate) struct PyShards {
    pub(crate) prompts: Py<PyAny>,
    pub(crate) analysis: String,
    pub(crate) options: Py<PyDict>,
    pub(crate) shards: Shards,
}

#[pymethods]
impl PyShards {
    fn __len__(&self) -> usize {
        self.shards.work().shards()
    }

    /// Computes a shard, unless it is there. Returns whether it was computed.
    fn compute(&self, py: Python<'_>, shard: i64) -> Result<bool> {
        let (shard, all) = (count("shard", shard)?, self.shards.work().shards());
        if shard >= all {
            return Err(value_error(format!("no shard {shard}; there are {all}, from 0")));
        }
        if detached(py, |_| self.shards.is_complete(shard))? {
            return Ok(false);
        }
        TARGET.set(Some(Target { shards: self.shards.clone(), shard }));
        let done = self.prompts.bind(py).call_method(&*self.analysis, (), Some(self.options.bind(py)));
        TARGET.set(None);
        done?;
        Ok(true)
    }
}

/// Returns the numbers of the shards of a folder that are missing, and the number of all.
#[pyfunction]
pub(crate) fn _missing(py: Python<'_>, folder: PathBuf) -> Result<(Vec<usize>, usize)> {
    detached(py, |_| {
        let shards = Shards::open(&folder)?;
        Ok::<_, resolvent::field::Error>((shards.missing()?, shards.work().shards()))
    })
}

/// Returns the paths of the shards of a folder, whether or not they exist.
#[pyfunction]
pub(crate) fn _paths(folder: PathBuf) -> Result<Vec<PathBuf>> {
    let shards = Shards::open(&folder)?;
    Ok((0..shards.work().shards()).map(|shard| shards.path(shard)).collect())
}

/// Joins the shards of a folder into one result file.
#[pyfunction]
pub(crate) fn _merge(py: Python<'_>, folder: PathBuf, out: PathBuf) -> Result<()> {
    detached(py, |_| Shards::open(&folder)?.merge_into(&out).map(|_| ()))
}
