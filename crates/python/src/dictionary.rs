//! The class `Dictionary`.

use std::path::PathBuf;

use numpy::{PyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use resolvent::field::{Dictionary, FeatureOptions, features_of_prompts};

use crate::arrays::{contiguous, floats, to_numpy};
use crate::failure::{Result, value_error};
use crate::lists::{Many, count};
use crate::prompts::PyPrompts;
use crate::result::PyResultOf;
use crate::work::detached;

/// A sparse autoencoder or transcoder, for `Model.features` and `Prompts.features`.
#[pyclass(frozen, name = "Dictionary", module = "resolvent")]
pub(crate) struct PyDictionary {
    pub(crate) dictionary: Dictionary,
}

#[pymethods]
impl PyDictionary {
    /// Opens a folder with cfg.json and sae_weights.safetensors, as SAELens writes it: standard, gated, JumpReLU and
    /// top-k autoencoders, and transcoders.
    #[staticmethod]
    #[pyo3(text_signature = "(path)")]
    fn load(py: Python<'_>, path: PathBuf) -> Result<Self> {
        Ok(Self { dictionary: detached(py, |_| Dictionary::open(&path))? })
    }

    /// The number of features.
    #[getter]
    fn n_features(&self) -> usize {
        self.dictionary.features()
    }

    /// The names of the activations that are encoded and decoded.
    #[getter]
    fn hooks(&self) -> (&str, &str) {
        let [input, output] = self.dictionary.hooks();
        (input, output)
    }

    /// Encodes rows [n, d] of an activation: factors of the decoder's rows [n, F], which are the activations of the
    /// features unless the dictionary normalizes.
    fn encode<'py>(&self, py: Python<'py>, rows: &Bound<'py, PyAny>) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let array = floats(rows)?;
        if array.shape().len() != 2 {
            return Err(value_error(format!("invalid shape {:?}: expected rows [n, d]", array.shape())));
        }
        let (elements, n) = (contiguous(&array)?, self.dictionary.features());
        let codes = detached(py, |_| self.dictionary.encode(elements))?;
        let mut dense = vec![0.0; codes.len() * n];
        for (code, row) in codes.iter().zip(dense.chunks_mut(n)) {
            code.features.iter().for_each(|&(f, factor)| row[f as usize] = factor);
        }
        Ok(to_numpy(py, dense, &[codes.len(), n])?)
    }

    /// The decoder's rows of some features as columns [d, k]: a basis for `Run.slice`.
    fn directions<'py>(&self, py: Python<'py>, features: Many<i64>) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let features = features.0.into_iter().map(|f| count("features", f)).collect::<Result<Vec<usize>>>()?;
        let mut basis = self.dictionary.basis(&features)?;
        let array = basis.arrays.remove(0);
        let shape: Vec<usize> = array.axes.iter().map(|axis| axis.1).collect();
        Ok(to_numpy(py, array.data, &shape)?)
    }

    fn __repr__(&self) -> String {
        let [input, output] = self.dictionary.hooks();
        let through = if input == output { input.to_owned() } else { format!("{input} to {output}") };
        format!("<resolvent.Dictionary of {} features: {through}>", self.dictionary.features())
    }
}

#[pymethods]
impl PyPrompts {
    /// Attributes the effects of all prompts to the features of a dictionary that have the largest mean first-order
    /// effects.
    ///
    /// Features of each corrupted prompt become those of the clean one; without corrupted prompts, zero. Arrays are
    /// those of `Model.features`, with an axis `prompt`. `controls` other prompts give `other_prompts` [P, K]: the
    /// effects if each feature moved as in them, as far in all (root mean square).
    #[pyo3(
        signature = (dictionary, *, top = 20, exact = false, controls = 0),
        text_signature = "($self, dictionary, *, top=20, exact=False, controls=0)"
    )]
    fn features(
        &self,
        py: Python<'_>,
        dictionary: &Bound<'_, PyDictionary>,
        top: i64,
        exact: bool,
        controls: i64,
    ) -> Result<PyResultOf> {
        let dictionary = &dictionary.get().dictionary;
        let options = FeatureOptions { top: count("top", top)?, exact, controls: count("controls", controls)? };
        let this = self.without_edits("features")?;
        this.analysed(py, |progress| features_of_prompts(&self.model, &self.cases, dictionary, options, progress))
    }
}
