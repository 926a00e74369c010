//! What a device can do at most.

use resolvent_engine::Device;
use resolvent_model::{Peak, peak};

use crate::open::Fault;

/// Largest rates that were seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Operations a second of plain multiply-adds in f32, two for each.
    pub flops: f64,
    /// Bytes a second of a plain copy, read and written.
    pub bytes: f64,
}

/// A launch of at least this many seconds: shorter ones time the launching.
const LONG: f64 = 0.02;

/// Launches that grow until they are long enough, then the best of a few.
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
