//! Measures how fast a device runs whole passes and single kernels, and compares the kernels with the device's peaks.
//!
//! Peaks come first: simple multiply-adds and simple copies, on the same device, by the same clock. Then each pass runs
//! as often as a budget allows, timed as a whole by the wall clock. Finally each pass runs once more with every launch
//! timed, which gives the rate of each kernel at each shape of the passes.
//!
//! The *roofline* of a launch is its least time, divided by its measured time. The least time is the larger of two: its
//! operations over the peak of multiply-adds, and its bytes over the peak of copies.

mod compare;
mod kernels;
mod launch_time;
mod passes;
mod peaks;
mod scaling;
mod tune;

use std::time::Duration;

use resolvent_engine::host::products;
use resolvent_engine::{Device, Options};
use resolvent_model::{DEFAULT_MODEL, Model};
use resolvent_ops::tuning;
use serde_json::{Value, json};
use web_time::Instant;

pub use compare::{Difference, compare};
pub use kernels::KernelRate;
pub use passes::{Pass, PassTime};
pub use peaks::Peaks;
pub use scaling::{Scaling, ScalingCurve, ScalingPoint, scaling};
pub use tune::{Tuned, Tuning, VariantTime, tune};

use crate::fault::Fault;
use crate::open::{open, open_tuned, with_cache};

/// Version of the JSON format.
const SCHEMA: u64 = 1;

/// Time after which a quick bench starts no further pass. The runs with timed launches come after this time.
const QUICK: Duration = Duration::from_secs(8);

/// Options of a bench.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The device; it is opened twice, with and without timed launches.
    pub device: Options,
    /// A model's name, as `--model` takes it.
    pub model: String,
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Whether to do less: fewer repetitions, and no slices.
    pub quick: bool,
}

/// The measurements of a device.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Name, backend and driver of the device.
    pub device: String,
    /// `gpu` or `host`.
    pub executor: &'static str,
    /// The kernel variants that the device selects, by size; of the host executor, how it multiplies.
    pub variants: String,
    /// The model's name.
    pub model: String,
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Peak rates of the device: the best of a measurement before the passes and one after them.
    pub peaks: Peaks,
    /// The part of a peak by which the other measurement falls short, at most.
    pub drift: f64,
    /// Seconds from opening the device anew to the field of four tokens of the embedded model. Our own cache of kernels
    /// is not used, but a driver may use its cache.
    pub first_field: f64,
    /// Seconds from the model's name to its weights on the device, the lesser of two times.
    pub model_open: f64,
    /// Times of whole passes.
    pub passes: Vec<PassTime>,
    /// Passes that a quick bench had no time for.
    pub left_out: Vec<Pass>,
    /// Rates of kernels by shape, the one that took most time first. Empty if a GPU has no clock of its own.
    pub kernels: Vec<KernelRate>,
}

/// Times passes and kernels on a device. `report` receives the name of each step.
///
/// # Errors
/// The device does not open, the model or the prompt does not fit, or the device fails.
pub fn bench(options: &BenchOptions, report: &mut dyn FnMut(&str)) -> Result<Bench, Fault> {
    bench_of(options, &|device| Model::named(device, &options.model), report)
}

/// Does the same with a model that `open` opens on each device, as where models have no names: in a browser.
///
/// # Errors
/// Those of [`bench()`].
pub fn bench_of(
    options: &BenchOptions,
    open_model: &dyn Fn(&Device) -> resolvent_model::Result<Model>,
    report: &mut dyn FnMut(&str),
) -> Result<Bench, Fault> {
    let device = open(&options.device)?;
    let info = device.info();
    report("peaks");
    let timed = open_tuned(&Options { profile: true, ..with_cache(&options.device) })?;
    let peaks = peaks::measure(&timed, options.quick)?;
    report("first field");
    let first_field = first_field(&options.device)?;
    report("weights");
    let (model, first_open) = opened(open_model, &device)?;
    let (mut passes, mut left_out) = (Vec::<PassTime>::new(), Vec::new());
    let start = Instant::now();
    for pass in passes::kinds(options.quick) {
        if options.quick && start.elapsed() > QUICK {
            left_out.push(pass);
            continue;
        }
        report(pass.name());
        passes.push(passes::time(pass, &model, options)?);
    }
    drop(model);
    report("peaks again");
    let (peaks, drift) = peaks.best(peaks::measure(&timed, options.quick)?);
    report("kernels");
    let (model, second_open) = opened(open_model, &timed)?;
    let mut samples = Vec::new();
    for PassTime { pass, .. } in &passes {
        // As for the passes, one untimed run precedes: it touches the memory, and drivers may compile in it.
        passes::once(*pass, &model, options.tokens)?;
        timed.take_profile()?;
        passes::once(*pass, &model, options.tokens)?;
        samples.extend(timed.take_profile()?);
    }
    Ok(Bench {
        device: format!("{}, {}, {}", info.name, info.backend, info.driver),
        executor: if info.is_host() { "host" } else { "gpu" },
        variants: if info.is_host() { products() } else { tuning::describe(&device) },
        model: model.name().to_owned(),
        tokens: options.tokens,
        kernels: kernels::rates(&samples, &peaks),
        peaks,
        drift,
        first_field,
        model_open: first_open.min(second_open),
        passes,
        left_out,
    })
}

/// Opens a model on a device. Returns it with the seconds until its weights are there.
fn opened(
    open_model: &dyn Fn(&Device) -> resolvent_model::Result<Model>,
    device: &Device,
) -> Result<(Model, f64), Fault> {
    let start = Instant::now();
    let model = open_model(device)?;
    device.wait()?;
    Ok((model, start.elapsed().as_secs_f64()))
}

/// Measures [`Bench::first_field`].
fn first_field(options: &Options) -> Result<f64, Fault> {
    let start = Instant::now();
    let device = Device::open(&Options { cache: None, ..options.clone() })?;
    Model::named(&device, DEFAULT_MODEL)?.run(&[1, 2, 3, 4], &[])?.field()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Difference of the peaks before and after the passes above which the machine was not quiet.
const QUIET: f64 = 0.05;

impl Bench {
    /// Returns why figures of this bench are doubtful, each on one line: peaks that changed while it ran, and passes
    /// that seem faster than the peak of multiply-adds.
    pub fn warnings(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.drift > QUIET {
            let percent = 100.0 * self.drift;
            all.push(format!(
                "the peaks before and after the passes differ by {percent:.0} %: the machine was not quiet"
            ));
        }
        for p in &self.passes {
            let share = 100.0 * p.flops / p.seconds / self.peaks.flops;
            if share > 100.0 {
                let name = p.pass.name();
                all.push(format!(
                    "{name} is at {share:.0} % of the peak, so the peak was disturbed; run the bench again"
                ));
            }
        }
        all
    }

    /// Returns the JSON that is stored in files and compared; the recipe on `bench` describes it.
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
            "model_open": self.model_open,
            "peaks": { "gflops": self.peaks.flops / 1e9, "gbytes": self.peaks.bytes / 1e9, "drift": self.drift },
            "warnings": self.warnings(),
            "passes": passes.collect::<Vec<Value>>(),
            "left_out": self.left_out.iter().map(|p| p.name()).collect::<Vec<_>>(),
            "kernels": kernels.collect::<Vec<Value>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(drift: f64, seconds: f64) -> Bench {
        let pass = PassTime { pass: Pass::Forward, seconds, low: seconds, high: seconds, repeats: 1, flops: 1e9 };
        Bench {
            device: "d".to_owned(),
            executor: "host",
            variants: String::new(),
            model: "m".to_owned(),
            tokens: 4,
            peaks: Peaks { flops: 1e9, bytes: 1e9 },
            drift,
            first_field: 1.0,
            model_open: 1.0,
            passes: vec![pass],
            left_out: Vec::new(),
            kernels: Vec::new(),
        }
    }

    #[test]
    fn doubtful_figures_are_named() {
        assert!(timed(0.04, 1.1).warnings().is_empty());
        let loud = timed(0.12, 1.1).warnings();
        assert!(loud.len() == 1 && loud[0].contains("differ by 12 %"), "{loud:?}");
        let fast = timed(0.0, 0.5).warnings();
        assert!(fast.len() == 1 && fast[0].contains("forward, two logits is at 200 % of the peak"), "{fast:?}");
        assert_eq!(timed(0.12, 0.5).to_json()["warnings"].as_array().map(Vec::len), Some(2));
    }
}
