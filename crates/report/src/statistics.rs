//! Correlations of pairs.

/// Pearson's correlation; none for fewer than two pairs or where one side does not vary.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let n = x.len().min(y.len());
    let mean = |v: &[f64]| v[..n].iter().sum::<f64>() / n as f64;
    let (mx, my) = (mean(x), mean(y));
    let sums = x.iter().zip(y).fold([0.0; 3], |[xx, yy, xy], (x, y)| {
        let (dx, dy) = (x - mx, y - my);
        [xx + dx * dx, yy + dy * dy, xy + dx * dy]
    });
    let spread = (sums[0] * sums[1]).sqrt();
    (n >= 2 && spread > 0.0).then(|| (sums[2] / spread).clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's of the ranks, equal values sharing the mean of theirs.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&ranks(x), &ranks(y))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    // By `==`, so zeros of either sign are one value.
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = first as f64 + (tied.len() as f64 - 1.0) / 2.0;
        tied.iter().for_each(|&i| ranks[i] = mean);
        first += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_correlations() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        // By hand: sums 10, 14, 10 about the means.
        let y = [1.0, 3.0, 2.0, 5.0, 4.0];
        let r = pearson(&x, &y).expect("both vary");
        assert!((r - 0.8).abs() < 1e-12, "{r}");
        assert_eq!(spearman(&x, &x.map(|v| -v.powi(3))), Some(-1.0));
        assert!(pearson(&x, &x.map(|v| v.exp())).is_some_and(|r| r < 0.95));
    }

    #[test]
    fn ties_share_a_rank() {
        assert_eq!(ranks(&[2.0, 1.0, 2.0, -0.0, 0.0]), [3.5, 2.0, 3.5, 0.5, 0.5]);
    }

    #[test]
    fn what_does_not_vary_has_no_correlation() {
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(pearson(&[], &[]), None);
        assert_eq!(spearman(&[1.0], &[2.0]), None);
    }
}
