//! Equality and pickling of results.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use resolvent::field::interned;
use resolvent::{Array, Certificate, Labelled};

use crate::arrays::{contiguous, floats};
use crate::copies::{by, hash_of};
use crate::failure::{Result, value_error};
use crate::result::PyResultOf;

#[pymethods]
impl PyResultOf {
    /// Whether both have the same arrays, bit by bit, the same checks and the same metadata.
    fn __eq__(&self, other: &Bound<'_, PyAny>) -> Result<bool> {
        let Ok(other) = other.cast::<Self>() else { return Ok(false) };
        let (py, other) = (other.py(), other.get());
        if self.labels != other.labels || self.about.metadata != other.about.metadata {
            return Ok(false);
        }
        let (ours, theirs) = (self.labelled(py)?, other.labelled(py)?);
        let same = |a: &Array, b: &Array| {
            let bits = |array: &Array| array.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            a.name == b.name && a.axes == b.axes && bits(a) == bits(b)
        };
        let arrays = ours.arrays.len() == theirs.arrays.len();
        let arrays = arrays && ours.arrays.iter().zip(&theirs.arrays).all(|(a, b)| same(a, b));
        Ok(arrays && ours.certificates == theirs.certificates)
    }

    fn __hash__(&self) -> u64 {
        hash_of((&self.about.metadata, self.keys()))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Result<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let metadata = PyDict::new(py);
        for (key, value) in &self.about.metadata {
            metadata.set_item(key, value)?;
        }
        let checks = self.about.certificates.iter().map(|c| (c.name, c.value, c.noise, c.bound)).collect::<Vec<_>>();
        let arrays = self.arrays.iter().map(|(name, axes, array)| {
            let axes: Vec<&str> = axes.iter().map(|axis| axis.0).collect();
            (*name, axes, array.clone_ref(py))
        });
        let arrays: Vec<_> = arrays.collect();
        by(py, "_result", (metadata, checks, arrays, self.labels.clone()).into_pyobject(py)?)
    }
}

/// Makes a pickled result.
#[pyfunction]
pub(crate) fn _result(
    py: Python<'_>,
    metadata: BTreeMap<String, String>,
    checks: Vec<(String, f64, f64, f64)>,
    arrays: Vec<(String, Vec<String>, Bound<'_, PyAny>)>,
    labels: Vec<String>,
) -> Result<PyResultOf> {
    let mut result = Labelled::default();
    result.metadata = metadata;
    for (name, value, noise, bound) in checks {
        result.certificates.push(Certificate { name: interned(&name), value, noise, bound });
    }
    for (name, axes, array) in arrays {
        let array = floats(&array)?;
        let shape = numpy::PyUntypedArrayMethods::shape(&*array);
        if shape.len() != axes.len() {
            return Err(value_error(format!("invalid axes of `{name}`; pickle the result again")));
        }
        let axes = axes.iter().zip(shape).map(|(axis, n)| (interned(axis), *n)).collect();
        result.arrays.push(Array { name: interned(&name), axes, data: contiguous(&array)?.to_vec() });
    }
    let mut made = PyResultOf::new(py, result, None, None)?;
    made.labels = labels;
    Ok(made)
}
