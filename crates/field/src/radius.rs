//! Radii: the amplitude at which the error of a predicted response, such as the first-order one, first reaches 20 %.

use crate::error::Result;

/// Error at which the linear regime ends.
pub const LINEAR: f64 = 0.2;

/// Finite responses of several sources, and predictions of them.
pub(crate) trait Curve {
    /// Returns `J(h + a v_n) - J(h)` for each (n, a).
    fn finite(&self, points: &[(usize, f64)]) -> Result<Vec<f64>>;

    /// Returns the predicted responses, given dJ/da of each source: to first order, unless a curve has a better prediction.
    fn predicted(&self, first: &[f64], points: &[(usize, f64)]) -> Result<Vec<f64>> {
        Ok(points.iter().map(|&(n, a)| a * first[n]).collect())
    }
}

/// Factor between the amplitudes of the search.
const STEP: f64 = 1.189_207_115; // 2^(1/4)
/// Error above which the search refines between its amplitudes.
const CLOSE: f64 = 0.15;
/// Number of amplitudes in a round of the search.
const ROUND: usize = 8;
/// Largest amplitude of the search: the normalised stream no longer depends on h there.
const MOST: f64 = 1e6;
/// Bisection steps: the bracket shrinks from 2^(1/4) to 1 + 1e-5.
const BISECTIONS: usize = 14;

/// Finds the radius of each source, from its first and second derivative and the rounding noise of J.
///
/// The search starts low: where second order predicts an error of 1 %, or where rounding is 2 % of the response. It
/// goes up in small steps until the error reaches 20 %, and in smaller steps where the error comes near. Bisection then
/// refines the bracket. The radius is infinite if J does not move at all, and NaN if rounding hides the crossing.
pub(crate) fn radii(curve: &dyn Curve, first: &[f64], second: &[f64], noise: f64) -> Result<Vec<f64>> {
    let each = first.iter().zip(second).enumerate();
    let searches = each.map(|(source, (&first, &second))| Search::new(source, first, second, noise));
    searched(curve, first, noise, searches.collect())
}

/// Finds the radius of each source like [`radii`], but begins at a given amplitude of each. The radius of a source without a
/// finite one is that amplitude.
pub(crate) fn radii_from(curve: &dyn Curve, first: &[f64], starts: &[f64], noise: f64) -> Result<Vec<f64>> {
    let each = starts.iter().zip(first).enumerate();
    let searches = each.filter(|(_, (start, _))| start.is_finite());
    let searches = searches.map(|(source, (&start, &first))| Search::at(source, first, start, noise));
    let found = searched(curve, first, noise, searches.collect())?;
    Ok(found.into_iter().zip(starts).map(|(found, &start)| if start.is_finite() { found } else { start }).collect())
}

/// Continues searches until each has a radius.
fn searched(curve: &dyn Curve, first: &[f64], noise: f64, mut searches: Vec<Search>) -> Result<Vec<f64>> {
    let mut radius = vec![f64::INFINITY; first.len()];
    loop {
        let mut points = Vec::new();
        for search in searches.iter().filter(|s| s.found.is_none()) {
            points.extend(search.round().map(|a| (search.source, a)));
        }
        if points.is_empty() {
            break;
        }
        let errors = errors(curve, first, noise, &points)?;
        for search in searches.iter_mut().filter(|s| s.found.is_none()) {
            let mine = points.iter().zip(&errors).filter(|((n, _), _)| *n == search.source);
            let mine: Vec<(f64, f64)> = mine.map(|((_, a), e)| (*a, *e)).collect();
            search.take(&mine, &mut |points| self::errors(curve, first, noise, points))?;
        }
    }
    // All brackets are bisected together, so that a step is one batch.
    let mut brackets: Vec<(usize, f64, f64)> = Vec::new();
    for search in &searches {
        match search.found {
            Some(Found::Between(low, high)) => brackets.push((search.source, low, high)),
            Some(Found::Hidden) => radius[search.source] = f64::NAN,
            Some(Found::Nowhere) | None => {}
        }
    }
    for _ in 0..BISECTIONS {
        let middles: Vec<(usize, f64)> = brackets.iter().map(|&(n, low, high)| (n, (low * high).sqrt())).collect();
        let errors = errors(curve, first, noise, &middles)?;
        for ((bracket, (_, middle)), error) in brackets.iter_mut().zip(middles).zip(errors) {
            match error >= LINEAR {
                true => bracket.2 = middle,
                false => bracket.1 = middle,
            }
        }
    }
    brackets.into_iter().for_each(|(n, low, high)| radius[n] = (low * high).sqrt());
    Ok(radius)
}

/// Returns the errors of the predictions, less the part that rounding can cause.
fn errors(curve: &dyn Curve, first: &[f64], noise: f64, points: &[(usize, f64)]) -> Result<Vec<f64>> {
    let (finite, predicted) = (curve.finite(points)?, curve.predicted(first, points)?);
    let error = |(predicted, f): (f64, f64)| {
        let apart = (f - predicted).abs();
        // If the response is well above rounding, the error is not corrected.
        let doubt = if noise < 0.01 * predicted.abs() { 0.0 } else { noise };
        if apart <= doubt { 0.0 } else { (apart - doubt) / predicted.abs() }
    };
    Ok(predicted.into_iter().zip(finite).map(error).collect())
}

/// Evaluates the errors at given points.
type Look<'a> = dyn FnMut(&[(usize, f64)]) -> Result<Vec<f64>> + 'a;

enum Found {
    Between(f64, f64),
    Nowhere,
    Hidden,
}

struct Search {
    source: usize,
    /// Below this, rounding is more than 2 % of the response.
    least: f64,
    next: f64,
    /// Whether the search goes down, because the first error was too large.
    down: bool,
    /// Whether a round has been evaluated.
    begun: bool,
    found: Option<Found>,
}

impl Search {
    fn new(source: usize, first: f64, second: f64, noise: f64) -> Self {
        let least = 50.0 * noise / first.abs();
        let curved = 0.02 * (first / second).abs();
        let start = if curved.is_finite() { curved.clamp(1e-6, 0.02) } else { 0.02 };
        let found = match (first == 0.0, second == 0.0) {
            (true, true) => Some(Found::Nowhere),
            // Without a first-order response the relative error is infinite at any amplitude.
            (true, false) => Some(Found::Hidden),
            _ => None,
        };
        Self { found, least, ..Self::at(source, first, start.max(least), noise) }
    }

    /// Begins a search at an amplitude.
    fn at(source: usize, first: f64, next: f64, noise: f64) -> Self {
        Self { source, least: 50.0 * noise / first.abs(), next, down: false, begun: false, found: None }
    }

    fn round(&self) -> impl Iterator<Item = f64> + use<> {
        let (next, factor) = (self.next, if self.down { 1.0 / STEP } else { STEP });
        (0..ROUND as i32).map(move |i| next * factor.powi(i))
    }

    /// Advances the search by a round of (amplitude, error).
    fn take(&mut self, round: &[(f64, f64)], look: &mut Look<'_>) -> Result<()> {
        if !std::mem::replace(&mut self.begun, true) && round[0].1 >= LINEAR {
            self.down = true;
            self.next = round[0].0 / STEP;
            return Ok(());
        }
        for &(a, error) in round {
            if self.down {
                if a < self.least {
                    self.found = Some(Found::Hidden);
                } else if error < LINEAR {
                    self.found = Some(Found::Between(a, a * STEP));
                }
            } else if error >= LINEAR {
                self.found = Some(Found::Between(a / STEP, a));
            } else if a > MOST {
                self.found = Some(Found::Nowhere);
            } else if error > CLOSE {
                // The error may have a peak between amplitudes of the search.
                let close: Vec<(usize, f64)> =
                    (1..12).map(|i| (self.source, a * STEP.powf(f64::from(i) / 12.0 - 1.0))).collect();
                let errors = look(&close)?;
                if let Some(i) = errors.iter().position(|e| *e >= LINEAR) {
                    let low = if i == 0 { a / STEP } else { close[i - 1].1 };
                    self.found = Some(Found::Between(low, close[i].1));
                }
            }
            if self.found.is_some() {
                return Ok(());
            }
        }
        self.next = round[round.len() - 1].0 * if self.down { 1.0 / STEP } else { STEP };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known<F>(F);

    impl<F: Fn(usize, f64) -> f64> Curve for Known<F> {
        fn finite(&self, points: &[(usize, f64)]) -> Result<Vec<f64>> {
            Ok(points.iter().map(|&(n, a)| self.0(n, a)).collect())
        }
    }

    fn close(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 3e-5, "{got} {want}");
    }

    /// Responses whose radius is known in closed form, over seven orders of magnitude.
    #[test]
    fn known_radii() {
        let curve = Known(|n, a: f64| match n {
            0 => 2.0 * a + 5.0 * a * a,  // error 2.5 a
            1 => 2.0 * a - 3e-4 * a * a, // error 1.5e-4 a
            2 => a + 8.0 * a.powi(3),    // error 8 a^2, no second order
            3 => a.tanh(),               // saturates
            4 => 1e3 * a + 1e9 * a * a,  // error 1e6 a
            _ => 0.0,
        });
        let (first, second) = ([2.0, 2.0, 1.0, 1.0, 1e3, 0.0], [10.0, -6e-4, 0.0, 0.0, 2e9, 0.0]);
        let got = radii(&curve, &first, &second, 0.0).expect("computes");
        close(got[0], 0.08);
        close(got[1], 0.2 / 1.5e-4);
        close(got[2], 0.025f64.sqrt());
        let at = |a: f64| 1.0 - a.tanh() / a;
        assert!((at(got[3]) - 0.2).abs() < 1e-5, "{}", at(got[3]));
        close(got[4], 2e-7);
        assert_eq!(got[5], f64::INFINITY);
    }

    /// The error reaches 20 % in a narrow peak, falls, and reaches it again later: the peak counts.
    #[test]
    fn a_narrow_peak_is_the_radius() {
        let peak = |a: f64| 0.19 + 0.0103 * (-((a / 0.1057).ln() / 0.03).powi(2)).exp();
        let curve = Known(|_, a: f64| {
            let error = if a < 0.07 {
                2.0 * a
            } else if a < 0.16 {
                peak(a)
            } else {
                0.1 + 0.01 * a
            };
            a * (1.0 + error)
        });
        let got = radii(&curve, &[1.0], &[4.0], 0.0).expect("computes")[0];
        assert!((0.09..0.1057).contains(&got) && peak(got) > 0.1999, "{got}");
    }

    /// Noise of J does not end the regime. If it hides the crossing, the radius is NaN.
    #[test]
    fn noise_is_not_a_radius() {
        let noisy = |n: usize, a: f64| {
            let jitter = if ((a * 1e9) as u64).is_multiple_of(2) { 1e-6 } else { -1e-6 };
            if n == 0 { a * 1e-3 * (1.0 + a) + jitter } else { 1e-9 * a + 40.0 * a * a + jitter }
        };
        let got = radii(&Known(noisy), &[1e-3, 1e-9], &[2e-3, 80.0], 1e-6).expect("computes");
        assert!((got[0] - 0.2).abs() < 2e-2, "{}", got[0]);
        assert!(got[1].is_nan());
    }
}
