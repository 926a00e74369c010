//! Sensitivity fields: `chi[l, t] = dJ / dh[l, t]`.
//!
//! To first order a source `s` at (l, t) moves J by `<chi[l, t], s>`.

use resolvent_model::{Mode, Observable, Run, captures, values};

use crate::certificate::{adjoint_all, dot, norms};
use crate::derivatives::derivatives_all;
use crate::direction::{Context, Direction};
use crate::error::Result;
use crate::identities::shift;
use crate::labelled::Labelled;
use crate::noise;
use crate::place::{Place, shape};
use crate::slope::{Sloped, slopes};

/// Computes the sensitivity field of `observable`: arrays `sensitivity [L+1, T, d]`, `norm [L+1, T]` and `value [1]`.
///
/// Certificates: the adjoint identity on random vectors, and the slope of J itself along chi at three levels: 0,
/// half-way, and the last level that J depends on. Where the model's norms subtract the mean, also `<chi[l,t], 1> = 0`
/// ([`Identity::Shift`](crate::Identity::Shift)).
///
/// # Errors
/// An observable that does not fit, a device error, or a check that fails.
pub fn sensitivity(run: &Run, observable: &Observable) -> Result<Labelled> {
    Ok(sensitivity_all(&[(run, observable)])?.remove(0))
}

/// Computes the sensitivity field of an observable of each of several runs of one model, and returns a result for each;
/// see [`sensitivity`]. Runs of one batch share passes.
///
/// # Errors
/// As [`sensitivity`], for any of the runs.
pub fn sensitivity_all(readings: &[(&Run, &Observable)]) -> Result<Vec<Labelled>> {
    let Some((first, _)) = readings.first() else { return Ok(Vec::new()) };
    let (levels, unit) = (first.levels(), noise::unit(first.model().sizes()));
    let runs: Vec<&Run> = readings.iter().map(|(run, _)| *run).collect();
    let values = values(readings)?;
    let chi = chi_all(readings)?;
    let captured = captures(&runs.iter().map(|run| (*run, &levels[..])).collect::<Vec<_>>())?;
    let fields: Vec<Vec<f32>> = captured.into_iter().map(|levels| levels.concat()).collect();
    let floors: Vec<f64> = chi.iter().zip(&fields).map(|(chi, h)| unit * noise::square(chi, h).sqrt()).collect();
    let sloped: Vec<Sloped<'_>> = (0..runs.len())
        .map(|n| Sloped {
            run: runs[n],
            observable: readings[n].1,
            chi: &chi[n],
            field: &fields[n],
            value: values[n],
            noise: floors[n],
        })
        .collect();
    let (slopes, adjoints) = (slopes(&sloped)?, adjoint_all(Mode::Exact, &runs, 1)?);
    let mut results = Vec::with_capacity(runs.len());
    for (n, ((run, chi), (adjoint, slope))) in runs.iter().zip(chi).zip(adjoints.into_iter().zip(slopes)).enumerate() {
        let (levels, tokens, d) = shape(run);
        let (norm, shift) = (norms(&chi, d), shift(run, readings[n].1, &chi));
        let result = Labelled::new("sensitivity", run)
            .with("sensitivity", &[("level", levels), ("token", tokens), ("d", d)], chi)
            .with("norm", &[("level", levels), ("token", tokens)], norm)
            .with("value", &[("value", 1)], vec![values[n] as f32])
            .note("observable", readings[n].1.to_string())
            .note(noise::NAME, format!("{:.1e}", floors[n]));
        let result = result.certify(adjoint)?.certify(slope)?;
        results.push(match shift {
            Some(shift) => result.certify(shift)?,
            None => result,
        });
    }
    Ok(results)
}

/// Returns the sensitivity field `[L+1, T, d]` of each reading, without checks. Runs of one batch share passes.
pub(crate) fn chi_all(readings: &[(&Run, &Observable)]) -> Result<Vec<Vec<f32>>> {
    let levels = readings.first().map_or_else(Vec::new, |(run, _)| run.levels());
    let chi = derivatives_all(Mode::Exact, readings, &levels)?;
    Ok(chi.iter().map(|levels| levels.concat()).collect())
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
