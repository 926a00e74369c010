//! Circuits: how much of an observable remains if only some edges carry the clean run.
//!
//! Edges are ranked by their scores, averaged over prompts. A circuit of a size keeps the first edges; every other edge
//! carries an ablated output of its writer, and all nodes are computed again. Let m be the observable's value:
//!
//! ```text
//! faithfulness(C) = (m(C) - m(none)) / (m(all) - m(none))        completeness(C) = faithfulness(all edges but C)
//! ```
//!
//! A faithful circuit has a faithfulness near 1; if it is complete, what remains without it is near 0. The areas are
//! those of the MIB benchmark (arXiv 2504.13151): `area` is the integral of the faithfulness over the share of included
//! edges (CPR), and `distance` that of its distance from 1 (CMD). Random circuits of the same sizes are a control.
//!
//! Under edits, all runs have those of their prompt: the clean and the corrupted one, and those of other prompts whose
//! outputs are ablations. So m(all) is the value of the edited clean run. What an edge carries passes the edits of the
//! stream; see [`StreamEdits`](resolvent_model::StreamEdits).

mod measure;
mod options;
mod prune;
mod rank;
mod replaced;

use resolvent_model::{Edge, Model, PromptCase, path_sites};

use crate::case::Case;
use crate::certificate::narrow;
use crate::edges::edges;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::nodes::with_edges;
use crate::prompts::{CaseRuns, Outcomes, Prompts, over_prompts};
use crate::slice::OnProgress;

use measure::{Masks, measure};
use replaced::Replaced;

pub use options::{Ablation, CircuitOptions, EdgeScore};
pub use rank::Selection;

/// Ranks all edges over pairs of prompts, and measures the circuits of the first ones.
///
/// Arrays: `edges [E, 2]` (indices of writer and reader), `score [E]` (mean over the ranking prompts), `rank [E]`
/// (from 0), `size [S]` (numbers of included edges), `threshold [S]` (with [`CircuitOptions::thresholds`]), and for
/// each measured prompt `value [P, S]`, `faithfulness [P, S]`, `completeness [P, S]`, `random [P, S]` (faithfulness of
/// random circuits), `area [P, 1]` and `distance [P, 1]`, with their means and intervals as in [`Prompts::stack`].
/// Where all and no edges give one value, faithfulness is undefined: such prompts are left out, as are those that
/// cannot rank the edges. The metadata name the `writers` and `readers`, separated by commas.
///
/// Certificate: with all edges included, the value is that of the clean run; with none and corrupted outputs in place,
/// that of the corrupted run (`ends`).
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
    scored.some()?;
    let mut score = vec![0.0f64; all.len()];
    for result in &scored.results {
        let of_prompt = result.array(options.score.name()).map_or(&[][..], |array| &array.data);
        let share = 1.0 / scored.results.len() as f64;
        score.iter_mut().zip(of_prompt).for_each(|(sum, x)| *sum += share * f64::from(*x));
    }
    let mut order = options.selection.order(&all, &score, model.architecture());
    let replaced = Replaced::new(model, [measured, cases], options)?;
    let of_share = |share: &f64| (share * all.len() as f64).round() as usize;
    let mut counts: Vec<usize> = match options.thresholds.is_empty() {
        true => options.shares.iter().map(of_share).collect(),
        false => rank::above(&order, &score, &options.thresholds),
    };
    let (mut remain, mut left_out) = (None, scored.left_out.clone());
    if let Some(threshold) = options.prune {
        let ranked: Vec<PromptCase> =
            ranking.iter().filter(|case| !left_out.iter().any(|row| row.what == case.name)).cloned().collect();
        let (included, more) = prune::pruned(model, &ranked, (&replaced, threshold), all.len(), progress)?;
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
    let measure = &|case: &Case<'_>| measure(case, (&masks, &counts), &replaced);
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
    if !options.thresholds.is_empty() {
        result = result.with("threshold", &[("size", counts.len())], narrow(&options.thresholds));
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
    if !options.thresholds.is_empty() {
        check_thresholds(options)?;
    } else if options.shares.is_empty() || options.shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
        return input(format!("invalid shares {:?}: expected numbers from 0 to 1", options.shares));
    }
    if !options.shares.is_sorted() {
        return input(format!("invalid shares {:?}: expected ascending numbers", options.shares));
    }
    if options.prune.is_some_and(|threshold| !threshold.is_finite() || threshold <= 0.0) {
        return input("invalid threshold of pruning: expected a finite number above 0, such as 0.001".to_owned());
    }
    if options.resamples < 2 {
        return input("resamples need two other prompts or more, so that they have a deviation".to_owned());
    }
    if options.ranked_on > 0 && options.ranked_on >= cases {
        let n = options.ranked_on;
        return input(format!("{n} of {cases} prompts rank the edges, so none measures them; give more prompts"));
    }
    Ok(())
}

fn check_thresholds(CircuitOptions { thresholds, shares, prune, .. }: &CircuitOptions) -> Result<()> {
    let input = |text: &str| Err(Error::Input(format!("invalid thresholds {thresholds:?}: {text}")));
    if !thresholds.iter().all(|threshold| threshold.is_finite() && *threshold >= 0.0) {
        return input("expected sizes of scores, such as 0.1");
    }
    if !thresholds.is_sorted_by(|a, b| a >= b) {
        return input("expected descending numbers");
    }
    if !shares.is_empty() {
        return input("shares choose the sizes of the circuits too; give one of both");
    }
    if prune.is_some() {
        return input("pruning chooses edges by their effect, not by their score; give one of both");
    }
    Ok(())
}

/// Computes a result for each case.
fn each(runs: &[CaseRuns<'_>], of: &dyn Fn(&Case<'_>) -> Result<Labelled>) -> Outcomes {
    Ok(runs.iter().map(|runs| of(&runs.patched()?)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let above = |thresholds: &[f64], shares: &[f64], prune| {
            let (thresholds, shares) = (thresholds.to_vec(), shares.to_vec());
            check(&CircuitOptions { thresholds, shares, prune, ..CircuitOptions::default() }, 4)
        };
        assert!(above(&[0.5, 0.5, 0.1], &[], None).is_ok());
        for wrong in [&[0.1, 0.5][..], &[-1.0], &[f64::NAN]] {
            assert!(above(wrong, &[], None).is_err(), "{wrong:?}");
        }
        let refused = |shares: &[f64], prune| above(&[0.1], shares, prune).expect_err("is refused").to_string();
        assert!(refused(&[1.0], None).contains("give one of both") && refused(&[], Some(0.1)).contains("pruning"));
        assert!(check(&CircuitOptions { prune: Some(0.0), ..CircuitOptions::default() }, 4).is_err());
        for name in ["first_order", "integrated", "integrated_activations", "relp", "exact"] {
            assert_eq!(name.parse::<EdgeScore>().expect("a score").name(), name);
        }
        assert!("hvp".parse::<EdgeScore>().is_err() && "none".parse::<Ablation>().is_err());
    }
}
