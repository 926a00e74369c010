//! The two peaks of a device, for benches: plain multiply-adds and plain copies.

use std::time::Instant;

use resolvent_engine::Device;
use resolvent_ops::peak::{copy, fma};

use crate::error::Result;

/// What is done at the peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peak {
    /// Multiply-adds of f32 in registers; two operations each.
    MultiplyAdd,
    /// A copy from memory to memory; bytes read and written.
    Copy,
}

impl Peak {
    /// The largest size that [`peak`] takes: what the default limits of a device bind.
    pub fn largest(self) -> usize {
        match self {
            Self::MultiplyAdd => 1 << 14,
            Self::Copy => 1 << 4,
        }
    }
}

/// One launch of `size` units of work: operations or bytes, and the seconds that it took, by the device's own clock if it was
/// opened with a profile and has one, else by that on the wall.
///
/// # Errors
/// A device error.
pub fn peak(device: &Device, kind: Peak, size: usize) -> Result<(f64, f64)> {
    let numbers = match kind {
        Peak::MultiplyAdd => 1 << 16,
        Peak::Copy => (1 << 20) * size,
    };
    let x = device.upload("x", &[("rows", numbers / 1024), ("n", 1024)], &vec![0.5f32; numbers])?;
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
