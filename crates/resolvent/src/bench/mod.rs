//! How fast a device is at what this engine does, beside what the device can do at most.
//!
//! Peaks come first: plain multiply-adds and plain copies, on the same device, by the same clock. Then whole passes are run and
//! timed by the clock on the wall, each as often as a budget allows; and once more with every launch timed, which
//! gives the rate of each kernel at each shape that the passes have. A launch's *roofline* is the time that it needs at
//! least, the larger of its operations over the peak of multiply-adds and its bytes over the peak of copies, over the
//! time that it took.

mod compare;
mod kernels;
mod launch_time;
mod passes;
mod peaks;
mod tune;

use std::time::{Duration, Instant};

use resolvent_engine::{Device, Options};
use resolvent_model::{DEFAULT_MODEL, Model};
use resolvent_ops::tuning;
use serde_json::{Value, json};

pub use compare::{Difference, compare};
pub use kernels::KernelRate;
pub use passes::{Pass, PassTime};
pub use peaks::Peaks;
pub use tune::{Tuned, Tuning, VariantTime, tune};

use crate::open::{Fault, open, tuned, with_cache};

/// Version of the JSON form.
const SCHEMA: u64 = 1;

/// A quick bench begins no pass after this; each is run once more with its launches timed.
const QUICK: Duration = Duration::from_secs(8);

/// What to time.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The device; it is opened twice, with and without timed launches.
    pub device: Options,
    /// A model's name, as `--model` takes it.
    pub model: String,
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Less: fewer repetitions, and no slices.
    pub quick: bool,
}

/// What a device reached.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The device in words.
    pub device: String,
    /// `gpu` or `host`.
    pub executor: &'static str,
    /// The kernel texts that it takes, by size.
    pub variants: String,
    /// The model and the prompt's length.
    pub model: String,
    /// Tokens of the prompt.
    pub tokens: usize,
    /// What the device can do at most.
    pub peaks: Peaks,
    /// Seconds from opening the device anew, with no kernels cached by us, to the field of four tokens of the embedded model. What a
    /// driver caches of its own still applies.
    pub first_field: f64,
    /// Whole passes.
    pub passes: Vec<PassTime>,
    /// Passes that a quick bench had no time for.
    pub left_out: Vec<Pass>,
    /// Kernels by shape, the one that took most time first. Empty where a GPU has no clock of its own.
    pub kernels: Vec<KernelRate>,
}

/// Times a device.
///
/// # Errors
/// A device that does not open, a model or a prompt that does not fit, or a device error.
pub fn bench(options: &BenchOptions, told: &mut dyn FnMut(&str)) -> Result<Bench, Fault> {
    let device = open(&options.device)?;
    let info = device.info();
    told("peaks");
    let timed = tuned(&Options { profile: true, ..with_cache(&options.device) })?;
    let peaks = peaks::measure(&timed, options.quick)?;
    told("first field");
    let first_field = first_field(&options.device)?;
    told("weights");
    let model = Model::named(&device, &options.model)?;
    let (mut passes, mut left_out) = (Vec::<PassTime>::new(), Vec::new());
    let start = Instant::now();
    for pass in passes::kinds(options.quick) {
        if options.quick && start.elapsed() > QUICK {
            left_out.push(pass);
            continue;
        }
        told(pass.name());
        passes.push(passes::time(pass, &model, options)?);
    }
    drop(model);
    told("kernels");
    let model = Model::named(&timed, &options.model)?;
    timed.take_profile()?;
    let mut samples = Vec::new();
    for PassTime { pass, .. } in &passes {
        passes::once(*pass, &model, options.tokens)?;
        samples.extend(timed.take_profile()?);
    }
    Ok(Bench {
        device: format!("{}, {}, {}", info.name, info.backend, info.driver),
        executor: if info.is_host() { "host" } else { "gpu" },
        variants: tuning::describe(&device),
        model: model.name().to_owned(),
        tokens: options.tokens,
        kernels: kernels::rates(&samples, &peaks),
        peaks,
        first_field,
        passes,
        left_out,
    })
}

/// [`Bench::first_field`].
fn first_field(options: &Options) -> Result<f64, Fault> {
    let start = Instant::now();
    let device = Device::open(&Options { cache: None, ..options.clone() })?;
    Model::named(&device, DEFAULT_MODEL)?.run(&[1, 2, 3, 4], &[])?.field()?;
    Ok(start.elapsed().as_secs_f64())
}

impl Bench {
    /// The form that is stored in files and compared: see the recipe.
    pub fn to_json(&self) -> Value {
        let passes = self.passes.iter().map(|p| {
            json!({
                "name": p.pass.name(), "seconds": p.seconds, "low": p.low, "high": p.high, "repeats": p.repeats,
                "gflop": p.flops / 1e9,
            })
        });
        let kernels = self.kernels.iter().map(|k| {
            json!({
                "kernel": k.kernel, "shape": k.shape, "mflop": k.flops / 1e6, "mbyte": k.bytes / 1e6, "launches": k.launches,
                "seconds": k.seconds, "gflops": k.gflops(), "gbytes": k.gbytes(), "roofline": k.roofline,
            })
        });
        json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "device": self.device,
            "executor": self.executor,
            "variants": self.variants,
            "model": self.model,
            "tokens": self.tokens,
            "first_field": self.first_field,
            "peaks": { "gflops": self.peaks.flops / 1e9, "gbytes": self.peaks.bytes / 1e9 },
            "passes": passes.collect::<Vec<Value>>(),
            "left_out": self.left_out.iter().map(|p| p.name()).collect::<Vec<_>>(),
            "kernels": kernels.collect::<Vec<Value>>(),
        })
    }
}
