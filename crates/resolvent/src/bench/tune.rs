//! Measures which variant of each shader is the fastest on this device, and caches the choice for later processes.

use resolvent_engine::{Device, Options, Preference};
use resolvent_field::norm;
use resolvent_ops::tuning::{self, Family, Size};

use super::launch_time::{LaunchTime, launch_time};
use crate::open::{BOUND, Fault, open, with_cache};

/// What was measured on a device.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Each shader at each size. Empty for the host executor, whose kernels have one text.
    pub all: Vec<Tuned>,
    /// Whether processes to come will know.
    pub cached: bool,
}

/// The texts of one shader at one size.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The shader.
    pub family: Family,
    /// The size.
    pub size: Size,
    /// Each text that the device can run: its seconds, and how far its numbers are from the host's.
    pub candidates: Vec<VariantTime>,
    /// What had been taken without this measurement.
    pub known: &'static str,
    /// The fastest text whose numbers are right.
    pub best: &'static str,
}

/// One text.
#[derive(Clone, Debug)]
pub struct VariantTime {
    /// Its name in `shaders/variants.toml`.
    pub name: &'static str,
    /// Seconds of a launch.
    pub seconds: f64,
    /// Relative difference from the host executor's numbers.
    pub error: f64,
}

impl VariantTime {
    /// Whether its numbers are right. Written so that a NaN is not.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.error <= BOUND
    }
}

/// Measures every text that the device can run, at every size, and keeps the fastest right ones in the cache folder, if there is
/// one that can be written: processes to come take them.
///
/// # Errors
/// A device that does not open or fails, or a text without any that is right.
pub fn tune(options: &Options, told: &mut dyn FnMut(&str)) -> Result<Tuning, Fault> {
    let device = open(options)?;
    if device.info().is_host() {
        return Ok(Tuning::default());
    }
    // Without what an earlier measurement preferred, and without the variants that the caller may have asked for.
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
            told(&format!("{}, {} rows", family.shader(), size.name()));
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
