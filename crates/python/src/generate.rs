//! `Model.generate`: a prompt is continued token by token.

use numpy::PyArray1;
use pyo3::prelude::*;
use resolvent::model::{Edit, Sampling};

use crate::arguments::{Token, tokens};
use crate::classes::PyModel;
use crate::edit::PyEdit;
use crate::failure::Result;
use crate::lists::{List, Many, Seed, count, counts};
use crate::work::detached;

#[pymethods]
impl PyModel {
    /// Continues a prompt by up to `max_new_tokens` tokens under edits, and returns their ids [N], uint32.
    ///
    /// `prompt` is text or ids; the edits are at its tokens, and negative positions count from its end. With
    /// `temperature` 0 each token is the most likely one. Otherwise it is sampled, among the `top_k` most likely
    /// tokens, and among the fewest whose probability together reaches `top_p`. It ends after a token of `stop`. Each
    /// token takes a pass of one row over the keys and values of the tokens before it.
    #[pyo3(
        signature = (prompt, max_new_tokens = 10, edits = Many::default(), *, temperature = 0.0, top_k = None, top_p = None,
            seed = Seed(0), stop = Many::default()),
        text_signature = "($self, prompt, max_new_tokens=10, edits=(), *, temperature=0.0, top_k=None, top_p=None, seed=0, \
            stop=())"
    )]
    fn generate<'py>(
        &self,
        py: Python<'py>,
        prompt: &Bound<'py, PyAny>,
        max_new_tokens: i64,
        edits: Many<Py<PyEdit>>,
        temperature: f64,
        top_k: Option<i64>,
        top_p: Option<f64>,
        seed: Seed,
        stop: Many<Token>,
    ) -> Result<Bound<'py, PyArray1<u32>>> {
        let tokens = tokens(&self.model, prompt)?;
        let sampling = (temperature, top_k, top_p, seed);
        Ok(self.continued(py, vec![tokens], (max_new_tokens, edits, stop), sampling)?.remove(0))
    }

    /// Continues each of several prompts as `generate` does, and returns a list of ids. Positions of edits are those of
    /// each prompt.
    #[pyo3(
        signature = (prompts, max_new_tokens = 10, edits = Many::default(), *, temperature = 0.0, top_k = None, top_p = None,
            seed = Seed(0), stop = Many::default()),
        text_signature = "($self, prompts, max_new_tokens=10, edits=(), *, temperature=0.0, top_k=None, top_p=None, seed=0, \
            stop=())"
    )]
    fn generate_all<'py>(
        &self,
        py: Python<'py>,
        prompts: List<Bound<'py, PyAny>>,
        max_new_tokens: i64,
        edits: Many<Py<PyEdit>>,
        temperature: f64,
        top_k: Option<i64>,
        top_p: Option<f64>,
        seed: Seed,
        stop: Many<Token>,
    ) -> Result<Vec<Bound<'py, PyArray1<u32>>>> {
        let prompts = prompts.0.iter().map(|prompt| tokens(&self.model, prompt)).collect::<Result<Vec<_>>>()?;
        self.continued(py, prompts, (max_new_tokens, edits, stop), (temperature, top_k, top_p, seed))
    }
}

impl PyModel {
    /// Continues prompts.
    fn continued<'py>(
        &self,
        py: Python<'py>,
        prompts: Vec<Vec<u32>>,
        (many, edits, stop): (i64, Many<Py<PyEdit>>, Many<Token>),
        (temperature, top_k, top_p, seed): (f64, Option<i64>, Option<f64>, Seed),
    ) -> Result<Vec<Bound<'py, PyArray1<u32>>>> {
        let model = &self.model;
        let edits = prompts.iter().map(|tokens| PyEdit::all(&edits.0, model, tokens.len()));
        let edits = edits.collect::<Result<Vec<Vec<Edit>>>>()?;
        let stop = stop.0.iter().map(|one| one.id(model)).collect::<Result<Vec<u32>>>()?;
        let many = count("max_new_tokens", many)?;
        let (top_k, seed) = (counts("top_k", top_k)?, seed.0);
        let sampling = Sampling { temperature, top_k, top_p, seed };
        let each = |(tokens, edits): (&Vec<u32>, &Vec<Edit>)| model.generate(tokens, edits, (many, &stop), &sampling);
        let found = detached(py, |_| prompts.iter().zip(&edits).map(each).collect::<Result<Vec<_>, _>>())?;
        Ok(found.into_iter().map(|ids| PyArray1::from_vec(py, ids)).collect())
    }
}
