//! The class `AveragedOperator`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use numpy::PyArrayDyn;
use pyo3::prelude::*;
use resolvent::field::AveragedOperator;

use crate::arrays::to_numpy;
use crate::failure::{Result, value_error};
use crate::result::PyResultOf;
use crate::work::detached;

/// Averaged operators of some levels, for `Model.lens` and for files of TransformerLens.
#[pyclass(frozen, name = "AveragedOperator", module = "resolvent")]
pub(crate) struct PyAveragedOperator {
    pub(crate) averaged: AveragedOperator,
}

#[pymethods]
impl PyAveragedOperator {
    /// Takes the operators of a result of `Prompts.average`.
    #[staticmethod]
    #[pyo3(text_signature = "(result)")]
    fn of(py: Python<'_>, result: &Bound<'_, PyResultOf>) -> Result<Self> {
        Ok(Self { averaged: AveragedOperator::of(&result.get().labelled(py)?)? })
    }

    /// Reads a saved result of `Prompts.average` (.safetensors), or a lens file of TransformerLens (.pt), without
    /// torch.
    #[staticmethod]
    #[pyo3(text_signature = "(path)")]
    fn load(py: Python<'_>, path: PathBuf) -> Result<Self> {
        Ok(Self { averaged: detached(py, |_| AveragedOperator::read(&path))? })
    }

    /// Writes a lens file (.pt) that `JacobianLens.load` of TransformerLens reads: the levels 1 to L - 1.
    fn save(&self, py: Python<'_>, path: PathBuf) -> Result<()> {
        detached(py, |_| self.averaged.write_lens(&path))?;
        Ok(())
    }

    /// The levels that have an operator. A lens file has those of 1 to L - 1.
    #[getter]
    fn levels(&self) -> Vec<usize> {
        self.averaged.levels()
    }

    /// The number of prompts.
    #[getter]
    fn n_prompts(&self) -> usize {
        self.averaged.prompts()
    }

    /// What the file says about itself.
    #[getter]
    fn metadata(&self) -> BTreeMap<String, String> {
        self.averaged.metadata().clone()
    }

    /// The operator [d, d] of a level: its rows are components of h[L].
    fn operator<'py>(&self, py: Python<'py>, level: usize) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let Some(operator) = self.averaged.operator(level) else {
            return Err(value_error(format!("no operator of level {level}; there are {:?}", self.averaged.levels())));
        };
        Ok(to_numpy(py, operator.to_vec(), &[self.averaged.width(), self.averaged.width()])?)
    }

    fn __repr__(&self) -> String {
        let (levels, prompts) = (self.averaged.levels(), self.averaged.prompts());
        format!("<resolvent.AveragedOperator of levels {levels:?}, over {prompts} prompts>")
    }
}
