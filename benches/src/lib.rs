//! Common code of the benches: devices, seeded operands, and the check that precedes every timing.

use resolvent_engine::{Choice, Device, Options, Result, Tensor};
use resolvent_model::gaussian;

/// Returns the executors to time: the host, and the first GPU adapter if there is one.
///
/// `RESOLVENT_BENCH_DEVICE` selects another adapter, by index or by part of its name.
pub fn devices() -> Vec<(&'static str, Device)> {
    let wanted = std::env::var("RESOLVENT_BENCH_DEVICE").unwrap_or_else(|_| "gpu".to_owned());
    let mut devices = vec![("host", Device::host())];
    match wanted.parse().and_then(|choice: Choice| Device::open(&Options::new(choice))) {
        Ok(gpu) => {
            eprintln!("gpu is {}", gpu.info());
            devices.push(("gpu", gpu));
        }
        Err(e) => eprintln!("GPU benches left out: {e}"),
    }
    devices
}

/// Returns a seeded tensor `[rows, columns]` of N(0, 1).
///
/// # Errors
/// If it does not fit the device.
pub fn operand(device: &Device, rows: usize, columns: usize, seed: u64) -> Result<Tensor> {
    device.upload("operand", &[("rows", rows), ("n", columns)], &gaussian(seed, rows * columns))
}

/// Checks `got` against `want` before it is timed.
///
/// # Panics
/// If they differ by more than 1e-5 of their size or contain NaN, because wrong results must not be timed.
pub fn gate(what: &str, got: &[f32], want: &[f32]) {
    let size: f64 = want.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
    let off: f64 = got.iter().zip(want).map(|(g, w)| f64::from(g - w).powi(2)).sum::<f64>().sqrt();
    assert!(got.len() == want.len() && off <= 1e-5 * size, "{what} is wrong by {:.1e}: not timed", off / size);
}
