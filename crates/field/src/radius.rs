//! Radii: the amplitude at which the error of a predicted response, such as the first-order one, first reaches 20 %.

use crate::error::Result;

/// Error at which the linear regime ends.
pub const LINEAR: f64 = 0.2;

/// Finite responses of several sources, and predictions of them.
pub(crate) trait Curve {
    /// Returns `J(h + a v_n) - J(h)` for each (n, a).
    fn finite(&self, points: &[(usize, f64)]) -> Result<Vec<f64>>;

    /// Returns the predicted responses, given dJ/da of each source: to first order, unless a curve has a better
    /// prediction.
    fn predicted(&self, first: &[f64], points: &[(usize, f64)]) -> Result<Vec<f64>> {
        Ok(points.iter().map(|&(n, a)| a * first[n]).collect())
    }
}

/// Factor between the amplitudes of the search.
const STEP: f64 = 1.189_207_115; // 2^(1/4)
/// Error above which the search refines between its amplitudes.
const CLOSE: f64 = 0.15;
/// Parts into which the search divides a step there.
const CLOSER: i32 = 12;
/// The least and the most amplitudes in a round of the search. Rounds grow, since each is a pass to wait for.
const ROUND: usize = 4;
const MOST_ROUND: usize = 20;
/// Largest amplitude of the search: the normalised stream no longer depends on h there.
const MOST: f64 = 1e6;
/// Width of the last bracket, in ln a: the radius is known to 1e-5.
const WIDTH: f64 = 1e-5;

/// Finds the radius of each source, from its first and second derivative and the rounding noise of its J. All searches
/// advance together, so each round is one sweep.
///
/// The search starts low: where second order predicts an error of 1 %, or where rounding is 2 % of the response. It
/// goes up in small steps until the error reaches 20 %, and in smaller steps where the error comes near. A [`Bracket`]
/// then shrinks. The radius is infinite if J does not move at all, and NaN if rounding hides the crossing.
pub(crate) fn radii(curve: &dyn Curve, first: &[f64], second: &[f64], noise: &[f64]) -> Result<Vec<f64>> {
    let each = first.iter().zip(second).enumerate();
    let searches = each.map(|(source, (&first, &second))| Search::new(source, first, second, noise[source]));
    searched(curve, first, noise, searches.collect())
}

/// Finds the radius of each source like [`radii`], but begins at a given amplitude of each. The radius of a source
/// without a finite one is that amplitude.
pub(crate) fn radii_from(curve: &dyn Curve, first: &[f64], starts: &[f64], noise: &[f64]) -> Result<Vec<f64>> {
    let each = starts.iter().zip(first).enumerate();
    let searches = each.filter(|(_, (start, _))| start.is_finite());
    let searches = searches.map(|(source, (&start, &first))| Search::at(source, first, start, noise[source]));
    let found = searched(curve, first, noise, searches.collect())?;
    Ok(found.into_iter().zip(starts).map(|(found, &start)| if start.is_finite() { found } else { start }).collect())
}

/// Continues searches until each has a radius.
fn searched(curve: &dyn Curve, first: &[f64], noise: &[f64], mut searches: Vec<Search>) -> Result<Vec<f64>> {
    let mut radius = vec![f64::INFINITY; first.len()];
    loop {
        let open: Vec<&mut Search> = searches.iter_mut().filter(|s| s.found.is_none()).collect();
        if open.is_empty() {
            break;
        }
        let points: Vec<(usize, f64)> =
            open.iter().flat_map(|s| s.points().into_iter().map(|a| (s.source, a))).collect();
        let errors = errors(curve, first, noise, &points)?;
        let mut found = points.iter().map(|(_, a)| *a).zip(errors);
        for search in open {
            let mine: Vec<Point> = found.by_ref().take(search.points().len()).collect();
            search.take(&mine);
        }
    }
    // All brackets shrink together, so that a step is one batch.
    let mut brackets: Vec<(usize, Bracket)> = Vec::new();
    for search in searches {
        match search.found {
            Some(Found::Between(low, high)) => brackets.push((search.source, Bracket::new(low, high))),
            Some(Found::Hidden) => radius[search.source] = f64::NAN,
            Some(Found::Nowhere) | None => {}
        }
    }
    loop {
        let open: Vec<&mut (usize, Bracket)> = brackets.iter_mut().filter(|(_, bracket)| bracket.is_open()).collect();
        if open.is_empty() {
            break;
        }
        let points: Vec<(usize, f64)> = open.iter().map(|(n, bracket)| (*n, bracket.next())).collect();
        let errors = errors(curve, first, noise, &points)?;
        for (((_, bracket), (_, at)), error) in open.into_iter().zip(points).zip(errors) {
            bracket.shrink((at, error));
        }
    }
    brackets.into_iter().for_each(|(n, bracket)| radius[n] = bracket.middle());
    Ok(radius)
}

/// An amplitude and the error there.
type Point = (f64, f64);

/// A pair of amplitudes between which the error reaches 20 %.
///
/// It shrinks by the ITP method (Oliveira and Takahashi 2020): interpolation between the ends, moved towards the
/// middle. It needs at most one step more than bisection, and about a third of its steps where the error is smooth.
struct Bracket {
    low: Point,
    high: Point,
    /// Width at the start, in ln a.
    width: f64,
    steps: i32,
}

impl Bracket {
    fn new(low: Point, high: Point) -> Self {
        Self { low, high, width: (high.0 / low.0).ln(), steps: 0 }
    }

    fn is_open(&self) -> bool {
        (self.high.0 / self.low.0).ln() > WIDTH
    }

    /// Returns the amplitude in the middle.
    fn middle(&self) -> f64 {
        (self.low.0 * self.high.0).sqrt()
    }

    /// Returns the amplitude at which to compute the error next.
    fn next(&self) -> f64 {
        let ([a, b], [below, above]) =
            ([self.low.0.ln(), self.high.0.ln()], [LINEAR - self.low.1, self.high.1 - LINEAR]);
        let (half, most) = (0.5 * (b - a), (self.width / WIDTH).log2().ceil() + 1.0);
        let middle = a + half;
        let crossing = (below * b + above * a) / (below + above);
        if !crossing.is_finite() {
            return middle.exp();
        }
        let shift = (0.2 / self.width) * (b - a).powi(2);
        let moved =
            if shift <= (middle - crossing).abs() { crossing + shift.copysign(middle - crossing) } else { middle };
        // How far from the middle a step may be without more steps than bisection needs; 0.49, because ends are
        // rounded.
        let room = (0.49 * WIDTH * 2f64.powf(most - f64::from(self.steps)) - half).max(0.0);
        (middle + (moved - middle).clamp(-room, room)).exp()
    }

    fn shrink(&mut self, point: Point) {
        self.steps += 1;
        let end = if point.1 >= LINEAR { &mut self.high } else { &mut self.low };
        *end = point;
    }
}

/// Returns the errors of the predictions, less the part that rounding can cause.
fn errors(curve: &dyn Curve, first: &[f64], noise: &[f64], points: &[(usize, f64)]) -> Result<Vec<f64>> {
    let (finite, predicted) = (curve.finite(points)?, curve.predicted(first, points)?);
    let error = |((predicted, f), &(source, _)): ((f64, f64), &(usize, f64))| {
        let (apart, noise) = ((f - predicted).abs(), noise[source]);
        // If the response is well above rounding, the error is not corrected.
        let doubt = if noise < 0.01 * predicted.abs() { 0.0 } else { noise };
        if apart <= doubt { 0.0 } else { (apart - doubt) / predicted.abs() }
    };
    Ok(predicted.into_iter().zip(finite).zip(points).map(error).collect())
}

enum Found {
    Between(Point, Point),
    Nowhere,
    Hidden,
}

/// Points of a round whose neighbourhood is looked at, and what the round found without it.
struct Pending {
    /// Pairs of neighbours, of which the second has an error near 20 %: there may be a peak between them.
    pairs: Vec<(Point, Point)>,
    otherwise: Option<Found>,
}

struct Search {
    source: usize,
    /// Below this, rounding is more than 2 % of the response.
    least: f64,
    next: f64,
    /// Whether the search goes down, because the first error was too large.
    down: bool,
    /// The point before; `None` until a round has been evaluated.
    before: Option<Point>,
    /// Number of amplitudes in the next round.
    round: usize,
    pending: Option<Pending>,
    found: Option<Found>,
}

impl Search {
    fn new(source: usize, first: f64, second: f64, noise: f64) -> Self {
        let ratio = (first / second).abs();
        let start = if ratio.is_finite() { (0.02 * ratio).clamp(1e-6, 0.02) } else { 0.02 };
        let found = match (first == 0.0, second == 0.0) {
            (true, true) => Some(Found::Nowhere),
            // Without a first-order response the relative error is infinite at any amplitude.
            (true, false) => Some(Found::Hidden),
            _ => None,
        };
        let search = Self::at(source, first, start.max(50.0 * noise / first.abs()), noise);
        // The first round ends where second order expects the radius.
        let steps = (2.0 * LINEAR * ratio / search.next).ln() / STEP.ln();
        let round =
            if steps.is_finite() { steps.ceil().clamp(ROUND as f64, MOST_ROUND as f64) as usize + 1 } else { ROUND };
        Self { found, round, ..search }
    }

    /// Begins a search at an amplitude.
    fn at(source: usize, first: f64, next: f64, noise: f64) -> Self {
        let least = 50.0 * noise / first.abs();
        Self { source, least, next, down: false, before: None, round: ROUND, pending: None, found: None }
    }

    /// Returns the amplitudes at which to compute the error next.
    fn points(&self) -> Vec<f64> {
        if let Some(pending) = &self.pending {
            let between = |i| STEP.powf(f64::from(i) / f64::from(CLOSER) - 1.0);
            return pending.pairs.iter().flat_map(|(_, (a, _))| (1..CLOSER).map(move |i| a * between(i))).collect();
        }
        let factor = if self.down { 1.0 / STEP } else { STEP };
        (0..self.round as i32).map(move |i| self.next * factor.powi(i)).collect()
    }

    /// Advances the search by the errors at [`Self::points`].
    fn take(&mut self, points: &[Point]) {
        match self.pending.take() {
            Some(pending) => self.look(pending, points),
            None if self.before.is_none() && points[0].1 >= LINEAR => {
                (self.down, self.next, self.round, self.before) = (true, points[0].0 / STEP, ROUND, Some(points[0]));
            }
            None => {
                match self.down {
                    true => self.descend(points),
                    false => self.ascend(points),
                }
                let factor = if self.down { 1.0 / STEP } else { STEP };
                self.next = points[points.len() - 1].0 * factor;
                self.round = (2 * self.round).min(MOST_ROUND);
            }
        }
    }

    fn descend(&mut self, points: &[Point]) {
        for &point in points {
            if point.0 < self.least {
                self.found = Some(Found::Hidden);
            } else if point.1 < LINEAR {
                self.found = self.before.map(|before| Found::Between(point, before));
            }
            self.before = Some(point);
            if self.found.is_some() {
                return;
            }
        }
    }

    fn ascend(&mut self, points: &[Point]) {
        let (mut pairs, mut found) = (Vec::new(), None);
        for &point in points {
            // The error below the first point is not known. It only guides the interpolation.
            let before = self.before.replace(point).unwrap_or((point.0 / STEP, 0.0));
            if point.1 >= LINEAR {
                found = Some(Found::Between(before, point));
            } else if point.0 > MOST {
                found = Some(Found::Nowhere);
            } else if point.1 > CLOSE {
                pairs.push((before, point));
            }
            if found.is_some() {
                break;
            }
        }
        match pairs.is_empty() {
            true => self.found = found,
            false => self.pending = Some(Pending { pairs, otherwise: found }),
        }
    }

    /// Looks for a peak between points of the last round.
    fn look(&mut self, pending: Pending, points: &[Point]) {
        for (&(mut before, _), points) in pending.pairs.iter().zip(points.chunks(CLOSER as usize - 1)) {
            for &point in points {
                if point.1 >= LINEAR {
                    self.found = Some(Found::Between(before, point));
                    return;
                }
                before = point;
            }
        }
        self.found = pending.otherwise;
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
        let got = radii(&curve, &first, &second, &[0.0; 6]).expect("computes");
        close(got[0], 0.08);
        close(got[1], 0.2 / 1.5e-4);
        close(got[2], 0.025f64.sqrt());
        let at = |a: f64| 1.0 - a.tanh() / a;
        assert!((at(got[3]) - 0.2).abs() < 1e-5, "{}", at(got[3]));
        close(got[4], 2e-7);
        assert_eq!(got[5], f64::INFINITY);
    }

    /// Interpolation takes few steps where the error is smooth, and no more than bisection where it jumps.
    #[test]
    fn brackets_shrink_in_few_steps() {
        let steps = |error: &dyn Fn(f64) -> f64| {
            let mut bracket = Bracket::new((1.0, error(1.0)), (STEP, error(STEP)));
            while bracket.is_open() {
                let at = bracket.next();
                bracket.shrink((at, error(at)));
            }
            assert!(error(bracket.low.0) < LINEAR && error(bracket.high.0) >= LINEAR);
            bracket.steps
        };
        assert!(steps(&|a| 0.19 * a.powf(1.1)) <= 6, "{}", steps(&|a| 0.19 * a.powf(1.1)));
        let bisection = (STEP.ln() / WIDTH).log2().ceil() as i32;
        assert!(steps(&|a| if a < 1.013 { 0.0 } else { f64::INFINITY }) <= bisection + 1);
        assert!(steps(&|a| if a < 1.013 { 0.199 } else { 5.0 }) <= bisection + 1);
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
        let got = radii(&curve, &[1.0], &[4.0], &[0.0]).expect("computes")[0];
        assert!((0.09..0.1057).contains(&got) && peak(got) > 0.1999, "{got}");
    }

    /// Noise of J does not end the regime. If it hides the crossing, the radius is NaN.
    #[test]
    fn noise_is_not_a_radius() {
        let noisy = |n: usize, a: f64| {
            let jitter = if ((a * 1e9) as u64).is_multiple_of(2) { 1e-6 } else { -1e-6 };
            if n == 0 { a * 1e-3 * (1.0 + a) + jitter } else { 1e-9 * a + 40.0 * a * a + jitter }
        };
        let got = radii(&Known(noisy), &[1e-3, 1e-9], &[2e-3, 80.0], &[1e-6; 2]).expect("computes");
        assert!((got[0] - 0.2).abs() < 2e-2, "{}", got[0]);
        assert!(got[1].is_nan());
    }
}
