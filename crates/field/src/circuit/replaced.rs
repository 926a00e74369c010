//! What edges outside of a circuit carry.

use resolvent_model::{EditedPrompt, Model, Outputs, PromptCase, Run, Writer, outputs_of, path_sites};

use super::{Ablation, CircuitOptions};
use crate::case::Case;
use crate::certificate::narrow;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::nodes::last_rows;
use crate::prompts::{CaseRuns, others, over_prompts};

/// The outputs of writers that take the place of those of the clean run.
pub(super) enum Replaced<'a> {
    /// Those of the corrupted run.
    Corrupted,
    /// Zero.
    Zero,
    /// The mean output of each writer, `[W, d]`.
    Mean(Vec<f32>),
    /// Those of other clean prompts.
    Resample {
        /// All prompts.
        cases: &'a [PromptCase],
        /// How many others each prompt takes.
        count: usize,
        /// Seed of the choice.
        seed: u64,
    },
}

impl<'a> Replaced<'a> {
    /// Computes what all cases share: means are over the measured ones, other prompts are of all.
    pub(super) fn new(
        model: &Model,
        [measured, cases]: [&'a [PromptCase]; 2],
        options: &CircuitOptions,
    ) -> Result<Self> {
        Ok(match options.ablation {
            Ablation::Corrupted => Self::Corrupted,
            Ablation::Zero => Self::Zero,
            Ablation::Mean => Self::Mean(mean_outputs(model, measured)?),
            Ablation::Resample => Self::Resample { cases, count: options.resamples, seed: options.seed },
        })
    }

    pub(super) fn ablation(&self) -> Ablation {
        match self {
            Self::Corrupted => Ablation::Corrupted,
            Self::Zero => Ablation::Zero,
            Self::Mean(_) => Ablation::Mean,
            Self::Resample { .. } => Ablation::Resample,
        }
    }

    /// Returns the outputs of all writers, `[W, T, d]`: one set, or one for each prompt that takes the place.
    pub(super) fn of(&self, case: &Case<'_>) -> Result<Vec<Vec<f32>>> {
        let (model, tokens) = (case.clean.model(), case.clean.tokens());
        let sizes = model.sizes();
        Ok(match self {
            Self::Corrupted => vec![outputs_of(&[case.corrupted])?.remove(0).data],
            Self::Zero => vec![vec![0.0; Writer::all(sizes).len() * tokens.len() * sizes.d]],
            Self::Mean(mean) => vec![mean.chunks(sizes.d).flat_map(|row| row.repeat(tokens.len())).collect()],
            Self::Resample { cases, count, seed } => {
                let others = others(cases, tokens, (*count, *seed))?;
                let prompts: Vec<EditedPrompt<'_>> =
                    others.iter().map(|case| EditedPrompt { tokens: &case.clean, edits: &case.edits }).collect();
                let runs = model.run_edited(&prompts, &path_sites(sizes))?;
                let all = outputs_of(&runs.iter().collect::<Vec<_>>())?.into_iter();
                all.map(|outputs| last_rows(&outputs.data, [outputs.tokens, tokens.len()], sizes.d)).collect()
            }
        })
    }
}

/// Returns the mean output of each writer, `[W, d]`, over all tokens of the clean prompts.
fn mean_outputs(model: &Model, cases: &[PromptCase]) -> Result<Vec<f32>> {
    let (sizes, writers) = (*model.sizes(), Writer::all(model.sizes()).len());
    let clean: Vec<PromptCase> = cases.iter().map(|case| PromptCase { corrupted: None, ..case.clone() }).collect();
    let sums_of = |run: &Run| -> Result<Labelled> {
        let Outputs { data, tokens, d, .. } = outputs_of(&[run])?.remove(0);
        let column = |rows: &[f32], i: usize| rows[i..].iter().step_by(d).map(|&x| f64::from(x)).sum::<f64>() as f32;
        let sums = data.chunks(tokens * d).flat_map(|rows| (0..d).map(move |i| column(rows, i))).collect();
        Ok(Labelled::new("outputs", run).with("sum", &[("writer", writers), ("d", d)], sums))
    };
    // A batch that fails is tried again in parts, so the sums of its prompts are added only in the end.
    let analysis = &mut |runs: &[CaseRuns<'_>]| Ok(runs.iter().map(|runs| sums_of(&runs.clean)).collect());
    let found = over_prompts(model, &clean, &path_sites(&sizes), analysis, &mut |_, _| {})?;
    found.some()?;
    let count = found.lengths.iter().sum::<usize>() as f64;
    let mut mean = vec![0.0f64; writers * sizes.d];
    for sums in found.results.iter().filter_map(|result| result.array("sum")) {
        mean.iter_mut().zip(&sums.data).for_each(|(mean, x)| *mean += f64::from(*x) / count);
    }
    Ok(narrow(&mean))
}
