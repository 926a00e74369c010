//! Circuits: how much of an observable remains if only some edges carry the clean run.
//!
//! Edges are ranked by their scores, averaged over prompts. A circuit of a size keeps the first edges; every other edge
//! carries an ablated output of its writer, and all nodes are computed again. Let m be the observable's value:
//!
//! ```text
//! faithfulness(C) = (m(C) - m(none)) / (m(all) - m(none))        completeness(C) = faithfulness(all edges but C)
//! ```
//!
//! A faithful circuit has a faithfulness near 1; if it is complete, what remains without it is near 0. The areas are those
//! of the MIB benchmark (arXiv 2504.13151): `area` is the integral of the faithfulness over the share of included edges (CPR),
//! and `distance` that of its distance from 1 (CMD). Random circuits of the same sizes are a control.

mod options;
mod prune;
mod rank;

use resolvent_model::{Edge, Model, Outputs, PromptCase, Run, Writer, outputs_of, path_sites, rewired_values};

use crate::case::Case;
use crate::certificate::{Certificate, narrow, same, worse};
use crate::edges::edges;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::nodes::with_edges;
use crate::patch::both_values;
use crate::prompts::{CaseRuns, Prompts, over_prompts};
use crate::slice::OnProgress;

pub use options::{Ablation, CircuitOptions, EdgeScore};
pub use rank::Selection;

/// The least difference between the values with all edges and without any, relative to the larger, or to 1.
const LEAST: f64 = 1e-4;

/// Ranks all edges over pairs of prompts, and measures the circuits of the first ones.
///
/// Arrays: `edges [E, 2]` (indices of writer and reader), `score [E]` (mean over the ranking prompts), `rank [E]` (from 0),
/// `size [S]` (numbers of included edges), and for each measured prompt `value [P, S]`, `faithfulness [P, S]`, `completeness
/// [P, S]`, `random [P, S]` (faithfulness of random circuits), `area [P, 1]` and `distance [P, 1]`, with their means and
/// intervals as in [`Prompts::stack`]. Where all and no edges give one value, faithfulness is undefined: such prompts are left
/// out, as are those that cannot rank the edges. The metadata name the `writers` and `readers`, separated by commas.
///
/// Certificate: with all edges included, the value is that of the clean run; with none and corrupted outputs in place, that of
/// the corrupted run (`ends`).
///
/// # Errors
/// Invalid options, no prompts, a device error, or a check that fails.
pub fn circuit(
    model: &Model,
    cases: &[PromptCase],
    options: &CircuitOptions,
    progress: OnProgress<'_>,
) -> Result<Labelled> {
    check(options, cases.len())?;
    let (ranking, measured) = match options.ranked_on {
        0 => (cases, cases),
        n => cases.split_at(n),
    };
    let (all, sites) = (Edge::all(model.architecture()), path_sites(model.sizes()));
    let total = (ranking.len() + measured.len()) as u64;
    let score_options = options.score.edges(options.steps);
    let score_of = &|case: &Case<'_>| edges(case, &score_options);
    let scored =
        over_prompts(model, ranking, &sites, &mut |runs| each(runs, score_of), &mut |n, _| progress(n, total))?;
    let mut score = vec![0.0f64; all.len()];
    for result in &scored.results {
        let of_prompt = result.array(options.score.name()).map_or(&[][..], |array| &array.data);
        let share = 1.0 / scored.results.len() as f64;
        score.iter_mut().zip(of_prompt).for_each(|(sum, x)| *sum += share * f64::from(*x));
    }
    let mut order = options.selection.order(&all, &score, model.architecture());
    let mean = match options.ablation {
        Ablation::Mean => Some(mean_outputs(model, measured)?),
        _ => None,
    };
    let mut counts: Vec<usize> =
        options.shares.iter().map(|share| (share * all.len() as f64).round() as usize).collect();
    let (mut remain, mut left_out) = (None, scored.left_out.clone());
    if let Some(threshold) = options.prune {
        let with = (options, mean.as_deref(), threshold);
        let ranked: Vec<PromptCase> =
            ranking.iter().filter(|case| !left_out.iter().any(|row| row.what == case.name)).cloned().collect();
        let (included, more) = prune::pruned(model, &ranked, with, all.len(), progress)?;
        left_out.extend(more);
        order.sort_by_key(|&edge| !included[edge]);
        let n = included.iter().filter(|included| **included).count();
        counts.push(n);
        counts.sort_unstable();
        counts.dedup();
        remain = Some(n);
    }
    let masks = Masks {
        included: rank::included(&order, &counts),
        random: rank::random(all.len(), &counts, (options.random, options.seed)),
    };
    let measure = &|case: &Case<'_>| measure(case, (&masks, &counts), (options.ablation, mean.as_deref()));
    let mut found = over_prompts(model, measured, &sites, &mut |runs| each(runs, measure), &mut |n, _| {
        progress(ranking.len() as u64 + n, total);
    })?;
    let mut rank = vec![0.0f32; all.len()];
    order.iter().enumerate().for_each(|(n, &edge)| rank[edge] = n as f32);
    let counts: Vec<f32> = counts.iter().map(|&n| n as f32).collect();
    // Prompts that rank and measure are named once.
    left_out.retain(|row| !found.left_out.iter().any(|known| known.what == row.what));
    found.left_out.extend(left_out);
    let mut result = found.stack()?;
    if let Some(n) = remain {
        result = result.note("pruned_to", n.to_string());
    }
    Ok(with_edges(result, model, &all)
        .note("analysis", "circuit")
        .note("score", options.score.name())
        .note("selection", options.selection.to_string())
        .note("ablation", options.ablation.to_string())
        .note("ranked_on", ranked_on(&scored, options))
        .with("score", &[("edge", all.len())], narrow(&score))
        .with("rank", &[("edge", all.len())], rank)
        .with("size", &[("size", counts.len())], counts))
}

/// Describes the prompts that ranked the edges.
fn ranked_on(scored: &Prompts, options: &CircuitOptions) -> String {
    let n = scored.results.len();
    match options.ranked_on {
        0 => format!("{n} prompts, which also measure the circuits"),
        _ => format!("{n} other prompts than those that measure the circuits"),
    }
}

fn check(options: &CircuitOptions, cases: usize) -> Result<()> {
    let input = |text: String| Err(Error::Input(text));
    if options.shares.is_empty() || options.shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
        return input(format!("invalid shares {:?}: expected numbers from 0 to 1", options.shares));
    }
    if !options.shares.is_sorted() {
        return input(format!("invalid shares {:?}: expected ascending numbers", options.shares));
    }
    if options.prune.is_some_and(|threshold| !threshold.is_finite() || threshold <= 0.0) {
        return input("invalid threshold of pruning: expected a finite number above 0, such as 0.001".to_owned());
    }
    if options.ranked_on > 0 && options.ranked_on >= cases {
        let n = options.ranked_on;
        return input(format!("{n} of {cases} prompts rank the edges, so none measures them; give more prompts"));
    }
    Ok(())
}

/// Computes a result for each case.
fn each(runs: &[CaseRuns<'_>], of: &dyn Fn(&Case<'_>) -> Result<Labelled>) -> Result<Vec<Labelled>> {
    runs.iter().map(|runs| of(&runs.patched()?)).collect()
}

/// Whether each edge is included, for each size.
struct Masks {
    included: Vec<Vec<bool>>,
    /// Several for each size.
    random: Vec<Vec<bool>>,
}

/// Measures the circuits on one case.
fn measure(
    case: &Case<'_>,
    (masks, counts): (&Masks, &[usize]),
    (ablation, mean): (Ablation, Option<&[f32]>),
) -> Result<Labelled> {
    let (run, observable) = (case.clean, case.observable);
    let replaced = replacements(case, ablation, mean)?;
    let (sizes, edges) = (masks.included.len(), masks.included.first().map_or(0, Vec::len));
    let complement = masks.included.iter().map(|included| included.iter().map(|included| !included).collect());
    let ends = [vec![true; edges], vec![false; edges]];
    let all: Vec<Vec<bool>> = ends
        .into_iter()
        .chain(masks.included.iter().cloned())
        .chain(complement)
        .chain(masks.random.iter().cloned())
        .collect();
    let values = rewired_values(run, &replaced, &all, observable)?;
    let [full, none] = [values[0], values[1]];
    let [clean, corrupted] = both_values([run, case.corrupted], observable)?;
    let size = clean.abs().max(corrupted.abs()).max(1.0);
    let mut ends = (full - clean).abs() / size;
    if ablation == Ablation::Corrupted {
        ends = worse(ends, (none - corrupted).abs() / size);
    }
    if let Some(error) = undefined([full, none]) {
        return Err(error);
    }
    let faithful = |value: f64| (value - none) / (full - none);
    let of = |values: &[f64]| values.iter().map(|&value| faithful(value)).collect::<Vec<f64>>();
    let (included, rest) = values[2..].split_at(sizes);
    let (complement, random) = rest.split_at(sizes);
    let (faithfulness, completeness) = (of(included), of(complement));
    let repeats = random.len() / sizes.max(1);
    let random: Vec<f64> =
        random.chunks(repeats.max(1)).map(|of_size| of(of_size).iter().sum::<f64>() / repeats as f64).collect();
    let shares: Vec<f64> = counts.iter().map(|&n| n as f64 / edges as f64).collect();
    let distance: Vec<f64> = faithfulness.iter().map(|f| (1.0 - f).abs()).collect();
    let axis = [("size", sizes)];
    let result = match repeats {
        0 => Labelled::new("circuit", run),
        _ => Labelled::new("circuit", run).with("random", &axis, narrow(&random)),
    };
    result
        .note("observable", observable.to_string())
        .with("value", &axis, narrow(included))
        .with("faithfulness", &axis, narrow(&faithfulness))
        .with("completeness", &axis, narrow(&completeness))
        .with("area", &[("value", 1)], vec![area(&shares, &faithfulness, 0.0) as f32])
        .with("distance", &[("value", 1)], vec![area(&shares, &distance, 1.0) as f32])
        .certify(Certificate::new("ends", ends, same(run.model()).max(1e-4)))
}

/// Returns the error of a prompt whose values with all edges and without any are the same, so that nothing can be divided by
/// their difference.
fn undefined([full, none]: [f64; 2]) -> Option<Error> {
    let size = full.abs().max(none.abs()).max(1.0);
    ((full - none).abs() <= LEAST * size).then(|| {
        Error::Input(format!("J is {full:.4} with all edges and {none:.4} without any: faithfulness is undefined"))
    })
}

/// Returns the outputs of all writers that take the place of those of the clean run.
fn replacements(case: &Case<'_>, ablation: Ablation, mean: Option<&[f32]>) -> Result<Vec<f32>> {
    let (sizes, tokens) = (case.clean.model().sizes(), case.clean.tokens().len());
    Ok(match (ablation, mean) {
        (Ablation::Corrupted, _) => outputs_of(&[case.corrupted])?.remove(0).data,
        (Ablation::Mean, Some(mean)) => mean.chunks(sizes.d).flat_map(|row| row.repeat(tokens)).collect(),
        _ => vec![0.0; Writer::all(sizes).len() * tokens * sizes.d],
    })
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
    let analysis = &mut |runs: &[CaseRuns<'_>]| runs.iter().map(|runs| sums_of(&runs.clean)).collect();
    let found = over_prompts(model, &clean, &path_sites(&sizes), analysis, &mut |_, _| {})?;
    let count = found.lengths.iter().sum::<usize>() as f64;
    let mut mean = vec![0.0f64; writers * sizes.d];
    for sums in found.results.iter().filter_map(|result| result.array("sum")) {
        mean.iter_mut().zip(&sums.data).for_each(|(mean, x)| *mean += f64::from(*x) / count);
    }
    Ok(narrow(&mean))
}

/// Returns the integral of `values` over `shares`, by trapezoids; `first` is the value at 0.
fn area(shares: &[f64], values: &[f64], first: f64) -> f64 {
    let (mut sum, mut before) = (0.0, (0.0, first));
    for point in shares.iter().copied().zip(values.iter().copied()) {
        sum += 0.5 * (point.0 - before.0) * (point.1 + before.1);
        before = point;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_sums_of_trapezoids() {
        assert_eq!(area(&[0.5, 1.0], &[1.0, 1.0], 0.0), 0.75);
        assert_eq!(area(&[0.0, 1.0], &[0.0, 1.0], 0.0), 0.5);
        assert_eq!(area(&[], &[], 0.0), 0.0);
    }

    #[test]
    fn options_are_checked() {
        let with = |shares: &[f64], ranked_on| {
            check(&CircuitOptions { shares: shares.to_vec(), ranked_on, ..CircuitOptions::default() }, 4)
        };
        assert!(with(&[0.1, 1.0], 0).is_ok() && with(&[0.1, 1.0], 3).is_ok());
        for wrong in [&[][..], &[0.5, 0.1], &[1.5], &[f64::NAN]] {
            assert!(with(wrong, 0).is_err(), "{wrong:?}");
        }
        assert!(with(&[1.0], 4).is_err());
        assert!(check(&CircuitOptions { prune: Some(0.0), ..CircuitOptions::default() }, 4).is_err());
        for name in ["first_order", "integrated", "relp", "exact"] {
            assert_eq!(name.parse::<EdgeScore>().expect("a score").name(), name);
        }
        assert!("hvp".parse::<EdgeScore>().is_err() && "none".parse::<Ablation>().is_err());
    }
}
