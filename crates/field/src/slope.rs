//! Differences of J as checks of its derivatives.
//!
//! `(J(h + a v) - J(h - a v)) / 2a` differs from `dJ/da` by the third order of J, of which there is no estimate, and by
//! the noise floor of J over a. The second order cancels. It gives the first amplitude: where it changes the response by
//! [`CURVED`], the third order is about the square of that in a smooth model, and the response is as large as it may be.
//! A saturated model is less smooth; so smaller amplitudes follow where the check fails, as far as noise permits. A right
//! derivative passes at one of them, a wrong one at none.

use resolvent_model::{Edit, Linearization, Observable, Site, Source};

use crate::certificate::{Certificate, SLOPE, norm};
use crate::error::Result;
use crate::place::{Place, shape};

/// Second order over first at the first amplitude, for J: the third order is then about 0.1 % of the first.
pub(crate) const CURVED: f64 = 0.03;
/// The same for a whole level of the field, whose noise is larger: all of its numbers are rounded.
pub(crate) const CURVED_FIELD: f64 = 0.07;
/// The largest amplitude, over |h|: a larger one is another run.
const FARTHEST: f64 = 0.1;
/// The least amplitude is the one at which noise is this share of the tolerance.
const CLEAR: f64 = 0.1;

/// The slope of J along its sensitivity chi, at three levels: 0, half of what J sees, and the last one that J sees; at
/// each at the token with the largest |chi|. The figure is the worst of them, relative to |chi|.
///
/// # Errors
/// An observable that does not fit, or a device error.
pub(crate) fn slope(
    linear: &Linearization<'_>,
    observable: &Observable,
    chi: &[f32],
    noise: f64,
) -> Result<Certificate> {
    let (run, (_, tokens, d)) = (linear.run(), shape(linear.run()));
    let (config, last) = (run.model().config(), observable.level(run.model().config()));
    let size = |(l, t): Place| norm(&chi[(l * tokens + t) * d..][..d]);
    let mut levels = vec![0, last / 2, last];
    levels.dedup();
    let strongest = |l: usize| (0..tokens).map(|t| (l, t)).max_by(|a, b| size(*a).total_cmp(&size(*b)));
    let places: Vec<Place> = levels.into_iter().filter_map(strongest).filter(|p| size(*p) > 0.0).collect();

    let unit = |&(l, t): &Place| {
        let along = chi[(l * tokens + t) * d..][..d].iter();
        let vector = along.map(|&x| (f64::from(x) / size((l, t))) as f32).collect();
        [Source { site: Site::level(l, config), token: t, vector }]
    };
    let sources: Vec<[Source; 1]> = places.iter().map(unit).collect();
    let field = run.field()?;
    let second = linear.along(&sources, observable)?.into_iter().map(|along| along.second);
    let steps: Vec<Vec<f64>> = places
        .iter()
        .zip(second)
        .map(|(&(l, t), second)| {
            amplitudes(CURVED, [size((l, t)), second], noise, norm(&field[(l * tokens + t) * d..][..d]))
        })
        .collect();
    let checks = first_to_pass(places.len(), &steps, &mut |points| {
        let moved = |&(n, a): &(usize, f64)| {
            let source: &Source = &sources[n][0];
            [a, -a].map(|a| {
                let vector = source.vector.iter().map(|&x| (f64::from(x) * a) as f32).collect();
                [Edit::add(source.site, source.token, vector)]
            })
        };
        let values = run.values_under(&points.iter().flat_map(moved).collect::<Vec<_>>(), observable)?;
        let each = points.iter().zip(values.chunks(2)).map(|(&(n, a), values)| {
            let (quotient, size) = ((values[0] - values[1]) / (2.0 * a), size(places[n]));
            Certificate::new("slope", (quotient / size - 1.0).abs(), SLOPE).with_noise(noise / (a * size))
        });
        Ok(each.collect())
    })?;
    // Where J depends on nothing, there is no slope.
    Ok(checks.into_iter().reduce(Certificate::worse).unwrap_or(Certificate::new("slope", 0.0, SLOPE)))
}

/// Amplitudes along a direction with these derivatives, the largest first: as far as second order is `curved`, and never
/// farther than a part of `h`, the length of the field there in units of the direction; the last where noise is a share
/// of the tolerance.
pub(crate) fn amplitudes(curved: f64, [first, second]: [f64; 2], noise: f64, h: f64) -> Vec<f64> {
    let curved = curved * 2.0 * (first / second).abs();
    let clear = noise / (CLEAR * SLOPE * first.abs());
    let far = curved.max(clear).min(FARTHEST * h.max(f64::from(f32::MIN_POSITIVE)));
    match clear < far {
        true => vec![far, (far * clear.max(1e-4 * far)).sqrt(), clear.max(1e-4 * far)],
        false => vec![far],
    }
}

/// Gives the checks of differences at points (which, amplitude).
type Measure<'a> = &'a mut dyn FnMut(&[(usize, f64)]) -> Result<Vec<Certificate>>;

/// The check of each of `count` differences at the first of its amplitudes at which it passes; if it passes at none, at
/// the one where it is closest to that. `measure` gives the checks at points (which, amplitude).
pub(crate) fn first_to_pass(count: usize, steps: &[Vec<f64>], measure: Measure<'_>) -> Result<Vec<Certificate>> {
    let mut found: Vec<Option<Certificate>> = vec![None; count];
    for attempt in 0.. {
        let open = (0..count).filter(|&n| found[n].as_ref().is_none_or(|c| !c.passes()));
        let points: Vec<(usize, f64)> = open.filter_map(|n| Some((n, *steps[n].get(attempt)?))).collect();
        if points.is_empty() {
            break;
        }
        for (&(n, _), check) in points.iter().zip(measure(&points)?) {
            found[n] = Some(match found[n].take() {
                Some(known) => known.better(check),
                None => check,
            });
        }
    }
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use resolvent_engine::Device;
    use resolvent_model::{Mode, Model, RandomWeights, tiny};

    use super::*;
    use crate::noise;

    /// A sensitivity that is wrong at one level fails, whichever level that is; a right one passes with a figure that is
    /// measured: above its noise, which is far below the tolerance.
    #[test]
    fn a_wrong_sensitivity_fails_at_every_level() {
        let weights = RandomWeights::new(&tiny(), 7).with_std(0.15);
        let model = Model::random(&Device::host(), tiny(), weights).expect("opens");
        let run = model.run(&[3, 1, 4, 1, 5], &[]).expect("runs");
        let (linear, level) = (run.linearize(Mode::Exact), 5 * 32);
        for j in [Observable::logit_diff(2, 6, 4), Observable::log_prob(2, 4)] {
            let chi = linear.gradient(&j).expect("chi");
            let floor = noise::floor(&run, &chi).expect("reads");
            let right = slope(&linear, &j, &chi, floor).expect("runs");
            assert!(right.passes() && right.noise < 0.1 * SLOPE, "{right}");
            assert!(right.value > right.noise && right.value < 0.2 * SLOPE, "{right}");
            for wrong in [0, 1, 3] {
                let mut chi = chi.clone();
                chi[wrong * level..(wrong + 1) * level].iter_mut().for_each(|x| *x *= 1.1);
                let found = slope(&linear, &j, &chi, floor).expect("runs");
                assert!(!found.passes(), "level {wrong}: {found}");
            }
        }
    }

    #[test]
    fn an_observable_that_depends_on_nothing_has_no_slope() {
        let model = Model::random(&Device::host(), tiny(), RandomWeights::new(&tiny(), 7)).expect("opens");
        let run = model.run(&[3, 1], &[]).expect("runs");
        let linear = run.linearize(Mode::Exact);
        let j = Observable::logit_diff(2, 2, 1);
        let chi = linear.gradient(&j).expect("chi");
        let found = slope(&linear, &j, &chi, 0.0).expect("runs");
        assert_eq!((found.value, found.passes()), (0.0, true));
    }
}
