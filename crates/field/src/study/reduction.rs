//! Reduced response: effects of held-out patches predicted through few sites and slices of low rank.
//!
//! All that a patch below level m does to J passes the tokens of level m, where J has the sensitivities chi\[m, r\]. A reduced
//! model keeps n of those tokens, and of each chi its part `P_k chi` in k directions; `G^T` carries them back to every place
//! below, and its product with a displacement is the prediction. With all tokens and directions it is the first-order effect
//! itself, and what is dropped is what the reduction costs.

use resolvent_model::{Mode, Run, Seed, gaussian};

use crate::certificate::{Certificate, adjoint, dot, narrow, norm};
use crate::dense::{svd, wide};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::patch::effects;
use crate::place::shape;
use crate::site_kind::SiteKind;
use crate::stats::{Pairs, below};

use super::patching::range;
use super::tasks::{Runs, Task};

/// Numbers of sites; the last stands for all.
const COUNTS: [usize; 5] = [1, 2, 4, 8, usize::MAX];
/// Ranks of the slices; the last stands for all.
const RANKS: [usize; 7] = [1, 2, 4, 8, 16, 32, usize::MAX];

/// Arrays `counts [5]`, `ranks [7]` (the last of each is all of them), and `[counts, ranks]` relative errors of predicted effects:
/// `error` against the model's own effects, `reduction` against the unreduced first order, with controls `random_sites`, and
/// `random_directions` (both against first order); and `first_order [1]`, the error of the unreduced prediction.
///
/// Directions are principal components of the displacements at level m of the first half of the prompts; sites are those of
/// the largest |chi|; the effects are of the other half.
pub(super) fn step(task: &Task<'_>) -> Result<Labelled> {
    let runs = task.runs(task.size(8, 24), &[])?;
    let (level, d) = (task.model.config().n_layer / 2, task.model.config().n_embd);
    let train = runs.len() / 2;
    let components = components(&runs, train, level)?;
    let noise = principal(&gaussian(task.options.seed, MOST.min(d) * d), d)?;
    let kinds =
        [(Choice::Sensitive, &components), (Choice::Random, &components), (Choice::Sensitive, &noise)];
    let cells = COUNTS.len() * RANKS.len();
    let (mut against, mut first) = (vec![Pairs::default(); 3 * cells], vec![Pairs::default(); 3 * cells]);
    let (mut unreduced, mut exact) = (Pairs::default(), Pairs::default());
    let cases = runs.cases();
    for (case, effects) in cases[train..].iter().zip(effects(&cases[train..], SiteKind::Resid)?) {
        let run = case.corrupted;
        let (_, tokens, _) = shape(run);
        let linear = run.linearize(Mode::Exact);
        let chi = linear.gradient(case.observable)?;
        let here = &chi[level * tokens * d..(level + 1) * tokens * d];
        let mut state = task.options.seed;
        let seeds: Vec<Vec<Seed>> = kinds
            .iter()
            .flat_map(|(choice, basis)| {
                let order = order(here, d, *choice, &mut state);
                let reduce = |n: usize, k: usize| {
                    let each = order.iter().take(n);
                    let seed = |&t: &usize| Seed::Field {
                        level,
                        token: t,
                        vector: part(&here[t * d..][..d], basis, k),
                    };
                    each.map(seed).collect::<Vec<Seed>>()
                };
                COUNTS.iter().flat_map(|&n| RANKS.map(|k| reduce(n, k))).collect::<Vec<_>>()
            })
            .collect();
        let displacement: Vec<f32> =
            case.clean.field()?.iter().zip(run.field()?).map(|(a, b)| a - b).collect();
        let scale = range(case)?;
        let below_level = level * tokens;
        let normed = |x: &[f32]| x[..below_level].iter().map(|&x| f64::from(x) / scale).collect::<Vec<f64>>();
        let (actual, linear_effect) = (normed(&effects.effect), normed(&effects.first_order));
        unreduced.extend(&Pairs { predicted: linear_effect.clone(), actual: actual.clone() });
        let sites = &run.levels()[..level];
        let mut predicted = vec![vec![0.0f64; below_level]; seeds.len()];
        linear.vjp_at(&seeds, sites, &mut |slab| {
            for (i, chi) in slab.rows.chunks(d).enumerate() {
                let at = slab.site * tokens + slab.token + i;
                predicted[slab.member][at] = dot(chi, &displacement[at * d..(at + 1) * d]) / scale;
            }
        })?;
        for (cell, predicted) in predicted.into_iter().enumerate() {
            against[cell].extend(&Pairs { predicted: predicted.clone(), actual: actual.clone() });
            let pairs = Pairs { predicted, actual: linear_effect.clone() };
            first[cell].extend(&pairs);
            if cell == cells - 1 {
                exact.extend(&pairs);
            }
        }
    }
    let table = |pairs: &[Pairs]| pairs.iter().map(|p| p.relative_error() as f32).collect::<Vec<f32>>();
    let axes = [("count", COUNTS.len()), ("rank", RANKS.len())];
    let most = |n: usize, all: usize| n.min(all) as f32;
    let tokens = runs.clean.iter().map(|run| run.tokens().len()).max().unwrap_or(0);
    task.labelled("reduction", &runs)
        .with("counts", &axes[..1], COUNTS.map(|n| most(n, tokens)).to_vec())
        .with("ranks", &axes[1..], RANKS.map(|k| most(k, d)).to_vec())
        .with("error", &axes, table(&against[..cells]))
        .with("reduction", &axes, table(&first[..cells]))
        .with("random_sites", &axes, table(&first[cells..2 * cells]))
        .with("random_directions", &axes, table(&first[2 * cells..]))
        .with("first_order", &[("value", 1)], vec![unreduced.relative_error() as f32])
        .note("level", level.to_string())
        // All sites and all directions are no reduction.
        .certify(Certificate::new("nothing_dropped", exact.relative_error(), 1e-4))?
        .certify(adjoint(&runs.corrupted[0].linearize(Mode::Exact), 1)?)
}

/// Which sites are kept first.
#[derive(Clone, Copy)]
enum Choice {
    Sensitive,
    Random,
}

/// Tokens in the order in which they are kept.
fn order(chi: &[f32], d: usize, choice: Choice, state: &mut u64) -> Vec<usize> {
    let sizes: Vec<f64> = chi.chunks(d).map(norm).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    match choice {
        Choice::Sensitive => order.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a])),
        Choice::Random => (1..order.len()).rev().for_each(|i| order.swap(i, below(state, i + 1))),
    }
    order
}

/// The part of a vector in the first k directions of an orthonormal basis; the vector itself where k is all.
fn part(x: &[f32], basis: &[Vec<f32>], k: usize) -> Vec<f32> {
    if k == usize::MAX {
        return x.to_vec();
    }
    let mut part = vec![0.0; x.len()];
    for b in basis.iter().take(k) {
        let along = dot(b, x) as f32;
        part.iter_mut().zip(b).for_each(|(p, b)| *p += along * b);
    }
    part
}

/// Principal components of the displacements at a level of the first `train` pairs.
fn components(runs: &Runs, train: usize, level: usize) -> Result<Vec<Vec<f32>>> {
    let row = |run: &Run| run.capture(run.levels()[level]);
    let (mut rows, d) = (Vec::new(), runs.clean[0].model().config().n_embd);
    for (clean, corrupted) in runs.clean.iter().zip(&runs.corrupted).take(train) {
        rows.extend(row(clean)?.iter().zip(row(corrupted)?).map(|(a, b)| a - b));
    }
    principal(&rows, d)
}

/// Directions that are kept of a basis.
const MOST: usize = 64;

/// The first principal directions of rows `[_, d]`, about zero: orthonormal, the strongest first.
fn principal(rows: &[f32], d: usize) -> Result<Vec<Vec<f32>>> {
    Ok(svd(&wide(rows), d)?.right.iter().take(MOST).map(|v| narrow(v)).collect())
}
