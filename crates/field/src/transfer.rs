//! Prompt-induced displacement: how much of another prompt's answer its field at one place transfers.
//!
//! With P the prompt and Q the donor, the transfer fraction at (l, t) is
//! `(J(P with h_P + scale (h_Q - h_P) at (l, t)) - J(P)) / (J(Q) - J(P))`.
//! It is 1 if the displacement transfers the whole answer, and 0 if it transfers nothing.
//!
//! Controls add other vectors of the same length: random ones, and displacements to other prompts.

use resolvent_model::{Edit, Mode, Observable, Run, Site, gaussian};

use crate::certificate::{Certificate, alone, narrow, norm, same};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::noise;
use crate::patch::restored;
use crate::place::shape;
use crate::stats;

/// Options of [`transfer`].
#[derive(Clone, Debug, PartialEq)]
pub struct TransferOptions {
    /// Factor of the displacement.
    pub scale: f32,
    /// Number of random directions at each place, each of the displacement's length.
    pub random: usize,
    /// Seed of the first random direction.
    pub seed: u64,
}

impl Default for TransferOptions {
    fn default() -> Self {
        Self { scale: 1.0, random: 8, seed: 0 }
    }
}

/// Computes the transfer fraction of every place of the field.
///
/// Arrays: `fraction [L+1, T]`, and `value [2]` (J of the prompt and of the donor). Random controls: `random [L+1, T]`
/// (their mean), `random_low` and `random_high [L+1, T]` (their least and largest). With `others`, `shuffled`,
/// `shuffled_low` and `shuffled_high [L+1, T]` are the same for displacements to those runs, at the same length.
///
/// The metadata have the noise floor of a fraction. At places where both runs have the same field, the fraction is
/// exactly 0.
///
/// Certificates: with scale 1, the donor's vector at the place that J reads gives the donor's J; three places run alone
/// give the same values.
///
/// # Errors
/// Prompts of different lengths or models, a donor with the same J as the prompt, a displacement beyond f32, a device
/// error, or a check that fails.
pub fn transfer(
    prompt: &Run,
    donor: &Run,
    observable: &Observable,
    others: &[Run],
    options: &TransferOptions,
) -> Result<Labelled> {
    let (levels, tokens, d) = shape(prompt);
    for other in others.iter().chain([donor]) {
        check(prompt, other)?;
    }
    let (from, to) = (prompt.value(observable)?, donor.value(observable)?);
    let (step, size) = (to - from, from.abs().max(to.abs()).max(1.0));
    if same_value(from, to) {
        return Err(Error::Input(format!(
            "J of the prompt ({from:.4}) and of the donor ({to:.4}) are the same: there is nothing to transfer"
        )));
    }
    let (here, there) = (prompt.field()?, donor.field()?);
    let displacement: Vec<f32> = there.iter().zip(&here).map(|(q, p)| options.scale * (q - p)).collect();
    let axes = [("level", levels), ("token", tokens)];
    if let Some(i) = displacement.iter().position(|x| !x.is_finite()) {
        let (level, token) = (i / (tokens * d), i / d % tokens);
        return Err(Error::Input(format!(
            "{:e} times the displacement at {level},{token} overflows f32; give a smaller --scale",
            options.scale
        )));
    }

    // The displacement, then its controls: all of them in one sweep.
    let mut moves = vec![displacement];
    for i in 0..options.random as u64 {
        moves.push(matched(&gaussian(options.seed.wrapping_add(i), moves[0].len()), &moves[0], d));
    }
    for other in others {
        let away: Vec<f32> = other.field()?.iter().zip(&here).map(|(q, p)| q - p).collect();
        moves.push(matched(&away, &moves[0], d));
    }
    let moves: Vec<[Edit; 1]> = moves.iter().flat_map(|moves| edits(prompt, moves)).collect();
    let all = prompt.values_under(&moves, observable)?;
    let (moves, (values, controls)) = (&moves[..levels * tokens], all.split_at(levels * tokens));
    let fractions = |values: &[f64]| -> Vec<f64> { values.iter().map(|v| (v - from) / step).collect() };
    let restoration = match options.scale == 1.0 {
        true => Some((restored(prompt, observable, (moves, values))? - to).abs() / size),
        false => None,
    };
    let floor = noise::floor(prompt, &prompt.linearize(Mode::Exact).gradient(observable)?)?;
    let agreement = alone(prompt, observable, moves, values)?;

    let mut result = Labelled::new("transfer", prompt)
        .with("fraction", &axes, narrow(&fractions(values)))
        .with("value", &[("run", 2)], vec![from as f32, to as f32])
        .note("observable", observable.to_string())
        .note("donor_tokens", donor.tokens().iter().map(u32::to_string).collect::<Vec<_>>().join(","))
        .note(noise::NAME, format!("{:e}", floor / step.abs()))
        .note("scale", options.scale.to_string())
        .note("random", options.random.to_string())
        .note("seed", options.seed.to_string());
    let mut controls = controls.chunks(levels * tokens).map(fractions);
    let random: Vec<Vec<f64>> = controls.by_ref().take(options.random).collect();
    let shuffled: Vec<Vec<f64>> = controls.collect();
    for (names, controls) in
        [(["random", "random_low", "random_high"], random), (["shuffled", "shuffled_low", "shuffled_high"], shuffled)]
    {
        if controls.is_empty() {
            continue;
        }
        let of = |f: fn(&[f64]) -> f64| -> Vec<f64> {
            (0..levels * tokens)
                .map(|i| f(&stats::sorted(&controls.iter().map(|c| c[i]).collect::<Vec<f64>>())))
                .collect()
        };
        result = result
            .with(names[0], &axes, narrow(&of(stats::mean)))
            .with(names[1], &axes, narrow(&of(|sorted| sorted[0])))
            .with(names[2], &axes, narrow(&of(|sorted| sorted[sorted.len() - 1])));
    }
    if let Some(value) = restoration {
        result = result.certify(Certificate::new("restores", value, same(prompt.model())))?;
    }
    result.certify(agreement)
}

/// Returns whether two values of J are too close for their difference to serve as a unit.
pub(crate) fn same_value(from: f64, to: f64) -> bool {
    let (step, size) = ((to - from).abs(), from.abs().max(to.abs()).max(1.0));
    !step.is_finite() || step < 1e-4 * size
}

/// Checks that two runs have the same model and length.
fn check(prompt: &Run, other: &Run) -> Result<()> {
    let (ours, theirs) = (prompt.tokens().len(), other.tokens().len());
    if ours != theirs {
        let reason = format!("the donor has {theirs} tokens and the prompt {ours}; give prompts of the same length");
        return Err(Error::Input(reason));
    }
    if prompt.model().hash() != other.model().hash() {
        return Err(Error::Input("prompt and donor belong to different models".to_owned()));
    }
    Ok(())
}

/// Returns, for each place, the edit that adds its row of `displacement`.
fn edits(run: &Run, displacement: &[f32]) -> Vec<[Edit; 1]> {
    let (_, tokens, d) = shape(run);
    let sizes = run.model().sizes();
    let rows = displacement.chunks(d).enumerate();
    rows.map(|(i, s)| [Edit::add(Site::level(i / tokens, sizes), i % tokens, s.to_vec())]).collect()
}

/// Scales each row of `x` to the length of the same row of `like`.
fn matched(x: &[f32], like: &[f32], d: usize) -> Vec<f32> {
    let scaled = |(x, like): (&[f32], &[f32])| {
        let size = norm(x);
        let factor = if size > 0.0 { norm(like) / size } else { 0.0 };
        x.iter().map(|&x| (f64::from(x) * factor) as f32).collect::<Vec<f32>>()
    };
    x.chunks(d).zip(like.chunks(d)).flat_map(scaled).collect()
}
