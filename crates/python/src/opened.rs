//! How models were opened, so that a copy in another process opens them again.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use resolvent::engine::{Choice, Options};
use resolvent::model::{Model, embedded_models};

use crate::classes::PyModel;
use crate::download::hub;
use crate::failure::{Result, value_error};
use crate::work::detached;

/// The arguments of `Model.from_pretrained`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opened {
    pub(crate) name: String,
    pub(crate) device: String,
    pub(crate) memory: u64,
    /// `f16_weights` and `f16_inputs`.
    pub(crate) rounded: [bool; 2],
}

/// Arguments by the models that they opened: hash and device.
static OPENED: Mutex<Vec<([String; 2], Opened)>> = Mutex::new(Vec::new());

fn key(model: &Model) -> [String; 2] {
    [model.hash().to_owned(), model.device().info().to_string()]
}

impl Opened {
    /// Opens the model and remembers how.
    pub(crate) fn open(mut self, py: Python<'_>, progress: bool) -> Result<PyModel> {
        let choice: Choice = self.device.parse()?;
        let [f16_weights, f16_inputs] = self.rounded;
        let options = Options { batch_bytes: self.memory, f16_weights, f16_inputs, ..Options::new(choice) };
        let device = detached(py, |_| resolvent::open(&options))?;
        let model = detached(py, |raised| Model::named_with(&device, &self.name, &hub(raised, progress)))?;
        // The other process may have another working directory.
        let path = Path::new(&self.name);
        if let Ok(path) = path.canonicalize()
            && embedded_models().all(|name| name != self.name)
            && let Some(path) = path.to_str()
        {
            path.clone_into(&mut self.name);
        }
        let key = key(&model);
        let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(known, _)| *known != key);
        all.push((key, self));
        Ok(PyModel::new(model))
    }

    /// Returns the arguments that opened a model.
    pub(crate) fn of(model: &Model) -> Result<Self> {
        let key = key(model);
        let all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().find(|(known, _)| *known == key).map(|(_, opened)| opened.clone());
        found.ok_or_else(|| value_error(format!("{} was not opened by name and cannot be copied", model.name())))
    }
}
