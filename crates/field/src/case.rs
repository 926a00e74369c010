//! Pairs of runs to patch between.

use resolvent_model::{Model, Observable, Run, RunOptions, TokenPair};

use crate::error::{Error, Result};
use crate::labelled::Labelled;

/// Two runs to patch between, and the observable.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The run that values come from.
    pub clean: &'a Run,
    /// The run that the values are put into.
    pub corrupted: &'a Run,
    /// The observable.
    pub observable: &'a Observable,
}

impl<'a> Case<'a> {
    /// Returns the observable in the run that is patched.
    pub(crate) fn reading(&self) -> (&'a Run, &'a Observable) {
        (self.corrupted, self.observable)
    }

    /// Returns an empty result of `analysis` with the provenance of the case.
    pub(crate) fn named(&self, analysis: &str) -> Labelled {
        let clean: Vec<String> = self.clean.tokens().iter().map(u32::to_string).collect();
        Labelled::new(analysis, self.corrupted)
            .note("observable", self.observable.to_string())
            .note("clean_tokens", clean.join(","))
    }

    /// Checks that the runs can be paired.
    ///
    /// # Errors
    /// Runs of different models or lengths.
    pub fn check(&self) -> Result<()> {
        let (clean, corrupted) = (self.clean.tokens().len(), self.corrupted.tokens().len());
        if clean != corrupted {
            return Err(Error::Input(format!(
                "the clean prompt has {clean} tokens and the corrupted one {corrupted}; give prompts of the same length"
            )));
        }
        if self.clean.model().hash() != self.corrupted.model().hash() {
            return Err(Error::Input("the clean and the corrupted run belong to different models".to_owned()));
        }
        Ok(())
    }
}

/// Runs the clean and the corrupted prompts of pairs, all of each in one batch.
pub(crate) fn runs_of_pairs(model: &Model, pairs: &[TokenPair], options: &RunOptions) -> Result<[Vec<Run>; 2]> {
    let all = |of: fn(&TokenPair) -> &Vec<u32>| -> Result<Vec<Run>> {
        let tokens: Vec<&[u32]> = pairs.iter().map(|pair| &of(pair)[..]).collect();
        Ok(model.run_all(&tokens, options)?)
    };
    Ok([all(|pair| &pair.clean)?, all(|pair| &pair.corrupted)?])
}
