//! Reduced response: effects of held-out patches, predicted through few sites and slices of low rank.
//!
//! A patch below level m acts on J only through the tokens of level m, where J has the sensitivities chi\[m, r\]. A
//! reduced model keeps n of those tokens and, of each chi, its part `P_k chi` in k directions. `G^T` maps these to
//! every place below level m. The product of the result with a displacement is the prediction. With all tokens and all
//! directions, the prediction is the first-order effect, so the difference from it is the error of the reduction.

use resolvent_model::{Mode, Run, Seed, gaussian};

use crate::case::Case;
use crate::certificate::{Certificate, adjoint, dot, narrow, norm};
use crate::dense::{svd, wide};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::patch::Effects;
use crate::place::shape;
use crate::site_kind::SiteKind;
use crate::stats::{Pairs, below};

use super::left_out::Record;
use super::patching::{each_effect, range};
use super::tasks::{Runs, Task};

/// Numbers of sites; the last means all.
const COUNTS: [usize; 5] = [1, 2, 4, 8, usize::MAX];
/// Ranks of the slices; the last means all.
const RANKS: [usize; 7] = [1, 2, 4, 8, 16, 32, usize::MAX];

/// Measures the error of reduced predictions for the pairs of a task.
///
/// Arrays: `counts [5]` and `ranks [7]`, of which the last element means all. Relative errors of predicted effects,
/// `[counts, ranks]`: `error` against the actual effects, and `reduction` against the unreduced first order. Controls,
/// against the unreduced first order: `random_sites` and `random_directions`. Error of the unreduced prediction:
/// `first_order [1]`.
///
/// The directions are principal components of displacements at level m, over the first half of the prompts. The sites
/// are those with the largest |chi|. The effects are those of the other half of the prompts.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let (layers, d) = (task.model.sizes().layers, task.model.sizes().d);
    let level = layers / 2;
    if level == 0 {
        return Err(Error::Input("the model has one block, so no level lies below its middle one".to_owned()));
    }
    let runs = task.runs(task.size(8, 24), &[], record)?;
    let train = runs.len() / 2;
    if train == 0 {
        return Err(Error::Input(
            "one pair can be analysed, and the step needs two: directions come from others".to_owned(),
        ));
    }
    let components = components(&runs, train, level)?;
    let noise = principal(&gaussian(task.options.seed, MOST.min(d) * d), d)?;
    let kinds = [(Choice::Sensitive, &components), (Choice::Random, &components), (Choice::Sensitive, &noise)];
    let cells = COUNTS.len() * RANKS.len();
    let mut all = Reduced::new(cells);
    let cases = runs.cases();
    for (prompt, effects) in each_effect((&runs, train), SiteKind::Resid, record)? {
        let one = reduced(&cases[prompt], &effects, (level, task.options.seed), kinds);
        if let Some(one) = record.attempt(&runs.names[prompt], one)? {
            all.extend(&one);
        }
    }
    if all.unreduced.predicted.iter().all(|x| *x == 0.0) {
        return Err(Error::Input(format!("no patch below level {level} has an effect to first order")));
    }
    let table = |pairs: &[Pairs]| pairs.iter().map(|p| p.relative_error() as f32).collect::<Vec<f32>>();
    let axes = [("count", COUNTS.len()), ("rank", RANKS.len())];
    let most = |n: usize, all: usize| n.min(all) as f32;
    let tokens = runs.clean.iter().map(|run| run.tokens().len()).max().unwrap_or(0);
    // With all sites and all directions, nothing is reduced.
    let whole = all.first[cells - 1].relative_error();
    record.check("the reduction to all", &[Certificate::new("nothing_dropped", whole, 1e-4)]);
    record.check("first pair", &[adjoint(&runs.corrupted[0].linearize(Mode::Exact), 1)?]);
    Ok(task
        .labelled("reduction", &runs)
        .with("counts", &axes[..1], COUNTS.map(|n| most(n, tokens)).to_vec())
        .with("ranks", &axes[1..], RANKS.map(|k| most(k, d)).to_vec())
        .with("error", &axes, table(&all.against[..cells]))
        .with("reduction", &axes, table(&all.first[..cells]))
        .with("random_sites", &axes, table(&all.first[cells..2 * cells]))
        .with("random_directions", &axes, table(&all.first[2 * cells..]))
        .with("first_order", &[("value", 1)], vec![all.unreduced.relative_error() as f32])
        .note("level", level.to_string()))
}

/// Reduced predictions, with one cell for each choice of sites and directions, count and rank.
struct Reduced {
    /// Reduced predictions, paired with the actual effects.
    against: Vec<Pairs>,
    /// Reduced predictions, paired with the unreduced first order.
    first: Vec<Pairs>,
    /// The unreduced first order, paired with the actual effects.
    unreduced: Pairs,
}

impl Reduced {
    fn new(cells: usize) -> Self {
        let none = vec![Pairs::default(); 3 * cells];
        Self { against: none.clone(), first: none, unreduced: Pairs::default() }
    }

    fn extend(&mut self, more: &Self) {
        self.against.iter_mut().zip(&more.against).for_each(|(all, more)| all.extend(more));
        self.first.iter_mut().zip(&more.first).for_each(|(all, more)| all.extend(more));
        self.unreduced.extend(&more.unreduced);
    }
}

/// Computes the predictions for one pair.
fn reduced(
    case: &Case<'_>,
    effects: &Effects,
    (level, seed): (usize, u64),
    kinds: [(Choice, &Vec<Vec<f32>>); 3],
) -> Result<Reduced> {
    let run = case.corrupted;
    let (_, tokens, d) = shape(run);
    let linear = run.linearize(Mode::Exact);
    let chi = linear.gradient(case.observable)?;
    let here = &chi[level * tokens * d..(level + 1) * tokens * d];
    let mut state = seed;
    let seeds: Vec<Vec<Seed>> = kinds
        .iter()
        .flat_map(|(choice, basis)| {
            let order = order(here, d, *choice, &mut state);
            let reduce = |n: usize, k: usize| {
                let seed = |&t: &usize| Seed::Field { level, token: t, vector: part(&here[t * d..][..d], basis, k) };
                order.iter().take(n).map(seed).collect::<Vec<Seed>>()
            };
            COUNTS.iter().flat_map(|&n| RANKS.map(|k| reduce(n, k))).collect::<Vec<_>>()
        })
        .collect();
    let displacement: Vec<f32> = case.clean.field()?.iter().zip(run.field()?).map(|(a, b)| a - b).collect();
    let scale = range(case)?;
    let below_level = level * tokens;
    let normed = |x: &[f32]| x[..below_level].iter().map(|&x| f64::from(x) / scale).collect::<Vec<f64>>();
    let (actual, linear_effect) = (normed(&effects.effect), normed(&effects.first_order));
    let mut predicted = vec![vec![0.0f64; below_level]; seeds.len()];
    linear.vjp_at(&seeds, &run.levels()[..level], &mut |chunk| {
        for (i, chi) in chunk.rows.chunks(d).enumerate() {
            let at = chunk.site * tokens + chunk.token + i;
            predicted[chunk.sequence][at] = dot(chi, &displacement[at * d..(at + 1) * d]) / scale;
        }
    })?;
    let beside = |actual: &[f64]| {
        let pairs = |p: &Vec<f64>| Pairs { predicted: p.clone(), actual: actual.to_vec() };
        predicted.iter().map(pairs).collect::<Vec<Pairs>>()
    };
    let (against, first) = (beside(&actual), beside(&linear_effect));
    Ok(Reduced { against, first, unreduced: Pairs { predicted: linear_effect, actual } })
}

/// How sites are chosen: by sensitivity, or at random.
#[derive(Clone, Copy)]
enum Choice {
    Sensitive,
    Random,
}

/// Returns the tokens in the order in which they are chosen.
fn order(chi: &[f32], d: usize, choice: Choice, state: &mut u64) -> Vec<usize> {
    let sizes: Vec<f64> = chi.chunks(d).map(norm).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    match choice {
        Choice::Sensitive => order.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a])),
        Choice::Random => (1..order.len()).rev().for_each(|i| order.swap(i, below(state, i + 1))),
    }
    order
}

/// Projects a vector on the first k directions of an orthonormal basis. If k means all, returns the vector itself.
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

/// Returns the principal components of the displacements of the first `train` pairs at a level.
fn components(runs: &Runs, train: usize, level: usize) -> Result<Vec<Vec<f32>>> {
    let row = |run: &Run| run.capture(run.levels()[level]);
    let (mut rows, d) = (Vec::new(), runs.clean[0].model().sizes().d);
    for (clean, corrupted) in runs.clean.iter().zip(&runs.corrupted).take(train) {
        rows.extend(row(clean)?.iter().zip(row(corrupted)?).map(|(a, b)| a - b));
    }
    principal(&rows, d)
}

/// Largest number of directions of a basis.
const MOST: usize = 64;

/// Returns the leading principal directions of rows `[_, d]`, without centring: orthonormal, strongest first.
fn principal(rows: &[f32], d: usize) -> Result<Vec<Vec<f32>>> {
    Ok(svd(&wide(rows), d)?.right.iter().take(MOST).map(|v| narrow(v)).collect())
}
