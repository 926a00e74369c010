//! Means over prompts with percentile bootstrap intervals, for all elements of an array at once.

use crate::labelled::Array;
use crate::read::interned;
use crate::stats::{LEAST, RESAMPLES, below, quantile, sorted};

/// Elements whose resampled means are in memory at a time.
const CHUNK: usize = 1024;

/// Describes the intervals, for the metadata.
pub(super) fn described(seed: u64) -> String {
    format!("95 % percentile bootstrap over prompts, {RESAMPLES} resamples, seed {seed}; NaN below {LEAST} prompts")
}

/// Mean, low and high end of each element.
#[derive(Debug, PartialEq)]
pub(super) struct Means {
    pub(super) mean: Vec<f32>,
    pub(super) low: Vec<f32>,
    pub(super) high: Vec<f32>,
}

impl Means {
    /// Returns elements without numbers.
    pub(super) fn of_none(count: usize) -> Self {
        let none = vec![f32::NAN; count];
        Self { mean: none.clone(), low: none.clone(), high: none }
    }

    /// Takes element `from` of others.
    pub(super) fn set(&mut self, at: usize, others: &Self, from: usize) {
        (self.mean[at], self.low[at], self.high[at]) = (others.mean[from], others.low[from], others.high[from]);
    }
}

/// Returns the mean of each of `width` elements over `rows`, one a prompt, with its interval. Elements that are not
/// finite are left out. An element without numbers is NaN, and one with fewer than [`LEAST`] has no interval.
pub(super) fn means(rows: &[f32], width: usize, seed: u64) -> Means {
    let (elements, prompts) = (0..width, rows.len() / width.max(1));
    let count = |i: &usize| rows[*i..].iter().step_by(width).filter(|x| x.is_finite()).count();
    let wanted: Vec<usize> = elements.clone().filter(|i| count(i) >= LEAST).collect();
    let mean = weighted(rows, width, &vec![1.0; prompts], &elements.collect::<Vec<_>>());
    let (mut low, mut high) = (vec![f32::NAN; width], vec![f32::NAN; width]);
    // The same prompts are drawn for all elements, so that their intervals belong together.
    for wanted in wanted.chunks(CHUNK) {
        let (mut state, mut draws) = (seed, vec![Vec::with_capacity(RESAMPLES); wanted.len()]);
        for _ in 0..RESAMPLES {
            let mut times = vec![0.0; prompts];
            (0..prompts).for_each(|_| times[below(&mut state, prompts)] += 1.0);
            for (draws, mean) in draws.iter_mut().zip(weighted(rows, width, &times, wanted)) {
                draws.push(mean);
            }
        }
        for (&i, mut draws) in wanted.iter().zip(draws) {
            draws.retain(|x: &f64| x.is_finite());
            let draws = sorted(&draws);
            (low[i], high[i]) = (quantile(&draws, 0.025) as f32, quantile(&draws, 0.975) as f32);
        }
    }
    Means { mean: mean.into_iter().map(|x| x as f32).collect(), low, high }
}

/// Returns an array of means and the ends of its intervals, named after `name`.
pub(super) fn named(name: &str, ends: [&str; 3], axes: &[(&'static str, usize)], means: Means) -> [Array; 3] {
    let Means { mean, low, high } = means;
    let mut data = [mean, low, high].into_iter();
    ends.map(|end| Array {
        name: interned(&format!("{name}.{end}")),
        axes: axes.to_vec(),
        data: data.next().unwrap_or_default(),
    })
}

/// Returns the means of the wanted elements, where each row counts `times` times, and an element that is not finite not
/// at all.
fn weighted(rows: &[f32], width: usize, times: &[f64], wanted: &[usize]) -> Vec<f64> {
    let (mut sums, mut counts) = (vec![0.0; wanted.len()], vec![0.0; wanted.len()]);
    for (row, &times) in rows.chunks(width.max(1)).zip(times).filter(|(_, times)| **times > 0.0) {
        for ((sum, count), &i) in sums.iter_mut().zip(&mut counts).zip(wanted) {
            let (x, counted) = if row[i].is_finite() { (f64::from(row[i]), 1.0) } else { (0.0, 0.0) };
            *sum += times * x;
            *count += times * counted;
        }
    }
    sums.into_iter().zip(counts).map(|(sum, count): (f64, f64)| sum / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_intervals_of_known_rows() {
        let rows: Vec<f32> = (0..40).flat_map(|i| [i as f32, 3.0, f32::NAN]).collect();
        let Means { mean, low, high } = means(&rows, 3, 0);
        assert_eq!(mean[..2], [19.5, 3.0]);
        assert!(mean[2].is_nan() && low[2].is_nan() && high[2].is_nan());
        assert_eq!((low[1], high[1]), (3.0, 3.0));
        // The standard error of the mean of 0 .. 39 is 11.54 / sqrt(40) = 1.83, so the interval is 19.5 +- 3.6.
        assert!((low[0] - 15.9).abs() < 0.5 && (high[0] - 23.1).abs() < 0.5, "{} {}", low[0], high[0]);
    }

    #[test]
    fn gaps_are_left_out_and_few_prompts_have_no_interval() {
        let rows: Vec<f32> = (0..9).flat_map(|i| [if i < 2 { f32::NAN } else { i as f32 }, 1.0]).collect();
        let Means { mean, low, .. } = means(&rows, 2, 0);
        assert_eq!(mean, [5.0, 1.0]);
        assert!(low[0].is_nan() && low[1] == 1.0, "7 prompts have no interval, 9 have one");
    }
}
