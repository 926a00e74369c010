//! The prompts of a task as runs.

use std::collections::{BTreeMap, BTreeSet};

use resolvent_model::{Model, Observable, PromptCase, Run, RunOptions, Site, TokenPair, values};

use crate::case::{Case, runs_of_pairs};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::patch::both_values;
use crate::place::Place;
use crate::site_kind::SiteKind;
use crate::transfer::same_value;

use super::StudyOptions;
use super::left_out::{LeftOut, Record};

/// A task: the model, the pairs of prompts and the options of the study.
pub(super) struct Task<'a> {
    pub(super) model: &'a Model,
    pub(super) pairs: &'a [TokenPair],
    pub(super) options: &'a StudyOptions,
}

/// Pairs of runs with their observables J, such as the logit of the clean answer minus that of the corrupted one. J
/// differs between the two runs of each pair.
#[derive(Default)]
pub(super) struct Runs {
    /// Name of each pair, from the texts of its prompts.
    pub(super) names: Vec<String>,
    pub(super) clean: Vec<Run>,
    pub(super) corrupted: Vec<Run>,
    pub(super) observables: Vec<Observable>,
    /// J of both runs of each pair: clean, corrupted.
    pub(super) values: Vec<[f64; 2]>,
    /// First token at which the prompts of each pair differ.
    pub(super) changed: Vec<usize>,
}

impl Task<'_> {
    /// Returns `quick` for a quick study, and `full` otherwise.
    pub(super) fn size(&self, quick: usize, full: usize) -> usize {
        if self.options.quick { quick } else { full }
    }

    /// Runs the first `count` pairs that can be analysed, with the sites of `kinds`. Pairs that cannot be analysed are
    /// recorded.
    ///
    /// # Errors
    /// No pair that can be analysed, or a device error.
    pub(super) fn runs(&self, count: usize, kinds: &[SiteKind], record: &mut Record) -> Result<Runs> {
        let sites: BTreeSet<Site> = kinds.iter().flat_map(|kind| kind.sites(self.model.sizes())).collect();
        let options = RunOptions { sites: sites.into_iter().collect(), ..RunOptions::default() };
        let (mut runs, mut rest) = (Runs::default(), self.pairs);
        while runs.len() < count && !rest.is_empty() {
            let (now, later) = rest.split_at((count - runs.len()).min(rest.len()));
            rest = later;
            let made = match self.run_pairs(now, &options) {
                Ok(made) => made.into_iter().zip(now).collect(),
                // One invalid pair must not exclude the others, so each runs alone.
                Err(_) if now.len() > 1 => {
                    let mut made = Vec::new();
                    for pair in now {
                        let one = self.run_pairs(std::slice::from_ref(pair), &options);
                        let one = record.attempt(&self.name(pair), one)?;
                        made.extend(one.into_iter().flatten().map(|runs| (runs, pair)));
                    }
                    made
                }
                Err(error) => {
                    record.attempt::<()>(&self.name(&now[0]), Err(error))?;
                    Vec::new()
                }
            };
            let observables: Vec<Observable> = made.iter().map(|(_, pair)| pair.observable.clone()).collect();
            // All values of the chunk with one wait; if one is not finite, each alone, to leave out its pair.
            let both = made.iter().zip(&observables).flat_map(|(([a, b], _), j)| [(a, j), (b, j)]);
            let known = values(&both.collect::<Vec<_>>()).ok();
            for (i, (([clean, corrupted], pair), observable)) in made.into_iter().zip(observables).enumerate() {
                let found = match &known {
                    Some(known) => Ok([known[2 * i], known[2 * i + 1]]),
                    None => both_values([&clean, &corrupted], &observable),
                };
                let Some([to, from]) = record.attempt(&self.name(pair), found)? else { continue };
                if same_value(from, to) {
                    let reason = format!("J is the same in both prompts ({to:.4} and {from:.4})");
                    record.leave_out(LeftOut::new(self.name(pair), reason));
                    continue;
                }
                let changed = pair.clean.iter().zip(&pair.corrupted).position(|(a, b)| a != b);
                runs.names.push(self.name(pair));
                runs.clean.push(clean);
                runs.corrupted.push(corrupted);
                runs.observables.push(observable);
                runs.values.push([to, from]);
                runs.changed.push(changed.unwrap_or(0));
            }
        }
        if runs.len() == 0 {
            let pairs = self.pairs.len();
            return Err(Error::Input(format!("none of the {pairs} pairs can be analysed")));
        }
        Ok(runs)
    }

    /// Returns up to `count` pairs that can be analysed. Other pairs are recorded. If none can be analysed, returns
    /// none.
    ///
    /// # Errors
    /// A device error.
    pub(super) fn usable(&self, count: usize, record: &mut Record) -> Result<Vec<TokenPair>> {
        let runs = match self.runs(count, &[], record) {
            Ok(runs) => runs,
            Err(Error::Input(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let usable = |pair: &&TokenPair| {
            let mut both = runs.clean.iter().zip(&runs.corrupted);
            both.any(|(a, b)| a.tokens() == pair.clean && b.tokens() == pair.corrupted)
        };
        Ok(self.pairs.iter().filter(usable).cloned().collect())
    }

    /// Runs both prompts of each pair.
    fn run_pairs(&self, pairs: &[TokenPair], options: &RunOptions) -> Result<Vec<[Run; 2]>> {
        let [clean, corrupted] = runs_of_pairs(self.model, pairs, options)?;
        Ok(clean.into_iter().zip(corrupted).map(|(clean, corrupted)| [clean, corrupted]).collect())
    }

    /// Returns the name of a pair, from its texts.
    fn name(&self, pair: &TokenPair) -> String {
        let text = |ids: &[u32]| match self.model.tokenizer().map(|t| t.decode(ids)) {
            Some(Ok(text)) => text,
            _ => ids.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
        };
        pair_name(&text(&pair.clean), &text(&pair.corrupted))
    }

    /// Returns an empty result of `analysis` with the provenance of this task.
    pub(super) fn labelled(&self, analysis: &str, runs: &Runs) -> Labelled {
        let mut result = Labelled::new(analysis, &runs.clean[0]);
        // The tokens of one prompt of many are not useful provenance.
        result.metadata.remove("tokens");
        let seed = self.options.seed;
        result.note("prompts", runs.clean.len().to_string()).note("seed", seed.to_string())
    }

    /// Returns the tokens of a run as text, for the axes of examples. The list is JSON, since a token may contain any
    /// character.
    pub(super) fn labels(&self, run: &Run) -> String {
        let text = |id: &u32| self.model.tokenizer().map_or_else(|| format!("#{id}"), |t| t.token(*id));
        serde_json::json!(run.tokens().iter().map(text).collect::<Vec<String>>()).to_string()
    }
}

/// Returns the name of a pair of prompts: both texts, cut to fit on a line.
pub(super) fn pair_name(clean: &str, corrupted: &str) -> String {
    const MOST: usize = 60;
    let shown = |text: &str| {
        let cut: String = text.chars().take(MOST).flat_map(|c| c.escape_debug()).collect();
        if text.chars().nth(MOST).is_some() { cut + "..." } else { cut }
    };
    format!("pair \"{}\" / \"{}\"", shown(clean), shown(corrupted))
}

impl Runs {
    pub(super) fn len(&self) -> usize {
        self.clean.len()
    }

    /// Returns |J(clean) - J(corrupted)| of a pair, the common unit for effects of different prompts. It is not 0,
    /// because [`Task::runs`] leaves out pairs without a difference.
    pub(super) fn range(&self, pair: usize) -> f64 {
        let [clean, corrupted] = self.values[pair];
        (clean - corrupted).abs()
    }

    pub(super) fn cases(&self) -> Vec<Case<'_>> {
        let each = self.clean.iter().zip(&self.corrupted).zip(&self.observables);
        each.map(|((clean, corrupted), observable)| Case { clean, corrupted, observable }).collect()
    }

    /// Returns the pairs as prompts with their names.
    pub(super) fn prompts(&self) -> Vec<PromptCase> {
        let both = self.clean.iter().zip(&self.corrupted);
        let each = both.zip(&self.observables).zip(&self.names);
        each.map(|(((clean, corrupted), observable), name)| PromptCase {
            name: name.clone(),
            clean: clean.tokens().to_vec(),
            corrupted: Some(corrupted.tokens().to_vec()),
            observable: Some(observable.clone()),
            roles: BTreeMap::new(),
            edits: Vec::new(),
        })
        .collect()
    }

    /// Returns the places of every `step`-th level of a run and of the last level, at every `every`-th token from the
    /// last on.
    pub(super) fn places(run: &Run, step: usize, every: usize) -> Vec<Place> {
        let (last, tokens) = (run.model().sizes().layers, run.tokens().len());
        let levels: BTreeSet<usize> = (0..=last).step_by(step).chain([last]).collect();
        let chosen = move |t: &usize| (tokens - 1 - t).is_multiple_of(every);
        levels.into_iter().flat_map(|l| (0..tokens).filter(chosen).map(move |t| (l, t))).collect()
    }
}

/// Arrays of a flat result, which grow by one element at a time.
pub(super) struct Columns {
    columns: Vec<(&'static str, Vec<f32>)>,
    /// Returns the name of the second axis of a column that has one.
    inner: fn(&str) -> &'static str,
}

impl Columns {
    /// Returns no columns. `inner` names the second axis of columns that have one.
    pub(super) fn new(inner: fn(&str) -> &'static str) -> Self {
        Self { columns: Vec::new(), inner }
    }

    /// Appends an element to the column `name`.
    pub(super) fn push(&mut self, name: &'static str, value: f64) {
        self.extend(name, &[value as f32]);
    }

    /// Appends several elements to the column `name`.
    pub(super) fn extend(&mut self, name: &'static str, values: &[f32]) {
        match self.columns.iter_mut().find(|(n, _)| *n == name) {
            Some((_, column)) => column.extend_from_slice(values),
            None => self.columns.push((name, values.to_vec())),
        }
    }

    /// Appends the columns of another part of the same step.
    pub(super) fn append(&mut self, more: Self) {
        more.columns.into_iter().for_each(|(name, column)| self.extend(name, &column));
    }

    /// Returns whether all columns are empty: nothing of the step could be analysed.
    pub(super) fn is_empty(&self) -> bool {
        self.columns.iter().all(|(_, column)| column.is_empty())
    }

    /// Returns the columns if any has elements.
    ///
    /// # Errors
    /// Empty columns.
    pub(super) fn needed(self) -> Result<Self> {
        match self.is_empty() {
            true => Err(Error::Input("no pair of the task can be analysed in this step".to_owned())),
            false => Ok(self),
        }
    }

    /// Adds the columns to a result, as arrays over `axis`. Columns longer than the first have a second axis.
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
