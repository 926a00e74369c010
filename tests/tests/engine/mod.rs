mod cached;
mod choice;
mod compared;
mod errors;
mod first_use;
mod futures;
mod kernel;
mod located;
mod memory;
mod refused;
mod stops;
mod submissions;

use resolvent_engine::{Device, Launch, Recording, Result, Tensor};
use resolvent_ops::add;

/// Returns a tensor `name [n]` on `device` whose elements are all `value`.
fn filled(device: &Device, name: &str, n: usize, value: f32) -> Tensor {
    device.upload(name, &[("n", n)], &vec![value; n]).unwrap_or_else(|e| panic!("{e}"))
}

/// Returns a launch of `add.primal` as the op creates it, for at most 65 535 workgroups.
fn addition(a: &Tensor, b: &Tensor, y: &Tensor) -> Launch {
    let n = y.shape().elements() as u32;
    let groups = n.div_ceil(64);
    Launch::new(add::KERNELS[0], [n, groups, 0, 0], &[a, b, y], [groups, 1, 1])
}

/// Adds a launch to a recording and returns the recording.
fn with(mut rec: Recording, launch: Launch) -> Result<Recording> {
    rec.launch(launch)?;
    Ok(rec)
}
