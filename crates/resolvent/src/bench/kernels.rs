//! Rates of kernels from timed launches.

use std::collections::BTreeMap;

use resolvent_engine::Sample;

use super::peaks::Peaks;

/// One kernel at one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelRate {
    /// Its name.
    pub kernel: &'static str,
    /// Shape of what it writes.
    pub shape: String,
    /// Operations of a launch.
    pub flops: f64,
    /// Bytes that a launch moves at least.
    pub bytes: f64,
    /// How many launches there were.
    pub launches: usize,
    /// Median of their seconds.
    pub seconds: f64,
    /// Seconds at the peaks over seconds taken.
    pub roofline: f64,
}

impl KernelRate {
    /// GFLOP/s
    pub fn gflops(&self) -> f64 {
        self.flops / self.seconds / 1e9
    }

    /// GB/s
    pub fn gbytes(&self) -> f64 {
        self.bytes / self.seconds / 1e9
    }

    /// Seconds of all launches, if each were the median one.
    pub fn total(&self) -> f64 {
        self.seconds * self.launches as f64
    }
}

/// Launches of one kernel and shape together, the most expensive first.
pub(super) fn rates(samples: &[Sample], peaks: &Peaks) -> Vec<KernelRate> {
    let mut groups = BTreeMap::<(&str, &str, u64), Vec<&Sample>>::new();
    for sample in samples.iter().filter(|s| s.seconds > 0.0) {
        groups.entry((sample.kernel, &sample.shape, sample.work.flops as u64)).or_default().push(sample);
    }
    let rate = |group: Vec<&Sample>| {
        let mut seconds: Vec<f64> = group.iter().map(|s| s.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let (first, seconds) = (group[0], seconds[group.len() / 2]);
        let least = (first.work.flops / peaks.flops).max(first.work.bytes / peaks.bytes);
        KernelRate {
            kernel: first.kernel,
            shape: first.shape.clone(),
            flops: first.work.flops,
            bytes: first.work.bytes,
            launches: group.len(),
            seconds,
            roofline: least / seconds,
        }
    };
    let mut rates: Vec<KernelRate> = groups.into_values().map(rate).collect();
    rates.sort_by(|a, b| b.total().total_cmp(&a.total()));
    rates
}

#[cfg(test)]
mod tests {
    use resolvent_engine::Work;

    use super::*;

    #[test]
    fn launches_of_a_shape_are_one_row() {
        let sample = |kernel, shape: &str, flops, seconds| Sample {
            kernel,
            label: String::new(),
            shape: shape.to_owned(),
            work: Work { flops, bytes: 1e6 },
            seconds,
        };
        let samples = [
            sample("a", "[2]", 1e9, 0.5),
            sample("a", "[2]", 1e9, 0.1),
            sample("a", "[2]", 1e9, 0.2),
            sample("a", "[3]", 1e9, 5.0),
            sample("b", "[2]", 0.0, 0.001),
            // A GPU's clock that did not move says nothing.
            sample("b", "[2]", 0.0, 0.0),
        ];
        let rates = rates(&samples, &Peaks { flops: 1e10, bytes: 1e9 });
        let got: Vec<_> = rates.iter().map(|r| (r.kernel, r.shape.as_str(), r.launches)).collect();
        assert_eq!(got, [("a", "[3]", 1), ("a", "[2]", 3), ("b", "[2]", 1)]);
        assert_eq!((rates[1].seconds, rates[1].gflops()), (0.2, 5.0));
        // 0.1 s of arithmetic at the peak in 0.2 s; 1 ms of copies in 1 ms.
        assert!((rates[1].roofline - 0.5).abs() < 1e-12 && (rates[2].roofline - 1.0).abs() < 1e-12);
    }
}
