//! Tests of paired differences: Wilcoxon's signed-rank test, Student's interval of the mean, and corrections for many
//! tests.

use std::f64::consts::PI;

use super::correlation::{mean, ranks};
use super::{Interval, LEAST, deviation};

/// The most differences whose distribution of rank sums is exact; more have the normal one.
const EXACT: usize = 50;

/// Returns the two-sided p value of Wilcoxon's signed-rank test that differences are symmetric about 0.
///
/// Zeros are left out, and equal sizes share a rank. Up to 50 differences, the distribution of the rank sum over all
/// signs is exact; beyond, it is the normal one with the variance of ties. NaN if no difference is other than 0, or one
/// is not finite.
pub fn signed_rank(differences: &[f64]) -> f64 {
    if differences.iter().any(|d| !d.is_finite()) {
        return f64::NAN;
    }
    let found: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let n = found.len();
    if n == 0 {
        return f64::NAN;
    }
    let sizes: Vec<f64> = found.iter().map(|d| d.abs()).collect();
    // Shared ranks may be half-integers, and twice a rank is an integer.
    let twice: Vec<usize> = ranks(&sizes).iter().map(|rank| (2.0 * rank + 2.0) as usize).collect();
    let all: usize = twice.iter().sum();
    let positive: usize = twice.iter().zip(&found).filter(|(_, d)| **d > 0.0).map(|(rank, _)| rank).sum();
    let least = positive.min(all - positive);
    if n <= EXACT {
        // The share of all signs that give each sum.
        let mut shares = vec![0.0; all + 1];
        shares[0] = 1.0;
        let mut most = 0;
        for rank in twice {
            most += rank;
            for sum in (0..=most).rev() {
                let without = if sum >= rank { shares[sum - rank] } else { 0.0 };
                shares[sum] = 0.5 * (shares[sum] + without);
            }
        }
        return (2.0 * shares[..=least].iter().sum::<f64>()).min(1.0);
    }
    // Over all signs, the sum of the ranks r has the mean sum(r) / 2 and the variance sum(r^2) / 4.
    let square: f64 = twice.iter().map(|rank| (*rank as f64).powi(2)).sum();
    let z = (0.5 * all as f64 - least as f64) / (0.25 * square).sqrt();
    erfc(z / std::f64::consts::SQRT_2)
}

/// Returns the mean of a sample with its 95 % interval by Student's distribution. With fewer than [`LEAST`] items, its
/// ends are NaN.
pub fn mean_interval(sample: &[f64]) -> Interval {
    let estimate = mean(sample);
    if sample.len() < LEAST {
        return Interval { estimate, ..Interval::NONE };
    }
    let half = student(sample.len() - 1) * deviation(sample) / (sample.len() as f64).sqrt();
    Interval { estimate, low: estimate - half, high: estimate + half }
}

/// Returns p values with Holm's correction: those of at most q include a false one with a probability of at most q. NaN
/// is no test.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let (order, mut adjusted) = (by_size(p), vec![f64::NAN; p.len()]);
    let mut most: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        most = most.max(((order.len() - rank) as f64 * p[i]).min(1.0));
        adjusted[i] = most;
    }
    adjusted
}

/// Returns p values with the correction of Benjamini and Hochberg: among those of at most q, a share of at most q is
/// expected to be false. NaN is no test.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let (order, mut adjusted) = (by_size(p), vec![f64::NAN; p.len()]);
    let mut least: f64 = 1.0;
    for (rank, &i) in order.iter().enumerate().rev() {
        least = least.min(order.len() as f64 / (rank + 1) as f64 * p[i]);
        adjusted[i] = least;
    }
    adjusted
}

/// Returns the indices of the numbers that are not NaN, in ascending order of the numbers.
fn by_size(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).filter(|&i| !p[i].is_nan()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}

/// Returns the number that Student's distribution of `freedom` degrees exceeds in size with a probability of 5 %.
fn student(freedom: usize) -> f64 {
    /// The same of the normal distribution.
    const NORMAL: f64 = 1.959_963_984_540_054;
    /// Degrees from which the expansion about the normal distribution has an error below 1e-9.
    const MANY: usize = 200;
    let v = freedom as f64;
    if freedom >= MANY {
        let z = NORMAL;
        let terms = [
            (z.powi(3) + z) / 4.0,
            (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
            (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
        ];
        return z + terms[0] / v + terms[1] / (v * v) + terms[2] / v.powi(3);
    }
    // The probability of a smaller size, as a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    let within = |t: f64| {
        let angle = (t / v.sqrt()).atan();
        let (sine, cosine) = angle.sin_cos();
        let odd = freedom % 2;
        let (mut term, mut sum) = (if odd == 1 { cosine } else { 1.0 }, 0.0);
        for i in (odd..freedom).step_by(2) {
            // An odd number has (v - 1) / 2 terms, and an even one v / 2.
            if i + 1 < freedom {
                sum += term;
            }
            term *= cosine * cosine * (i + 1) as f64 / (i + 2) as f64;
        }
        if odd == 1 { 2.0 / PI * (angle + sine * sum) } else { sine * sum }
    };
    let (mut low, mut high) = (NORMAL, 13.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if within(middle) < 0.95 { low = middle } else { high = middle }
    }
    low
}

/// Returns the complementary error function of a number that is not negative.
fn erfc(x: f64) -> f64 {
    if x < 2.0 {
        // erf(x) = 2 / sqrt(pi) exp(-x^2) (x + 2 x^3 / 3 + 4 x^5 / 15 + ..)
        let (mut term, mut sum, mut n) = (x, 0.0, 1.0);
        while term > 1e-17 * sum {
            sum += term;
            n += 2.0;
            term *= 2.0 * x * x / n;
        }
        return 1.0 - 2.0 / PI.sqrt() * (-x * x).exp() * sum;
    }
    // The continued fraction of Laplace, from its end; 60 steps suffice from 2 on.
    let fraction = (1..=60).rev().fold(0.0, |rest, k| 0.5 * f64::from(k) / (x + rest));
    (-x * x).exp() / (PI.sqrt() * (x + fraction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::below;

    /// Draws from a normal distribution.
    fn normal(state: &mut u64) -> f64 {
        let mut uniform = || (below(state, 1 << 53) as f64 + 0.5) / (1u64 << 53) as f64;
        (-2.0 * uniform().ln()).sqrt() * (2.0 * PI * uniform()).cos()
    }

    #[test]
    fn known_values() {
        // Quantiles of Student's distribution, from tables.
        for (freedom, t) in
            [(7, 2.364_624_3), (8, 2.306_004_1), (30, 2.042_272_5), (199, 1.971_956_5), (1000, 1.962_339_1)]
        {
            assert!((student(freedom) - t).abs() < 1e-7, "{freedom}: {}", student(freedom));
        }
        for (x, wanted) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.999, 0.004_698_443_348_629_488),
            (2.0, 0.004_677_734_981_047_266),
            (3.0, 2.209_049_699_858_544e-5),
            (20.0, 5.395_865_611_607_9e-176),
        ] {
            assert!((erfc(x) / wanted - 1.0).abs() < 1e-12, "{x}: {}", erfc(x));
        }
        // All of eight differences are positive: one sign pattern of 256 on each side.
        let up: Vec<f64> = (1..=8).map(f64::from).collect();
        assert_eq!(signed_rank(&up), 2.0 / 256.0);
        assert_eq!(signed_rank(&[1.0; 8]), 2.0 / 256.0, "equal sizes share a rank");
        assert_eq!(signed_rank(&[0.0, 1.0, -1.0]), 1.0);
        assert!(signed_rank(&[0.0; 8]).is_nan() && signed_rank(&[]).is_nan() && signed_rank(&[f64::NAN, 1.0]).is_nan());
        assert_eq!(holm(&[0.01, 0.04, f64::NAN, 0.03, 0.5])[..2], [0.04, 0.09]);
        let bh = benjamini_hochberg(&[0.01, 0.04, f64::NAN, 0.03, 0.5]);
        assert!(
            (bh[0] - 0.04).abs() < 1e-15 && (bh[3] - 0.16 / 3.0).abs() < 1e-15 && bh[2].is_nan() && bh[4] == 0.5,
            "{bh:?}"
        );
        assert!(mean_interval(&[1.0; 7]).low.is_nan() && mean_interval(&[1.0; 8]).low == 1.0);
    }

    /// Without any effect, a test of level 5 % finds one in 5 % of all places, and a corrected map in at most 5 % of
    /// all maps.
    #[test]
    fn corrections_bound_false_discoveries() {
        const MAPS: usize = 400;
        const PLACES: usize = 60;
        for (pairs, shift) in [(20, 0.0), (80, 0.0), (20, 1.5)] {
            let mut state = 7;
            let (mut raw, mut any, mut shares, mut covered, mut found) = (0usize, 0usize, 0.0, 0usize, 0usize);
            // A third of the places has an effect, if there is one.
            let real = |place: usize| shift != 0.0 && place.is_multiple_of(3);
            for _ in 0..MAPS {
                let mut p = Vec::with_capacity(PLACES);
                for place in 0..PLACES {
                    let by = if real(place) { shift } else { 0.0 };
                    let sample: Vec<f64> = (0..pairs).map(|_| by + normal(&mut state)).collect();
                    let interval = mean_interval(&sample);
                    covered += usize::from(interval.low <= by && by <= interval.high);
                    p.push(signed_rank(&sample));
                }
                let (holm, bh) = (holm(&p), benjamini_hochberg(&p));
                let false_ones = |p: &[f64]| (0..PLACES).filter(|&i| p[i] <= 0.05 && !real(i)).count();
                raw += false_ones(&p);
                any += usize::from(false_ones(&holm) > 0);
                let all = bh.iter().filter(|p| **p <= 0.05).count();
                shares += false_ones(&bh) as f64 / all.max(1) as f64;
                found += all;
            }
            let places = (MAPS * PLACES) as f64;
            let nulls = if shift == 0.0 { places } else { places * 2.0 / 3.0 };
            // Three standard errors: 0.004 for shares of 24 000 places, 0.033 for those of 400 maps.
            let (raw, any, shares, covered) =
                (raw as f64 / nulls, any as f64 / MAPS as f64, shares / MAPS as f64, covered as f64 / places);
            assert!((0.043..0.055).contains(&raw), "{pairs} {shift}: {raw}");
            assert!(any < 0.083 && shares < 0.083, "{pairs} {shift}: {any} {shares}");
            assert!((covered - 0.95).abs() < 0.0045, "{pairs} {shift}: {covered}");
            // Without a correction nearly every map would have a false discovery, and real effects are found.
            assert!(1.0 - (1.0 - raw).powi(40) > 0.8);
            assert!(shift == 0.0 || found as f64 > 0.95 * places / 3.0, "{found}");
        }
    }
}
