//! Sensitivity fields: `chi[l, t] = dJ / dh[l, t]`.
//!
//! To first order a source `s` at (l, t) moves J by `<chi[l, t], s>`.

use resolvent_model::{Mode, Observable, Run};

use crate::certificate::{adjoint, dot, norms};
use crate::direction::{Context, Direction};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::noise;
use crate::place::{Place, shape};
use crate::slope::slope;

/// Computes the sensitivity field of `observable`: arrays `sensitivity [L+1, T, d]`, `norm [L+1, T]` and `value [1]`.
///
/// Certificates: the adjoint identity on random vectors, and the slope of J itself along chi at three levels: 0,
/// half-way, and the last level that J depends on.
///
/// # Errors
/// An observable that does not fit, a device error, or a check that fails.
pub fn sensitivity(run: &Run, observable: &Observable) -> Result<Labelled> {
    let (levels, tokens, d) = shape(run);
    let value = run.value(observable)?;
    let linear = run.linearize(Mode::Exact);
    let chi = linear.gradient(observable)?;
    let norm = norms(&chi, d);
    let floor = noise::floor(run, &chi)?;
    let slope = slope(&linear, observable, &chi, floor)?;
    let result = Labelled::new("sensitivity", run)
        .with("sensitivity", &[("level", levels), ("token", tokens), ("d", d)], chi)
        .with("norm", &[("level", levels), ("token", tokens)], norm)
        .with("value", &[("value", 1)], vec![value as f32])
        .note("observable", observable.to_string())
        .note(noise::NAME, format!("{floor:.1e}"));
    result.certify(adjoint(&linear, 1)?)?.certify(slope)
}

/// As [`sensitivity`], with `directional [L+1, T]` = `<chi[l, t], v[l, t]>` along a direction v at every place.
///
/// With [`Direction::Displacement`] this is the first-order effect of each displacement ("gradient times
/// displacement"). It is zero where the direction is zero.
///
/// # Errors
/// As [`sensitivity`], or a direction that lacks what it refers to.
pub fn sensitivity_along(
    run: &Run,
    observable: &Observable,
    direction: &Direction,
    other: Option<&Run>,
) -> Result<Labelled> {
    let (levels, tokens, d) = shape(run);
    let result = sensitivity(run, observable)?;
    let places: Vec<Place> = (0..levels).flat_map(|l| (0..tokens).map(move |t| (l, t))).collect();
    let context = Context { observable: Some(observable), other, unit: false };
    let directions = direction.resolve_all(run, &places, context)?;
    let chi = result.array("sensitivity").map_or(&[][..], |a| &a.data);
    let along = chi.chunks(d).zip(&directions).map(|(chi, v)| dot(chi, v) as f32).collect();
    Ok(result.with("directional", &[("level", levels), ("token", tokens)], along))
}
