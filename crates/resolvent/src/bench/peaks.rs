//! Measures the peak rates of a device.

use resolvent_engine::{Device, Result};
use resolvent_ops::peak::{copy, fma};
use web_time::Instant;

use crate::fault::Fault;

/// The largest measured rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Operations per second of simple multiply-adds in f32, two for each.
    pub flops: f64,
    /// Bytes per second of a simple copy, read and written.
    pub bytes: f64,
}

impl Peaks {
    /// Returns the larger of each rate of two measurements, and how much of it the smaller one falls short by, at most.
    pub(super) fn best(self, other: Self) -> (Self, f64) {
        let best = Self { flops: self.flops.max(other.flops), bytes: self.bytes.max(other.bytes) };
        let short = |best: f64, a: f64, b: f64| 1.0 - a.min(b) / best;
        let drift = short(best.flops, self.flops, other.flops).max(short(best.bytes, self.bytes, other.bytes));
        (best, drift)
    }
}

/// Least duration of a timed launch in seconds. In shorter launches, the overhead of a launch dominates.
const LONG: f64 = 0.02;

/// A rate to measure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peak {
    /// Multiply-adds of f32 in registers; two operations each.
    MultiplyAdd,
    /// A copy from memory to memory; bytes read and written.
    Copy,
}

impl Peak {
    /// Returns the largest size that [`peak`] accepts within the default limits of a device.
    fn largest(self) -> usize {
        match self {
            Self::MultiplyAdd => 1 << 14,
            Self::Copy => 1 << 4,
        }
    }
}

/// Measures both peaks: launches grow until they are long enough, then the best of several counts.
pub(super) fn measure(device: &Device, quick: bool) -> Result<Peaks, Fault> {
    let repeats = if quick { 5 } else { 20 };
    let rate = |kind: Peak| -> Result<f64, Fault> {
        let mut size = 1;
        while size < kind.largest() && peak(device, kind, size)?.1 < LONG {
            size *= 2;
        }
        let mut best = 0.0f64;
        for _ in 0..repeats {
            let (work, seconds) = peak(device, kind, size)?;
            best = best.max(work / seconds);
        }
        Ok(best)
    };
    Ok(Peaks { flops: rate(Peak::MultiplyAdd)?, bytes: rate(Peak::Copy)? })
}

/// Times one launch of `size` units of work. Returns its operations or bytes, and its seconds.
///
/// The clock is the device's own if it has one and was opened with a profile, else the wall clock.
fn peak(device: &Device, kind: Peak, size: usize) -> Result<(f64, f64)> {
    let elements = match kind {
        Peak::MultiplyAdd => 1 << 16,
        Peak::Copy => (1 << 20) * size,
    };
    let x = device.upload("x", &[("rows", elements / 1024), ("n", 1024)], &vec![0.5f32; elements])?;
    let mut rec = device.record();
    match kind {
        Peak::MultiplyAdd => fma(&mut rec, &x, 64 * size)?,
        Peak::Copy => copy(&mut rec, &x)?,
    };
    device.wait()?;
    device.take_profile()?;
    let work = rec.work();
    let start = Instant::now();
    device.submit(rec)?;
    device.wait()?;
    let wall = start.elapsed().as_secs_f64();
    let own: f64 = device.take_profile()?.iter().map(|sample| sample.seconds).sum();
    let amount = if kind == Peak::Copy { work.bytes } else { work.flops };
    Ok((amount, if own > 0.0 { own } else { wall }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_measurement_loses_and_shows() {
        let (quiet, disturbed) = (Peaks { flops: 8.0, bytes: 4.0 }, Peaks { flops: 6.0, bytes: 4.1 });
        for (peaks, drift) in [quiet.best(disturbed), disturbed.best(quiet)] {
            assert_eq!((peaks, drift), (Peaks { flops: 8.0, bytes: 4.1 }, 0.25));
        }
        assert_eq!(quiet.best(quiet), (quiet, 0.0));
    }
}
