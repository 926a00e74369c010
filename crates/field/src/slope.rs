//! Finite differences of J, as checks of its derivatives.
//!
//! `(J(h + a v) - J(h - a v)) / 2a` differs from `dJ/da` by the third order of J, which is unknown, and by the noise
//! floor of J divided by a. The second order cancels in the difference, but it selects the first amplitude: the one at
//! which it changes the response by [`CURVED`]. In a smooth model the third order there is about the square of that
//! share, so this amplitude is the largest usable one. A saturated model is less smooth. So if the check fails, smaller
//! amplitudes follow, as far as noise permits. A right derivative passes at one of the amplitudes, and a wrong one
//! passes at none.

use resolvent_model::{Edit, EditedRun, Observable, ProbedRun, Run, Site, Source, along_of, values_of};

use crate::certificate::{Certificate, SLOPE, norm};
use crate::error::Result;
use crate::place::{Place, shape};

/// Ratio of second to first order at the first amplitude, for J. The third order is then about 0.1 % of the first.
pub(crate) const CURVED: f64 = 0.03;
/// As [`CURVED`], for a whole level of the field. Its noise is larger, because all of its elements are rounded.
pub(crate) const CURVED_FIELD: f64 = 0.07;
/// Largest amplitude, as a share of |h|. A larger source makes a run too different from the original one.
const FARTHEST: f64 = 0.1;
/// Share of the tolerance that noise has at the smallest amplitude.
const CLEAR: f64 = 0.1;

/// An observable of a run, with its sensitivity and the noise of its values.
pub(crate) struct Sloped<'a> {
    pub(crate) run: &'a Run,
    pub(crate) observable: &'a Observable,
    /// The sensitivity `[L+1, T, d]`.
    pub(crate) chi: &'a [f32],
    /// The field `[L+1, T, d]` of the run.
    pub(crate) field: &'a [f32],
    /// J.
    pub(crate) value: f64,
    pub(crate) noise: f64,
}

/// A place at which a slope is checked.
struct Probe<'a> {
    of: usize,
    run: &'a Run,
    observable: &'a Observable,
    /// The direction of chi, a unit vector.
    source: [Source; 1],
    /// |chi|
    size: f64,
    /// |h|
    h: f64,
    noise: f64,
}

impl<'a> Sloped<'a> {
    /// Returns the places to check: at level 0, at the last level that J depends on, and at the level half way, each at
    /// the token with the largest |chi|.
    fn probes(&self, of: usize) -> Vec<Probe<'a>> {
        let (sizes, (_, tokens, d)) = (self.run.model().sizes(), shape(self.run));
        let last = self.observable.level(sizes);
        let row = |field: &'a [f32], (l, t): Place| &field[(l * tokens + t) * d..][..d];
        let size = |place: Place| norm(row(self.chi, place));
        let mut levels = vec![0, last / 2, last];
        levels.dedup();
        // J itself is rounded, too. That exceeds the floor if J hardly depends on the field: a probability close to 1.
        let noise = self.noise.max(f64::from(f32::EPSILON) * self.value.abs());
        let strongest = |l: usize| (0..tokens).map(|t| (l, t)).max_by(|a, b| size(*a).total_cmp(&size(*b)));
        let probe = |place: Place| {
            let size = size(place);
            let vector = row(self.chi, place).iter().map(|&x| (f64::from(x) / size) as f32).collect();
            let source = [Source { site: Site::level(place.0, sizes), token: place.1, vector }];
            let h = norm(row(self.field, place));
            Probe { of, run: self.run, observable: self.observable, source, size, h, noise }
        };
        levels.into_iter().filter_map(strongest).filter(|place| size(*place) > 0.0).map(probe).collect()
    }
}

/// Checks the slope of each J along its sensitivity chi at three levels: level 0, the last level on which J depends,
/// and the level half way. The source at each level is at the token with the largest |chi|. A figure is the worst of
/// the three, relative to |chi|. Runs of one batch share passes.
///
/// # Errors
/// An observable that does not fit, or a device error.
pub(crate) fn slopes(sloped: &[Sloped<'_>]) -> Result<Vec<Certificate>> {
    let probes: Vec<Probe<'_>> = sloped.iter().enumerate().flat_map(|(of, sloped)| sloped.probes(of)).collect();
    let curved: Vec<usize> = (0..probes.len()).filter(|&n| probes[n].run.has_second_order()).collect();
    let probed = curved.iter().map(|&n| &probes[n]);
    let probed = probed.map(|p| ProbedRun { run: p.run, sources: &p.source, observable: p.observable });
    let along = along_of(&probed.collect::<Vec<_>>())?;
    let mut second = vec![0.0; probes.len()];
    curved.iter().zip(along).for_each(|(&n, along)| second[n] = along.second);
    let steps: Vec<Vec<f64>> =
        probes.iter().zip(second).map(|(p, second)| amplitudes(CURVED, [p.size, second], p.noise, p.h)).collect();
    let checks = first_to_pass(probes.len(), &steps, &mut |points| {
        let moved = |&(n, a): &(usize, f64)| {
            let source = &probes[n].source[0];
            [a, -a].map(|a| {
                let vector = source.vector.iter().map(|&x| (f64::from(x) * a) as f32).collect();
                (n, [Edit::add(source.site, source.token, vector)])
            })
        };
        let edits: Vec<(usize, [Edit; 1])> = points.iter().flat_map(moved).collect();
        let edited = edits.iter().map(|(n, edits)| {
            let Probe { run, observable, .. } = probes[*n];
            EditedRun { run, edits, observable }
        });
        let values = values_of(&edited.collect::<Vec<_>>())?;
        let each = points.iter().zip(values.chunks(2)).map(|(&(n, a), values)| {
            let Probe { size, noise, .. } = probes[n];
            let quotient = (values[0] - values[1]) / (2.0 * a);
            Certificate::new("slope", (quotient / size - 1.0).abs(), SLOPE).with_noise(noise / (a * size))
        });
        Ok(each.collect())
    })?;
    // If J depends on no place, there is no slope to check.
    let of = |n: usize| {
        let here = probes.iter().zip(&checks).filter(|(probe, _)| probe.of == n).map(|(_, check)| check.clone());
        here.reduce(Certificate::worse).unwrap_or(Certificate::new("slope", 0.0, SLOPE))
    };
    Ok((0..sloped.len()).map(of).collect())
}

/// Returns the amplitudes for a direction with the given derivatives, largest first.
///
/// At the largest amplitude, the second order is `curved` times the first, unless the limit [`FARTHEST`] times `h` is
/// lower. Where the second order is unknown, it is 0, and more amplitudes follow. `h` is the length of the field at the
/// place, in units of the direction. At the smallest amplitude, noise is the share [`CLEAR`] of the tolerance, unless
/// the second order asks for a smaller one.
pub(crate) fn amplitudes(curved: f64, [first, second]: [f64; 2], noise: f64, h: f64) -> Vec<f64> {
    let curved = curved * 2.0 * (first / second).abs();
    let clear = noise / (CLEAR * SLOPE * first.abs());
    let far = curved.max(clear).min(FARTHEST * h.max(f64::from(f32::MIN_POSITIVE)));
    match clear < far {
        true if second == 0.0 => (0..5).map(|i| far * (clear / far).max(1e-4).powf(f64::from(i) / 4.0)).collect(),
        true => vec![far, (far * clear.max(1e-4 * far)).sqrt(), clear.max(1e-4 * far)],
        // Noise asks for more than the second order allows. If the check fails at larger amplitudes, it has that noise
        // at the amplitude of the second order.
        false if curved < far => vec![far, (far * curved).sqrt(), curved],
        false => vec![far],
    }
}

/// Computes the checks of differences at points (index, amplitude).
type Measure<'a> = &'a mut dyn FnMut(&[(usize, f64)]) -> Result<Vec<Certificate>>;

/// Returns, for each of `count` differences, its check at the first of its amplitudes at which it passes. If it passes
/// at none, returns the check that is closest to its bound. `measure` computes the checks at points (index, amplitude).
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

    fn slope(run: &Run, observable: &Observable, chi: &[f32], noise: f64) -> Result<Certificate> {
        let value = run.value(observable)?;
        Ok(slopes(&[Sloped { run, observable, chi, field: &run.field()?, value, noise }])?.remove(0))
    }

    /// A sensitivity that is wrong at one level fails, at any level. A right one passes, with a figure above its noise;
    /// the noise is far below the tolerance.
    #[test]
    fn a_wrong_sensitivity_fails_at_every_level() {
        let weights = RandomWeights::new(7).with_std(0.15);
        let model = Model::random(&Device::host(), tiny(), weights).expect("opens");
        let run = model.run(&[3, 1, 4, 1, 5], &[]).expect("runs");
        let (linear, level) = (run.linearize(Mode::Exact), 5 * 32);
        for j in [Observable::logit_diff(2, 6, 4), Observable::log_prob(2, 4)] {
            let chi = linear.gradient(&j).expect("chi");
            let floor = noise::floor(&run, &chi).expect("reads");
            let right = slope(&run, &j, &chi, floor).expect("runs");
            assert!(right.passes() && right.noise < 0.1 * SLOPE, "{right}");
            assert!(right.value > right.noise && right.value < 0.2 * SLOPE, "{right}");
            for wrong in [0, 1, 3] {
                let mut chi = chi.clone();
                chi[wrong * level..(wrong + 1) * level].iter_mut().for_each(|x| *x *= 1.1);
                let found = slope(&run, &j, &chi, floor).expect("runs");
                assert!(!found.passes(), "level {wrong}: {found}");
            }
        }
    }

    /// A probability close to 1 moves by little more than its own rounding. Without that noise, its check fails.
    #[test]
    fn slopes_of_probabilities_close_to_one() {
        let mut failed = 0;
        for seed in 0..12 {
            let weights = RandomWeights::new(seed).with_std(0.6);
            let model = Model::random(&Device::host(), tiny(), weights).expect("opens");
            let run = model.run(&[3, 1, 4, 1, 5], &[]).expect("runs");
            let logits = run.logits().expect("reads").split_off(4 * model.sizes().vocab);
            let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
            ids.sort_by(|a, b| logits[*a as usize].total_cmp(&logits[*b as usize]));
            // All tokens but the least likely ones, which together have a probability of some millionths.
            let close = (1..ids.len()).map(|n| Observable::prob(&ids[n..], 4));
            let close = close.map(|j| (run.value(&j).expect("reads"), j)).take_while(|(value, _)| *value > 1.0 - 1e-5);
            let Some((value, j)) = close.last() else { continue };
            let chi = run.linearize(Mode::Exact).gradient(&j).expect("chi");
            let (field, noise) = (run.field().expect("reads"), noise::floor(&run, &chi).expect("reads"));
            let check = |chi: &[f32], value: f64| {
                let sloped = Sloped { run: &run, observable: &j, chi, field: &field, value, noise };
                slopes(&[sloped]).expect("runs").remove(0)
            };
            let right = check(&chi, value);
            assert!(right.passes(), "seed {seed}, {value}: {right}");
            failed += u32::from(!check(&chi, 0.0).passes());
        }
        assert!(failed > 1, "{failed}");
    }

    /// Without a second order, the amplitudes are found by trying.
    #[test]
    fn slopes_of_runs_with_edits_of_attention() {
        let weights = RandomWeights::new(7).with_std(0.15);
        let model = Model::random(&Device::host(), tiny(), weights).expect("opens");
        let edits = [Edit::ablate(Site::Pattern(0, 1, 2), 4), Edit::add(Site::AttnScores(1, 0, 1), 3, vec![1.5])];
        let run = model.run(&[3, 1, 4, 1, 5], &edits).expect("runs");
        assert!(!run.has_second_order());
        let j = Observable::logit_diff(2, 6, 4);
        let mut chi = run.linearize(Mode::Exact).gradient(&j).expect("chi");
        let floor = noise::floor(&run, &chi).expect("reads");
        let right = slope(&run, &j, &chi, floor).expect("runs");
        assert!(right.passes(), "{right}");
        chi[..5 * 32].iter_mut().for_each(|x| *x *= 1.1);
        assert!(!slope(&run, &j, &chi, floor).expect("runs").passes());
    }

    #[test]
    fn an_observable_that_depends_on_nothing_has_no_slope() {
        let model = Model::random(&Device::host(), tiny(), RandomWeights::new(7)).expect("opens");
        let run = model.run(&[3, 1], &[]).expect("runs");
        let linear = run.linearize(Mode::Exact);
        let j = Observable::logit_diff(2, 2, 1);
        let chi = linear.gradient(&j).expect("chi");
        let found = slope(&run, &j, &chi, 0.0).expect("runs");
        assert_eq!((found.value, found.passes()), (0.0, true));
    }
}
