//! The prompts of a task as runs.

use std::collections::BTreeSet;

use resolvent_model::{Model, Observable, Run, RunOptions, Site, TokenPair};

use crate::error::Result;
use crate::labelled::Labelled;
use crate::patch::Case;
use crate::place::Place;
use crate::site_kind::SiteKind;

use super::StudyOptions;

/// A task and what to make of it.
pub(super) struct Task<'a> {
    pub(super) model: &'a Model,
    pub(super) pairs: &'a [TokenPair],
    pub(super) options: &'a StudyOptions,
}

/// Pairs of runs with what is read: the logit of the clean answer less that of the corrupted one, at the last token.
pub(super) struct Runs {
    pub(super) clean: Vec<Run>,
    pub(super) corrupted: Vec<Run>,
    pub(super) observables: Vec<Observable>,
    /// The first token at which the prompts of a pair differ.
    pub(super) changed: Vec<usize>,
}

impl Task<'_> {
    /// One number for a quick study, another for a full one.
    pub(super) fn size(&self, quick: usize, full: usize) -> usize {
        if self.options.quick { quick } else { full }
    }

    /// Runs of the first `count` pairs, ready for sites of `kinds`.
    pub(super) fn runs(&self, count: usize, kinds: &[SiteKind]) -> Result<Runs> {
        let pairs = &self.pairs[..count.min(self.pairs.len())];
        let sites: BTreeSet<Site> = kinds.iter().flat_map(|kind| kind.sites(self.model.config())).collect();
        let options = RunOptions { sites: sites.into_iter().collect(), ..RunOptions::default() };
        let all = |of: fn(&TokenPair) -> &Vec<u32>| -> Result<Vec<Run>> {
            let tokens: Vec<&[u32]> = pairs.iter().map(|p| &of(p)[..]).collect();
            Ok(self.model.run_all(&tokens, &options)?)
        };
        let observable = |p: &TokenPair| Observable::logit_diff(p.target, p.against, p.clean.len() - 1);
        let changed = |p: &TokenPair| p.clean.iter().zip(&p.corrupted).position(|(a, b)| a != b).unwrap_or(0);
        Ok(Runs {
            clean: all(|p| &p.clean)?,
            corrupted: all(|p| &p.corrupted)?,
            observables: pairs.iter().map(observable).collect(),
            changed: pairs.iter().map(changed).collect(),
        })
    }

    /// A result of `analysis` with the provenance of this task.
    pub(super) fn labelled(&self, analysis: &str, runs: &Runs) -> Labelled {
        let mut result = Labelled::new(analysis, &runs.clean[0]);
        // The tokens of one prompt of many say nothing.
        result.metadata.remove("tokens");
        let seed = self.options.seed;
        result.note("prompts", runs.clean.len().to_string()).note("seed", seed.to_string())
    }

    /// The tokens of a run as text, for the axes of examples; JSON, since tokens may hold anything.
    pub(super) fn labels(&self, run: &Run) -> String {
        let text = |id: &u32| self.model.tokenizer().map_or_else(|| format!("#{id}"), |t| t.token(*id));
        serde_json::json!(run.tokens().iter().map(text).collect::<Vec<String>>()).to_string()
    }
}

impl Runs {
    pub(super) fn len(&self) -> usize {
        self.clean.len()
    }

    pub(super) fn cases(&self) -> Vec<Case<'_>> {
        let each = self.clean.iter().zip(&self.corrupted).zip(&self.observables);
        each.map(|((clean, corrupted), observable)| Case { clean, corrupted, observable }).collect()
    }

    /// Every `step`-th level of a run, and the last one, at every token.
    pub(super) fn places(run: &Run, step: usize) -> Vec<Place> {
        let last = run.model().config().n_layer;
        let levels: BTreeSet<usize> = (0..=last).step_by(step).chain([last]).collect();
        levels.into_iter().flat_map(|l| (0..run.tokens().len()).map(move |t| (l, t))).collect()
    }
}

/// Arrays that grow a number at a time, side by side: what flat results are made of.
pub(super) struct Columns {
    columns: Vec<(&'static str, Vec<f32>)>,
    inner: fn(&str) -> &'static str,
}

impl Columns {
    /// None yet. `inner` names the second axis of those columns that have one.
    pub(super) fn new(inner: fn(&str) -> &'static str) -> Self {
        Self { columns: Vec::new(), inner }
    }

    /// Adds to the column `name`.
    pub(super) fn push(&mut self, name: &'static str, value: f64) {
        self.extend(name, &[value as f32]);
    }

    /// Adds several numbers to the column `name`.
    pub(super) fn extend(&mut self, name: &'static str, values: &[f32]) {
        match self.columns.iter_mut().find(|(n, _)| *n == name) {
            Some((_, column)) => column.extend_from_slice(values),
            None => self.columns.push((name, values.to_vec())),
        }
    }

    /// Adds the columns to a result, as arrays over `axis`; those longer than the first have a second axis.
    pub(super) fn into(self, mut result: Labelled, axis: &'static str) -> Labelled {
        let rows = self.columns.first().map_or(0, |(_, column)| column.len());
        for (name, column) in self.columns {
            let width = column.len() / rows.max(1);
            result = match width {
                0 | 1 => result.with(name, &[(axis, rows)], column),
                _ => result.with(name, &[(axis, rows), ((self.inner)(name), width)], column),
            };
        }
        result
    }
}
