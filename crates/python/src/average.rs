//! `Prompts.average`, `Prompts.reach`, and windows of long texts.

use pyo3::prelude::*;
use resolvent::field::{AverageOptions, Probes, average, reach};
use resolvent::model::PromptText;

use crate::classes::PyModel;
use crate::failure::Result;
use crate::lists::{Seed, count};
use crate::prompts::PyPrompts;
use crate::result::PyResultOf;
use crate::work::detached;

#[pymethods]
impl PyPrompts {
    /// The Green operator to the last level, averaged over positions and clean prompts: the Jacobian lens of
    /// TransformerLens.
    ///
    /// The first `skip_first` and the last `skip_last` positions of each prompt are left out, as are prompts without
    /// others.
    ///
    /// Arrays: `operator` [L+1, d, d], whose rows are components of h[L]; `gain` (|J| / sqrt(d)), `from_identity`
    /// (|J - 1| / sqrt(d)) [L+1]; `positions` [P]; with two prompts or more `standard_error` [L+1, d, d], `spread` and
    /// `error` [L+1], over prompts.
    #[pyo3(
        signature = (*, skip_first = 16, skip_last = 1),
        text_signature = "($self, *, skip_first=16, skip_last=1)"
    )]
    fn average(&self, py: Python<'_>, skip_first: i64, skip_last: i64) -> Result<PyResultOf> {
        let (skip_first, skip_last) = (count("skip_first", skip_first)?, count("skip_last", skip_last)?);
        let options = AverageOptions { skip_first, skip_last };
        self.without_edits("average")?.analysed(py, |progress| average(&self.model, &self.cases, options, progress))
    }

    /// How strongly sources at all places act at each depth and distance in tokens, on average over places and prompts.
    ///
    /// At each place, `directions` random directions are taken; 0 takes all d unit directions, which is exact.
    ///
    /// Arrays: `gain` [L+1, T] over depth and distance, `across` (squared gain over that at the own token), `spread`
    /// (over places) of the same shape; `others` [L+1], the share at other tokens; `by_level` [L+1, L+1, T];
    /// `prompts_at` [T]; with two prompts or more `error` [L+1, T].
    #[pyo3(signature = (*, directions = 4, seed = Seed(0)), text_signature = "($self, *, directions=4, seed=0)")]
    fn reach(&self, py: Python<'_>, directions: i64, seed: Seed) -> Result<PyResultOf> {
        let probes = match count("directions", directions)? {
            0 => Probes::Exact,
            directions => Probes::Hutchinson(directions, seed.0),
        };
        self.without_edits("reach")?.analysed(py, |progress| reach(&self.model, &self.cases, probes, progress))
    }
}

#[pymethods]
impl PyModel {
    /// Consecutive windows of a long text, each a list of `length` token ids, for `prompts`.
    #[pyo3(signature = (text, length = 128), text_signature = "($self, text, length=128)")]
    fn windows(&self, py: Python<'_>, text: &str, length: i64) -> Result<Vec<Vec<u32>>> {
        let length = count("length", length)?;
        let rows = detached(py, |_| self.model.windows(text, length))?;
        let ids = rows.into_iter().filter_map(|row| match row.clean {
            PromptText::Ids(ids) => Some(ids),
            PromptText::Text(_) => None,
        });
        Ok(ids.collect())
    }
}
