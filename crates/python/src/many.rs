//! `Model.run_all`: several prompts in one batch.

use pyo3::prelude::*;
use resolvent::model::{Edit, EditedPrompt, Site};

use crate::arguments::tokens;
use crate::classes::{PyModel, PyRun};
use crate::edit::PyEdit;
use crate::failure::Result;
use crate::lists::{List, Many};
use crate::work::detached;

#[pymethods]
impl PyModel {
    /// Runs several prompts of any lengths in one batch, each under the same edits, and returns a `Run` for each.
    ///
    /// Prompts are texts or token ids; nothing is padded. Positions of edits are those of each prompt. For one result
    /// of an analysis over all prompts, use `prompts`.
    #[pyo3(
        signature = (prompts, edits = Many::default(), *, sites = Many::default()),
        text_signature = "($self, prompts, edits=(), *, sites=())"
    )]
    fn run_all(
        &self,
        py: Python<'_>,
        prompts: List<Py<PyAny>>,
        edits: Many<Py<PyEdit>>,
        sites: Many<String>,
    ) -> Result<Vec<PyRun>> {
        let model = &self.model;
        let prompts = prompts.0.iter().map(|prompt| tokens(model, prompt.bind(py))).collect::<Result<Vec<_>>>()?;
        for tokens in &prompts {
            resolvent::model::check_prompt(model.sizes(), tokens)?;
        }
        let of_prompt = |tokens: &Vec<u32>| PyEdit::all(&edits.0, model, tokens.len());
        let edits = prompts.iter().map(of_prompt).collect::<Result<Vec<Vec<Edit>>>>()?;
        let sites = sites.0.iter().map(|site| Ok(site.parse()?)).collect::<Result<Vec<Site>>>()?;
        let edited = prompts.iter().zip(&edits).map(|(tokens, edits)| EditedPrompt { tokens, edits });
        let edited: Vec<EditedPrompt<'_>> = edited.collect();
        let runs = detached(py, |_| model.run_edited(&edited, &sites))?;
        Ok(runs.into_iter().map(|run| PyRun { run }).collect())
    }
}
