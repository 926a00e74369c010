//! Measures which variant of each shader is the fastest on this device, and caches the choice for later processes.

use resolvent_engine::{Device, Options, Preference};
use resolvent_field::norm;
use resolvent_ops::tuning::{self, Family, Size};

use super::launch_time::{LaunchTime, launch_time};
use crate::fault::{BOUND, Fault};
use crate::open::{open, with_cache};

/// The measurements of the variants on a device.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Each shader at each size. Empty for the host executor, whose kernels have one variant.
    pub all: Vec<Tuned>,
    /// Whether the choice is cached for later processes.
    pub cached: bool,
}

/// The variants of one shader at one size.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The shader.
    pub family: Family,
    /// The size.
    pub size: Size,
    /// Each variant that the device can run, with its time and its difference from the host executor.
    pub candidates: Vec<VariantTime>,
    /// The variant that is selected without this measurement.
    pub known: &'static str,
    /// The fastest variant whose output is correct.
    pub best: &'static str,
}

/// The measurement of one variant.
#[derive(Clone, Debug)]
pub struct VariantTime {
    /// Its name in `shaders/variants.toml`.
    pub name: &'static str,
    /// Seconds of a launch.
    pub seconds: f64,
    /// Relative difference from the host executor's output.
    pub error: f64,
}

impl VariantTime {
    /// Returns whether the output is correct. Written so that NaN is not.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.error <= BOUND
    }
}

/// Measures every variant that the device can run, at every size, and caches the fastest correct ones.
///
/// Later processes select them from the cache folder. Without a folder that can be written, nothing is cached.
/// `report` receives the name of each step.
///
/// # Errors
/// The device does not open or fails, or a shader has no correct variant.
pub fn tune(options: &Options, report: &mut dyn FnMut(&str)) -> Result<Tuning, Fault> {
    let device = open(options)?;
    if device.info().is_host() {
        return Ok(Tuning::default());
    }
    // Selection must ignore the variants that the caller requests, and `Device::open` ignores earlier measurements.
    let plain = Options { variants: Vec::new(), ..with_cache(options) };
    let (bare, host) = (Device::open(&plain)?, Device::host());
    let mut all = Vec::new();
    for family in Family::on(&device) {
        let mut candidates = Vec::new();
        for variant in family.variants().filter(|v| device.info().lacks(v).is_none()) {
            let variants = vec![(family.shader(), variant.name)];
            candidates.push((variant.name, Device::open(&Options { variants, ..plain.clone() })?));
        }
        for size in Size::ALL {
            report(&format!("{}, {} rows", family.shader(), size.name()));
            let want = launch_time(&host, family, size)?;
            let time = |(name, on): &(&'static str, Device)| -> Result<VariantTime, Fault> {
                let LaunchTime { values, seconds } = launch_time(on, family, size)?;
                let off: Vec<f32> = values.iter().zip(&want.values).map(|(a, b)| a - b).collect();
                Ok(VariantTime { name, seconds, error: norm(&off) / norm(&want.values) })
            };
            let candidates: Vec<VariantTime> = candidates.iter().map(time).collect::<Result<_, _>>()?;
            let right = candidates.iter().filter(|variant| variant.is_right());
            let Some(best) = right.min_by(|a, b| a.seconds.total_cmp(&b.seconds)).map(|variant| variant.name) else {
                let found = format!("no variant of {} is correct: {candidates:?}", family.shader());
                return Err(Fault::Driver { device: device.info().to_string(), found });
            };
            let known = tuning::choose(&bare, family, size, true);
            all.push(Tuned { family, size, candidates, known, best });
        }
    }
    let preferences: Vec<Preference> =
        all.iter().map(|t| Preference { shader: t.family.shader(), size: t.size.name(), variant: t.best }).collect();
    let text = tuning::to_text(&preferences);
    device.keep(tuning::CACHED, text.as_bytes());
    Ok(Tuning { all, cached: device.cached(tuning::CACHED).is_some_and(|cached| cached == text.as_bytes()) })
}
