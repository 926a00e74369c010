//! Sensitivity fields: `chi[l, t] = dJ / dh[l, t]`.
//!
//! To first order a source `s` at (l, t) moves J by `<chi[l, t], s>`.

use resolvent_model::{Edit, Mode, Observable, Run, Site};

use crate::certificate::{Certificate, SLOPE, adjoint, dot, norm, norms};
use crate::direction::{Context, Direction};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::place::{Place, shape};

/// The sensitivity field of `observable`: arrays `sensitivity [L+1, T, d]`, `norm [L+1, T]`, `value [1]`.
///
/// Certificates: the adjoint identity on random vectors, and the slope of J itself along chi at the observable's token.
///
/// # Errors
/// An observable that does not fit, a device error, or a check that fails.
pub fn sensitivity(run: &Run, observable: &Observable) -> Result<Labelled> {
    let (levels, tokens, d) = shape(run);
    let value = run.value(observable)?;
    let linear = run.linearize(Mode::Exact);
    let chi = linear.gradient(observable)?;
    let norm = norms(&chi, d);
    let slope = slope(run, observable, &chi)?;
    let result = Labelled::new("sensitivity", run)
        .with("sensitivity", &[("level", levels), ("token", tokens), ("d", d)], chi)
        .with("norm", &[("level", levels), ("token", tokens)], norm)
        .with("value", &[("value", 1)], vec![value as f32])
        .note("observable", observable.to_string());
    result.certify(adjoint(&linear, 1)?)?.certify(slope)
}

/// As [`sensitivity`], with `directional [L+1, T]` = `<chi[l, t], v[l, t]>` along a direction at every place: with
/// [`Direction::Displacement`] the first-order effect of each displacement ("gradient times displacement"). Where the
/// direction is zero, so is the array.
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

/// The central difference of J along chi / |chi| at the last level that J sees, against |chi|.
fn slope(run: &Run, observable: &Observable, chi: &[f32]) -> Result<Certificate> {
    let (_, tokens, d) = shape(run);
    let token = observable.position();
    let level = observable.level(run.model().config());
    let place = (level * tokens + token) * d;
    let along = &chi[place..place + d];
    let (size, h) = (norm(along), norm(&run.field()?[place..place + d]));
    if size == 0.0 {
        return Ok(Certificate { name: "slope", value: 0.0, bound: SLOPE });
    }
    let step = (1e-2 * h).max(1e-3);
    let site = Site::level(level, run.model().config());
    let moved = |sign: f64| {
        let s = along.iter().map(|&x| (f64::from(x) * sign * step / size) as f32).collect();
        [Edit::add(site, token, s)]
    };
    let values = run.values_under(&[moved(1.0), moved(-1.0)], observable)?;
    let slope = (values[0] - values[1]) / (2.0 * step);
    // What rounding of J may do to the quotient is not the derivative's fault.
    let noise = 1e-5 * values[0].abs().max(1.0) / step;
    Ok(Certificate { name: "slope", value: ((slope - size).abs() - noise).max(0.0) / size, bound: SLOPE })
}
