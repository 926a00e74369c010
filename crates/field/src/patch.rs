//! Activation patching: every h\[l, t\] of a clean run put into a corrupted one, one place at a time.
//!
//! The effect is `J(patched) - J(corrupted)`; to first order it is `<chi[l, t], h_clean[l, t] - h_corrupted[l, t]>` with
//! the corrupted run's sensitivity. All places share the corrupted run: each computes only its causal cone.

use resolvent_model::{Edit, Mode, Observable, Run, Site};

use crate::certificate::{Certificate, SAME, adjoint, dot};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::sensitivity::shape;

/// The patch effects of all places: arrays `effect [L+1, T]`, `first_order [L+1, T]`, `clean_value [1]`,
/// `corrupted_value [1]`.
///
/// Certificates: three patched prompts run alone; patching the observable's own token at the last level restores the
/// clean value; the adjoint identity behind the first-order field.
///
/// # Errors
/// Runs of different models or lengths, an observable that does not fit, a device error, or a check that fails.
pub fn patch(clean: &Run, corrupted: &Run, observable: &Observable) -> Result<Labelled> {
    let (levels, tokens, d) = shape(corrupted);
    if clean.tokens().len() != tokens {
        let clean = clean.tokens().len();
        let reason = format!(
            "the clean prompt has {clean} tokens and the corrupted one {tokens}; patching pairs them"
        );
        return Err(Error::Input(reason));
    }
    if clean.model().hash() != corrupted.model().hash() {
        return Err(Error::Input("the clean and the corrupted run belong to different models".to_owned()));
    }
    let (clean_value, corrupted_value) = (clean.value(observable)?, corrupted.value(observable)?);
    let (h_clean, h_corrupted) = (clean.field()?, corrupted.field()?);
    let at = |level: usize, t: usize| (level * tokens + t) * d..(level * tokens + t + 1) * d;

    let mut variants = Vec::with_capacity(levels * tokens);
    for level in 0..levels {
        let site = Site::level(level, clean.model().config());
        variants.extend((0..tokens).map(|t| [Edit::put(site, t, h_clean[at(level, t)].to_vec())]));
    }
    let values = corrupted.values_under(&variants, observable)?;
    let effect: Vec<f32> = values.iter().map(|v| (v - corrupted_value) as f32).collect();

    let linear = corrupted.linearize(Mode::Exact);
    let chi = linear.vjp(&[observable.seeds()])?.into_single();
    let first_order: Vec<f32> = (0..levels * tokens)
        .map(|i| {
            let row = i * d..(i + 1) * d;
            (dot(&chi[row.clone()], &h_clean[row.clone()]) - dot(&chi[row.clone()], &h_corrupted[row])) as f32
        })
        .collect();

    let scale = clean_value.abs().max(corrupted_value.abs()).max(1.0);
    let restored = match observable {
        Observable::Logits { position, .. } => values[(levels - 1) * tokens + position],
        Observable::Field { level, token, .. } => values[level * tokens + token],
    };
    let restores =
        Certificate { name: "restores", value: (restored - clean_value).abs() / scale, bound: SAME };
    let alone = alone(corrupted, &variants, &values, observable)? / scale;
    Labelled::new("patch", corrupted)
        .with("effect", &[("level", levels), ("token", tokens)], effect)
        .with("first_order", &[("level", levels), ("token", tokens)], first_order)
        .with("clean_value", &[("value", 1)], vec![clean_value as f32])
        .with("corrupted_value", &[("value", 1)], vec![corrupted_value as f32])
        .note("observable", format!("{observable:?}"))
        .note("clean_tokens", clean.tokens().iter().map(u32::to_string).collect::<Vec<_>>().join(","))
        .certify(restores)?
        .certify(Certificate { name: "alone", value: alone, bound: SAME })?
        .certify(adjoint(&linear, 1)?)
}

/// The largest difference between a patch in the sweep and the same prompt patched and run alone, at three places.
fn alone(run: &Run, variants: &[[Edit; 1]], values: &[f64], observable: &Observable) -> Result<f64> {
    let mut worst = 0.0f64;
    for i in [0, variants.len() / 2, variants.len() - 1] {
        let edits: Vec<Edit> = run.edits().iter().chain(&variants[i]).cloned().collect();
        let value = run.model().run(run.tokens(), &edits)?.value(observable)?;
        let difference = (value - values[i]).abs();
        worst = if difference <= worst { worst } else { difference };
    }
    Ok(worst)
}
