//! The classes `Model` and `Run`, whose methods are in `model.rs` and `run.rs`: other files take them as arguments.

use std::collections::HashMap;
use std::sync::Mutex;

use pyo3::prelude::*;
use resolvent::model::{Model, Run};

/// A model with its weights on a device. L blocks, width d, vocabulary V.
#[pyclass(frozen, name = "Model", module = "resolvent")]
pub(crate) struct PyModel {
    pub(crate) model: Model,
    /// Weights that were read from the device, by name.
    pub(crate) weights: Mutex<HashMap<&'static str, Py<PyAny>>>,
}

impl PyModel {
    pub(crate) fn new(model: Model) -> Self {
        Self { model, weights: Mutex::default() }
    }
}

/// A forward pass of one prompt of T tokens, stored on the device: its field, its logits, and the input of all
/// analyses.
///
/// `run["blocks.3.hook_resid_pre"]`, or `run["resid_pre", 3]`, is the value of a site.
#[pyclass(frozen, name = "Run", module = "resolvent")]
pub(crate) struct PyRun {
    pub(crate) run: Run,
}

/// Returns the texts of a run's tokens, or their ids if the model has no tokenizer.
pub(crate) fn labels(run: &Run) -> Vec<String> {
    let text = |id: &u32| run.model().tokenizer().map_or_else(|| format!("#{id}"), |t| t.token(*id));
    run.tokens().iter().map(text).collect()
}
