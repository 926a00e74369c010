//! `--edit`: edits of all prompts of an analysis.

use std::path::Path;

use clap::Args;
use resolvent::field::read_direction;
use resolvent::model::{Edit, EditText, EditedPrompt, Error, Model, Result, Run, Site};

/// Edits under which every prompt runs.
#[derive(Args, Clone, Default)]
pub(crate) struct EditArgs {
    /// Edit of each prompt: ablate(SITE), scale(SITE, NUMBER), add(SITE, VECTOR), put(SITE, VECTOR) or
    /// project_out(SITE, VECTOR), with @POSITION for one token; a vector is a number or a safetensors file with an
    /// array `direction`; may be given several times
    #[arg(long, value_name = "EDIT", allow_hyphen_values = true)]
    edit: Vec<EditText>,
}

impl EditArgs {
    /// Returns the edits of a prompt of `tokens` tokens.
    pub(crate) fn of(&self, model: &Model, tokens: usize) -> Result<Vec<Edit>> {
        let read =
            |file: &str, width: usize| read_direction(Path::new(file), width).map_err(|e| Error::Place(e.to_string()));
        let edits = self.edit.iter().map(|edit| edit.edits(model, tokens, &read));
        Ok(edits.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Runs a prompt under the edits.
    pub(crate) fn run(&self, model: &Model, tokens: &[u32]) -> Result<Run> {
        model.run(tokens, &self.of(model, tokens.len())?)
    }

    /// Runs prompts under the edits, in one batch, prepared for `sites`.
    pub(crate) fn run_all(&self, model: &Model, prompts: &[Vec<u32>], sites: &[Site]) -> Result<Vec<Run>> {
        let edits = prompts.iter().map(|tokens| self.of(model, tokens.len())).collect::<Result<Vec<_>>>()?;
        let edited = prompts.iter().zip(&edits).map(|(tokens, edits)| EditedPrompt { tokens, edits });
        model.run_edited(&edited.collect::<Vec<_>>(), sites)
    }
}
