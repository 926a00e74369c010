//! Mean and spread of operators over prompts, by Welford's updates in f64.

use crate::certificate::narrow;
use crate::labelled::Labelled;

/// Moments over prompts of operators `[levels, d, d]`.
pub(super) struct Moments {
    levels: usize,
    d: usize,
    count: usize,
    mean: Vec<f64>,
    /// Sums of squared distances from the mean.
    squares: Vec<f64>,
}

impl Moments {
    pub(super) fn new(levels: usize, d: usize) -> Self {
        let zeros = || vec![0.0; levels * d * d];
        Self { levels, d, count: 0, mean: zeros(), squares: zeros() }
    }

    /// Adds the operators of a prompt.
    pub(super) fn add(&mut self, operator: &[f64]) {
        self.count += 1;
        let share = 1.0 / self.count as f64;
        for ((mean, squares), x) in self.mean.iter_mut().zip(&mut self.squares).zip(operator) {
            let before = x - *mean;
            *mean += share * before;
            *squares += before * (x - *mean);
        }
    }

    /// Adds the arrays to a result.
    pub(super) fn labelled(self, result: Labelled) -> Labelled {
        let (axes, levels) = ([("level", self.levels), ("to", self.d), ("from", self.d)], [("level", self.levels)]);
        let (size, count) = (self.d * self.d, self.count as f64);
        let root = (self.d as f64).sqrt();
        let norms = |of: &dyn Fn(usize, f64) -> f64, x: &[f64]| -> Vec<f64> {
            let sum = |level: &[f64]| level.iter().enumerate().map(|(i, x)| of(i, *x)).sum::<f64>().sqrt();
            x.chunks(size).map(sum).collect()
        };
        let identity = |i: usize| if i / self.d == i % self.d { 1.0 } else { 0.0 };
        let whole = norms(&|_, x| x * x, &self.mean);
        let apart = norms(&|i, x| (x - identity(i)).powi(2), &self.mean);
        let over = |x: &[f64], by: &dyn Fn(usize) -> f64| -> Vec<f32> {
            // A norm of zero has no relative spread, and its own is zero too.
            x.iter().enumerate().map(|(l, x)| (x / by(l).max(f64::MIN_POSITIVE)) as f32).collect()
        };
        let result = result
            .with("operator", &axes, narrow(&self.mean))
            .with("gain", &levels, over(&whole, &|_| root))
            .with("from_identity", &levels, over(&apart, &|_| root));
        if self.count < 2 {
            return result;
        }
        let spread = norms(&|_, x| x / (count - 1.0), &self.squares);
        let error: Vec<f64> = self.squares.iter().map(|x| (x / (count - 1.0) / count).sqrt()).collect();
        result.with("standard_error", &axes, narrow(&error)).with("spread", &levels, over(&spread, &|l| whole[l])).with(
            "error",
            &levels,
            over(&spread, &|l| whole[l] * count.sqrt()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_prompts() {
        let mut moments = Moments::new(2, 2);
        let operators = [[1.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0, 4.0, 3.0, 0.0, 0.0]];
        operators.iter().for_each(|operator| moments.add(operator));
        let result = moments.labelled(Labelled::default());
        let of = |name: &str| result.array(name).map(|a| a.data.clone()).unwrap_or_default();
        assert_eq!(of("operator"), [1.0, 0.0, 0.0, 1.0, 3.0, 1.5, 0.0, 0.0]);
        // Two values x and y have the standard error |x - y| / 2.
        assert_eq!(of("standard_error"), [0.0, 0.0, 0.0, 0.0, 1.0, 1.5, 0.0, 0.0]);
        assert_eq!(of("gain")[0], 1.0);
        assert_eq!(of("from_identity"), [0.0, ((4.0f64 + 2.25 + 1.0) / 2.0).sqrt() as f32]);
        let (spread, norm) = ((2.0f64 + 4.5).sqrt(), (9.0f64 + 2.25).sqrt());
        assert_eq!(of("spread"), [0.0, (spread / norm) as f32]);
        assert_eq!(of("error"), [0.0, (spread / norm / 2f64.sqrt()) as f32]);
    }

    #[test]
    fn one_prompt_has_no_spread() {
        let mut moments = Moments::new(1, 1);
        moments.add(&[2.0]);
        let result = moments.labelled(Labelled::default());
        assert_eq!(result.arrays.len(), 3);
    }
}
