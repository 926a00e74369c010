//! Cross-scale response transfer: whether a small model's responses predict those of a large model.
//!
//! Both models run the same pairs of prompts. A map of the small model over level and token is resampled at the levels
//! of the large model, at equal relative depth `l / L`. Tokens keep their positions. Three quantities are compared:
//!
//! - `effect`: the effect of patching each h\[l, t\], divided by J(clean) - J(corrupted);
//! - `sensitivity`: the logarithm of |dJ/dh\[l, t\]|;
//! - `slice`: token-to-token responses `<dlogit_i / dh[l, t], e_j>`, for tokens i and j of a shared list. e_j is the
//!   embedding of j at unit length. This is a slice of the Green operator in a basis that both models have.
//!
//! An affine map at each level, fitted on some prompts by least squares, predicts the other prompts. The controls are
//! the small model's values without a fit, the mean of the level without any small model, and small models with random
//! weights, as the mean over several seeds.

mod align;
mod aligned;
mod fit;
mod operators;
mod pairs;
mod ridge;

use resolvent_model::{Mode, Model, RandomWeights, Run, RunOptions, Seed, TokenPair};

use crate::case::{Case, runs_of_pairs};
use crate::certificate::{Certificate, adjoint, dot, norm, worse};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::patch::effects;
use crate::place::shape;
use crate::site_kind::SiteKind;
use crate::stats::{Moments, Pairs, interval, mean};
use crate::transfer::same_value;

use align::align;
pub use aligned::{AlignedPair, OperatorPairs, operator_pairs};
use fit::Fit;
pub use operators::{OperatorOptions, RESPONSE_PREDICTORS, scale_operators};
pub use pairs::{answers, pairs_of_both};

/// Options of [`scale`].
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleOptions {
    /// Number of prompts to fit on, from the first; the others are predicted.
    pub train: usize,
    /// Ids of the tokens of the shared slice.
    pub tokens: Vec<u32>,
    /// Seed of the random model and of the intervals.
    pub seed: u64,
}

/// Number of small models with random weights.
const RANDOM_MODELS: u64 = 3;

/// Standard deviation of their weights, with which attention and MLP of a small model are clearly nonlinear.
const WEIGHTS_STD: f32 = 0.1;

/// Names of the quantities, in the order of their axis.
pub const QUANTITIES: [&str; 3] = ["effect", "sensitivity", "slice"];
/// Names of the predictors, in the order of their axis.
pub const PREDICTORS: [&str; 4] = ["affine", "identity", "level_mean", "random_model"];

/// The values of one quantity for one prompt: `[levels, rest]`. They are NaN at the tokens of the last level that J
/// does not read, because no model has a response there.
#[derive(Clone, Debug)]
struct Maps {
    levels: usize,
    data: Vec<f64>,
}

/// Measures how well the small model's responses predict those of the large model on held-out prompts.
///
/// Arrays over quantity and predictor: `correlation [3, 4]`, `correlation_low` and `correlation_high` (95 % interval,
/// resampled over held-out prompts; NaN for fewer than eight), and `explained [3, 4]`, the share of variance
/// `1 - |error|^2 / |deviation|^2`, which is negative if the mean predicts better. Arrays of the held-out effects:
/// `predicted [N]` (affine), `actual [N]`, and `prompt [N]`, the position of each one's pair in `prompts`.
///
/// Certificates, each for both models: the adjoint identity; the effect of patching the last token at the last level is
/// the whole difference of J.
///
/// # Errors
/// Models with different vocabularies, fewer than two prompts to fit on or to predict, a device error, or a check that
/// fails. Only prompts whose J differs in both models count.
pub fn scale(small: &Model, large: &Model, prompts: &[TokenPair], options: &ScaleOptions) -> Result<Labelled> {
    let (vocab, other) = (small.sizes().vocab, large.sizes().vocab);
    if vocab != other {
        return Err(Error::Input(format!(
            "the models have {vocab} and {other} vocabulary entries; responses are compared token by token, so they \
             must share a tokenizer"
        )));
    }
    // Effects are in units of the difference of J, so pairs without a difference are left out.
    let differ = [small, large].map(|model| differ(model, prompts));
    let [ours, theirs] = differ;
    let usable: Vec<bool> = ours?.into_iter().zip(theirs?).map(|(a, b)| a && b).collect();
    let of = |pairs: &[TokenPair], usable: &[bool]| -> Vec<TokenPair> {
        pairs.iter().zip(usable).filter(|(_, usable)| **usable).map(|(pair, _)| pair.clone()).collect()
    };
    let begin = options.train.min(prompts.len());
    let train = of(&prompts[..begin], &usable[..begin]).len();
    let places: Vec<usize> = (0..usable.len()).filter(|&i| usable[i]).collect();
    let prompts = &of(prompts, &usable);
    let (held_out, left_out) = (prompts.len() - train, usable.len() - prompts.len());
    if train < 2 || held_out < 2 {
        let without = match left_out {
            0 => String::new(),
            n => format!(" ({n} left out, because J is the same in both prompts)"),
        };
        return Err(Error::Input(format!(
            "{train} prompts to fit on and {held_out} to predict{without}; give two or more of each"
        )));
    }
    let [ours, theirs] = [small, large].map(|model| measure(model, prompts, &options.tokens));
    let (ours, theirs) = (ours?, theirs?);
    let noise: Vec<Measured> = (0..RANDOM_MODELS)
        .map(|i| {
            let weights = RandomWeights::new(options.seed.wrapping_add(i)).with_std(WEIGHTS_STD);
            let random = Model::random(small.device(), small.architecture().clone(), weights)?;
            measure(&random, prompts, &options.tokens)
        })
        .collect::<Result<_>>()?;

    let levels = large.sizes().layers + 1;
    let cells = QUANTITIES.len() * PREDICTORS.len();
    let [mut correlation, mut low, mut high, mut explained] = [(); 4].map(|()| Vec::with_capacity(cells));
    let (mut shown, mut shown_prompts) = (Pairs::default(), Vec::new());
    for quantity in 0..QUANTITIES.len() {
        let carried =
            |all: &Measured| -> Vec<Maps> { all.maps[quantity].iter().map(|map| align(map, levels)).collect() };
        let (x, y) = (carried(&ours), &theirs.maps[quantity]);
        let (train, test) = (0..train, train..prompts.len());
        let mapped = |x: &[Maps], fit: &Fit| -> Vec<Vec<f64>> { test.clone().map(|i| fit.apply(&x[i])).collect() };
        let fitted = |x: &[Maps]| mapped(x, &Fit::new(&x[train.clone()], &y[train.clone()]));
        // By predictor: its draws, each with the predictions for every held-out prompt.
        let predicted = [
            vec![fitted(&x)],
            vec![test.clone().map(|i| x[i].data.clone()).collect()],
            vec![mapped(&x, &Fit::means(&y[train.clone()]))],
            noise.iter().map(|noise| fitted(&carried(noise))).collect(),
        ];
        for (predictor, draws) in predicted.into_iter().enumerate() {
            let of_prompt = |n: usize| -> Vec<Pairs> {
                let actual = &y[test.start + n].data;
                let pairs = |draw: &Vec<Vec<f64>>| {
                    let pairs = Pairs { predicted: draw[n].clone(), actual: actual.clone() };
                    pairs.filter(|i| actual[i].is_finite())
                };
                draws.iter().map(pairs).collect()
            };
            let pairs: Vec<Vec<Pairs>> = (0..test.len()).map(of_prompt).collect();
            let over_draws = |of: &dyn Fn(usize) -> f64| mean(&(0..draws.len()).map(of).collect::<Vec<_>>());
            let of_prompts = |draw: usize| Pairs::joined(pairs.iter().map(|prompt| &prompt[draw]));
            let moments: Vec<Vec<Moments>> =
                pairs.iter().map(|prompt| prompt.iter().map(Pairs::moments).collect()).collect();
            let found = interval(&moments, options.seed, |prompts| {
                over_draws(&|draw| {
                    prompts.iter().map(|prompt| prompt[draw]).fold(Moments::default(), Moments::joined).pearson()
                })
            });
            correlation.push(found.estimate as f32);
            low.push(found.low as f32);
            high.push(found.high as f32);
            explained.push(over_draws(&|draw| share(&of_prompts(draw))) as f32);
            if quantity == 0 && predictor == 0 {
                shown = of_prompts(0);
                let of_prompt = |n: usize| vec![places[test.start + n] as f32; pairs[n][0].len()];
                shown_prompts = (0..pairs.len()).flat_map(of_prompt).collect();
            }
        }
    }
    let axes = [("quantity", QUANTITIES.len()), ("predictor", PREDICTORS.len())];
    let narrow = crate::certificate::narrow;
    Labelled::new("scale", &theirs.last)
        .with("correlation", &axes, correlation)
        .with("correlation_low", &axes, low)
        .with("correlation_high", &axes, high)
        .with("explained", &axes, explained)
        .with("predicted", &[("held_out", shown.len())], narrow(&shown.predicted))
        .with("actual", &[("held_out", shown.len())], narrow(&shown.actual))
        .with("prompt", &[("held_out", shown.len())], shown_prompts)
        .note("small", small.name())
        .note("small_hash", small.hash())
        .note("quantities", QUANTITIES.join(","))
        .note("predictors", PREDICTORS.join(","))
        .note("prompts", prompts.len().to_string())
        .note("train", train.to_string())
        .note("held_out", held_out.to_string())
        .note("pairs_without_difference", left_out.to_string())
        .note("seed", options.seed.to_string())
        .certify(Certificate::new("whole_effect", worse(ours.whole, theirs.whole), 1e-4))?
        .certify(Certificate { name: "adjoint_small", ..adjoint(&ours.last.linearize(Mode::Exact), 1)? })?
        .certify(adjoint(&theirs.last.linearize(Mode::Exact), 1)?)
}

/// Returns the share of the variance of the actual values that the predictions explain.
fn share(pairs: &Pairs) -> f64 {
    let middle = mean(&pairs.actual);
    let (mut left, mut all) = (0.0, 0.0);
    for (p, a) in pairs.predicted.iter().zip(&pairs.actual) {
        left += (p - a).powi(2);
        all += (a - middle).powi(2);
    }
    1.0 - left / all
}

/// The quantities of one model.
struct Measured {
    /// Maps by quantity, then by prompt, at the levels of this model.
    maps: [Vec<Maps>; 3],
    /// Largest distance from 1 of the effect at the place that J reads.
    whole: f64,
    /// Run of the last corrupted prompt.
    last: Run,
}

/// Returns, for each pair, whether J differs between its two prompts.
fn differ(model: &Model, prompts: &[TokenPair]) -> Result<Vec<bool>> {
    let mut differ = Vec::with_capacity(prompts.len());
    for pair in prompts {
        let both = model.run_all(&[&pair.clean, &pair.corrupted], &RunOptions::default())?;
        let values = both.iter().map(|run| run.value(&pair.observable)).collect::<Result<Vec<f64>, _>>()?;
        differ.push(!same_value(values[1], values[0]));
    }
    Ok(differ)
}

/// Computes the three quantities of a model for all prompts.
fn measure(model: &Model, prompts: &[TokenPair], tokens: &[u32]) -> Result<Measured> {
    let [clean, corrupted] = runs_of_pairs(model, prompts, &RunOptions::default())?;
    let cases: Vec<Case<'_>> = clean
        .iter()
        .zip(&corrupted)
        .zip(prompts)
        .map(|((clean, corrupted), pair)| Case { clean, corrupted, observable: &pair.observable })
        .collect();
    let embeddings: Vec<Vec<f32>> = tokens.iter().map(|&id| unit(model, id)).collect::<Result<_>>()?;

    let mut maps = [Vec::new(), Vec::new(), Vec::new()];
    let mut whole = 0.0;
    let levels = model.sizes().layers + 1;
    for (case, effects) in cases.iter().zip(effects(&cases, SiteKind::Resid)?) {
        let step = case.clean.value(case.observable)? - case.corrupted.value(case.observable)?;
        let effect: Vec<f64> = effects.effect.iter().map(|e| f64::from(*e) / step).collect();
        whole = worse(whole, effect.last().map_or(f64::NAN, |e| (e - 1.0).abs()));
        maps[0].push(Maps { levels, data: effect });
        let (_, _, d) = shape(case.corrupted);
        let linear = case.corrupted.linearize(Mode::Exact);
        let chi = linear.gradient(case.observable)?;
        maps[1].push(Maps { levels, data: chi.chunks(d).map(|chi| norm(chi).ln()).collect() });
        maps[2].push(Maps { levels, data: slices(case.corrupted, tokens, &embeddings)? });
        for map in maps.iter_mut().filter_map(|maps| maps.last_mut()) {
            let row = map.data.len() / levels;
            let (unread, last) = (map.data.len() - row, map.data.len() - row / case.corrupted.tokens().len());
            map.data[unread..last].fill(f64::NAN);
        }
    }
    let last = corrupted.into_iter().next_back();
    let last = last.ok_or_else(|| Error::Input("no prompts".to_owned()))?;
    Ok(Measured { maps, whole, last })
}

/// Returns the embedding of a token, scaled to unit length.
fn unit(model: &Model, id: u32) -> Result<Vec<f32>> {
    let e = model.embedding(id)?;
    let size = norm(&e).max(f64::MIN_POSITIVE);
    Ok(e.iter().map(|&x| (f64::from(x) / size) as f32).collect())
}

/// Returns `<dlogit_i / dh[l, t], e_j>` for the logits at the last position: `[levels, T, tokens i, tokens j]`.
fn slices(run: &Run, tokens: &[u32], embeddings: &[Vec<f32>]) -> Result<Vec<f64>> {
    let (levels, length, d) = shape(run);
    let seed = |&id: &u32| [Seed::Logit { position: length - 1, id, weight: 1.0 }];
    let seeds: Vec<[Seed; 1]> = tokens.iter().map(seed).collect();
    let n = tokens.len();
    let mut out = vec![0.0; levels * length * n * n];
    run.linearize(Mode::Exact).vjp_at(&seeds, &run.levels(), &mut |chunk| {
        for (row, chi) in chunk.rows.chunks(d).enumerate() {
            let at = ((chunk.site * length + chunk.token + row) * n + chunk.sequence) * n;
            for (slot, e) in out[at..at + n].iter_mut().zip(embeddings) {
                *slot = dot(chi, e);
            }
        }
    })?;
    Ok(out)
}
