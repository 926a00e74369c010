//! Opens devices, and tests whether they compute correctly.

use std::ffi::OsString;
use std::path::PathBuf;

use resolvent_engine::{Choice, Device, Options};
use resolvent_field::{adjoint, norm};
use resolvent_model::{Config, Mode, Model, Observable, RandomWeights, gaussian, tiny};
use resolvent_ops::tuning;

use crate::fault::{BOUND, Fault};
use crate::first_use::{first_pass, guard};

/// The results of the self-test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfTest {
    /// Relative difference of the field from the host executor's.
    pub field: f64,
    /// Relative difference of a sensitivity field.
    pub sensitivity: f64,
    /// Relative difference of a response field.
    pub response: f64,
    /// Relative difference of the response's second order.
    pub second: f64,
    /// Relative difference of a product with the Hessian.
    pub product: f64,
    /// Error of the adjoint identity on the device.
    pub adjoint: f64,
}

impl SelfTest {
    /// Returns the largest relative difference from the host executor.
    pub fn worst(&self) -> f64 {
        self.field.max(self.sensitivity).max(self.response).max(self.second).max(self.product)
    }
}

/// The bound if [inputs are rounded](Options::f16_inputs), except for the adjoint identity, which rounds nothing.
///
/// A difference of 1e-7 near the midpoint of two f16 values becomes one of 1e-3 after rounding, and the following
/// blocks spread it. Two executors that both round correctly have differed by 2.4e-4.
const ROUNDING_BOUND: f64 = 2e-3;

/// Name of the cache entry of an adapter that passed the self-test.
const PASSED: &str = "self-test";

/// Opens a device. Each kernel of a GPU is tested before its first use, once for each adapter and driver: here those of
/// a prompt's run, and all others when work needs them ([`Device::test_kernels`]).
///
/// If `auto` selects a GPU that fails its test here, the host executor is opened instead, with a warning.
///
/// What was tested and the compiled kernels are cached in the user's cache folder. [`Options::cache`] selects another
/// folder, or no cache by an empty path.
///
/// # Errors
/// There is no such device; or the device was not selected by `auto`, and fails its test. Work with a kernel that fails
/// its test later returns the engine's [`WrongKernel`](resolvent_engine::Error::WrongKernel).
pub fn open(options: &Options) -> Result<Device, Fault> {
    let options = &with_cache(options);
    let device = open_tuned(options)?;
    if device.info().is_host() {
        return Ok(device);
    }
    guard(&device);
    // A device that selects other variants must be tested again.
    let variants = tuning::describe(&device);
    if passed_before(&device, &variants) {
        return Ok(device);
    }
    match first_test(&device) {
        Ok(()) => {
            device.keep(PASSED, variants.as_bytes());
            Ok(device)
        }
        Err(fault) if options.choice == Choice::Auto => {
            tracing::warn!("{fault}; the host executor takes over");
            Ok(Device::open(&Options { choice: Choice::Host, ..options.clone() })?)
        }
        Err(fault) => Err(fault),
    }
}

/// Tokens of the first test. Prompts of up to 16 tokens use the same variants.
const SHORT: usize = 8;

/// Runs a short prompt on a small random model, and compares its field with the host's. The guard of the device tests
/// the kernels.
fn first_test(device: &Device) -> Result<(), Fault> {
    let fault = |found: String| Fault::Driver { device: device.info().to_string(), found };
    let ours = first_pass(device, SHORT).map_err(|error| match device.failed_test() {
        Some(error) => Fault::Engine(error),
        None => fault(error.to_string()),
    })?;
    let host = first_pass(&like(device)?, SHORT).map_err(|error| fault(error.to_string()))?;
    let error = relative(&ours, &host);
    let bound = if device.f16_inputs() { ROUNDING_BOUND } else { BOUND };
    // Written so that a NaN fails.
    match error <= bound {
        true => Ok(()),
        false => Err(fault(format!("a field differs from the host's by {error:.1e}, at most {bound:.1e}"))),
    }
}

/// Opens a host executor that treats weights and inputs as `device` does.
fn like(device: &Device) -> resolvent_engine::Result<Device> {
    let (f16_weights, f16_inputs) = (device.f16_weights(), device.f16_inputs());
    Device::open(&Options { f16_weights, f16_inputs, ..Options::new(Choice::Host) })
}

/// Returns whether an earlier process has passed the self-test of this adapter and driver with these variants.
pub(crate) fn passed_before(device: &Device, variants: &str) -> bool {
    device.cached(PASSED).is_some_and(|passed| passed == variants.as_bytes())
}

/// Opens a device with the variants that an earlier [`crate::bench::tune`] found fastest.
pub(crate) fn open_tuned(options: &Options) -> resolvent_engine::Result<Device> {
    let device = Device::open(options)?;
    if let Some(cached) = device.cached(tuning::CACHED) {
        device.prefer(tuning::from_text(&String::from_utf8_lossy(&cached)));
    }
    Ok(device)
}

/// Returns `options`, with the user's cache folder if they name none.
pub(crate) fn with_cache(options: &Options) -> Options {
    let cache = options.cache.clone().or_else(|| cache_folder(|name| std::env::var_os(name)));
    Options { cache, ..options.clone() }
}

/// Returns the user's cache folder, which the environment selects.
fn cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(own) = variable("RESOLVENT_CACHE") {
        return Some(own.into());
    }
    let all = variable("XDG_CACHE_HOME")
        .or_else(|| variable("LOCALAPPDATA"))
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(all.join("resolvent"))
}

/// Runs a small random model on `device` and on the host, and compares field, sensitivity, the response to first and
/// second order, and a product with the Hessian.
///
/// # Errors
/// The device fails to compute, or its results differ too much from the host's.
pub fn self_test(device: &Device) -> Result<SelfTest, Fault> {
    let fault = |found: String| Fault::Driver { device: device.info().to_string(), found };
    let ours = measure(device).map_err(|e| fault(e.to_string()))?;
    let host = measure(&like(device)?).map_err(|e| fault(e.to_string()))?;
    let test = SelfTest {
        field: relative(&ours.field, &host.field),
        sensitivity: relative(&ours.sensitivity, &host.sensitivity),
        response: relative(&ours.response, &host.response),
        second: relative(&ours.second, &host.second),
        product: relative(&ours.product, &host.product),
        adjoint: ours.adjoint,
    };
    let figures = [test.field, test.sensitivity, test.response, test.second, test.product];
    let bound = if device.f16_inputs() { ROUNDING_BOUND } else { BOUND };
    // Written so that a NaN fails.
    match figures.iter().all(|&x| x <= bound) && test.adjoint <= BOUND {
        true => Ok(test),
        false => Err(fault(format!("{test:?}"))),
    }
}

struct Measured {
    field: Vec<f32>,
    sensitivity: Vec<f32>,
    response: Vec<f32>,
    second: Vec<f32>,
    product: Vec<f32>,
    adjoint: f64,
}

fn measure(device: &Device) -> resolvent_field::Result<Measured> {
    // The sizes fill no tile. They are whole vec4, as in all trained models, or the multiples of eight that f16 needs:
    // the variants for such sizes are to be tested. There are more tokens than keys in one attention tile. The sources
    // leave few, some and many rows.
    let n_embd = if device.f16_weights() { 72 } else { 84 };
    let config = Config { n_embd, n_head: 3, n_positions: 80, ..tiny() };
    let model = Model::random(device, config.clone(), RandomWeights::new(11).with_std(0.1))?;
    let tokens: Vec<u32> = (0..70).map(|i| (i * 17 + 3) % 50).collect();
    let run = model.run(&tokens, &[])?;
    let linear = run.linearize(Mode::Exact);
    let site = resolvent_model::Site::ResidPre(1);
    let j = Observable::logit_diff(3, 4, 69);
    let at = |token| resolvent_model::Source { site, token, vector: gaussian(5, config.n_embd) };
    let (source, mut response) = (at(2), Vec::new());
    for token in [2, 30, 60] {
        response.extend(linear.jvp(&[[at(token)]])?.into_single());
    }
    Ok(Measured {
        field: run.field()?,
        sensitivity: linear.gradient(&j)?,
        response,
        second: linear.jet(&[[source.clone()]])?.second.into_single(),
        product: linear.hvp(&[[source]], &j)?.into_single(),
        adjoint: adjoint(&linear, 1)?.value,
    })
}

fn relative(a: &[f32], b: &[f32]) -> f64 {
    let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_is_where_the_environment_says() {
        let all = [("RESOLVENT_CACHE", ""), ("XDG_CACHE_HOME", "/x"), ("LOCALAPPDATA", "/l"), ("HOME", "/h")];
        let found = ["", "/x/resolvent", "/l/resolvent", "/h/.cache/resolvent"];
        for (first, folder) in found.into_iter().enumerate() {
            let set = |name: &str| all[first..].iter().find(|v| v.0 == name).map(|v| v.1.into());
            assert_eq!(cache_folder(set), Some(PathBuf::from(folder)));
        }
        assert_eq!(cache_folder(|_| None), None);
    }
}
