//! Tests of kernels before their first use on a GPU.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::cast_slice;

use crate::buffer::{Buffer, Storage};
use crate::collector::{Collected, Collector};
use crate::counted::uncounted;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::guard::Guard;
use crate::info::Info;
use crate::launch::{Key, Launch};
use crate::lockstep::{self, Inputs};
use crate::options::{Choice, Options};
use crate::stop::go_on;
use crate::tensor::Tensor;
use crate::work::Work;

/// Name of the cache entry of the kernels that were tested.
const TESTED: &str = "tested-kernels";

/// Kernels that a GPU is about to use for the first time. Work on devices of [`Self::device`] gives them inputs.
pub struct KernelTests {
    collector: Arc<Collector>,
    info: Info,
    options: Options,
}

impl KernelTests {
    /// Returns the tests of `kernels`, each by its name and that of its variant, for a device that is `like` this one.
    /// It shows which kernels some work gives inputs to, without a GPU.
    pub fn new(like: Info, options: &Options, kernels: &[(&'static str, &'static str)]) -> Self {
        let wanted = kernels.iter().map(|&(kernel, variant)| Key::new(kernel, variant)).collect();
        let options = Options { choice: Choice::Host, poison: true, ..options.clone() };
        Self { collector: Arc::new(Collector::new(wanted)), info: like, options }
    }

    /// Returns the kernels that still need inputs: each by its name, and the name of its variant.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        self.collector.missing().iter().map(|key| (key.kernel, key.variant)).collect()
    }

    /// Returns a device that runs all work on the host, and takes the inputs of missing kernels from it. Otherwise it
    /// behaves like the GPU, so that the same variants are selected, unless `variants` asks for others.
    pub fn device(&self, variants: Vec<(&'static str, &'static str)>) -> Device {
        let options = Options { variants, ..self.options.clone() };
        Device::collecting(&options, self.info.clone(), Arc::clone(&self.collector))
    }
}

// This is here and not with the device, so that `device.rs` does not import this file, which imports it.
impl Device {
    /// Lets each kernel of a GPU be tested before its first use, against its host body. `work` runs work on devices of
    /// [`KernelTests::device`], until nothing is missing. The largest difference may be `bound`, relative to the
    /// largest element of an output. A second call has no effect, nor has one for the host executor.
    ///
    /// A submission whose kernels fail their test returns [`Error::WrongKernel`], and does not run. With a cache
    /// folder, later processes use the kernels that were tested without another test.
    pub fn test_kernels(&self, bound: f64, work: impl Fn(&KernelTests) -> Result<(), String> + Send + Sync + 'static) {
        let info = self.info().clone();
        let options = Options {
            f16_weights: self.f16_weights(),
            f16_inputs: self.f16_inputs(),
            poison: true,
            cache: self.cache().map(ToOwned::to_owned),
            ..Options::new(Choice::Host)
        };
        let known = self.cached(TESTED).unwrap_or_default();
        let known: BTreeSet<String> = String::from_utf8_lossy(&known).lines().map(str::to_owned).collect();
        let known = Mutex::new(known);
        self.guard(Guard::new(Box::new(move |gpu, keys| {
            let is_new = |key: &&Key| {
                let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                !known.contains(&key.to_string())
            };
            let new: Vec<Key> = keys.iter().filter(is_new).cloned().collect();
            if new.is_empty() {
                return Ok(());
            }
            let collector = Arc::new(Collector::new(new.clone()));
            let tests = KernelTests { collector, info: info.clone(), options: options.clone() };
            test(gpu, &tests, bound, &work)?;
            let text = {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                known.extend(new.iter().map(ToString::to_string));
                known.iter().map(|key| format!("{key}\n")).collect::<String>()
            };
            tests.device(Vec::new()).keep(TESTED, text.as_bytes());
            Ok(())
        })));
    }
}

fn test(gpu: &Gpu, tests: &KernelTests, bound: f64, work: &dyn Fn(&KernelTests) -> Result<(), String>) -> Result<()> {
    let wrong = |found: String| Error::WrongKernel { device: tests.info.to_string(), found };
    if let Err(reason) = uncounted(|| work(tests)) {
        go_on()?;
        return Err(wrong(reason));
    }
    if let Some(key) = tests.collector.missing().first() {
        return Err(wrong(format!("nothing tests the kernel {key}")));
    }
    let (mut launches, mut inputs, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for Collected { key, shape, grid, inputs: on_host } in tests.collector.take() {
        let placed = placed(gpu, on_host)?;
        launches.push(launch(&placed, grid, key.to_string()));
        inputs.push(placed);
        names.push(format!("{key}, {shape}"));
    }
    let errors = gpu.submit(launches).and_then(|_| lockstep::compare(gpu, inputs)).map_err(|error| match error {
        Error::Validation { .. } => wrong(error.to_string()),
        other => other,
    })?;
    // Written so that a NaN fails.
    match names.iter().zip(errors).find(|&(_, error)| !matches!(error.partial_cmp(&bound), Some(o) if o.is_le())) {
        Some((name, error)) => Err(wrong(format!("{name}: differs from the host by {error:.1e}, at most {bound:.1e}"))),
        None => Ok(()),
    }
}

/// Copies inputs to the GPU.
fn placed(gpu: &Gpu, inputs: Inputs) -> Result<Inputs> {
    let copy = |(tensor, words): (&Tensor, &Vec<f32>)| {
        let label = tensor.buffer().label();
        let block = gpu.reserve(label, words.len() as u64 * 4)?;
        gpu.write(&block, 0, cast_slice(words))?;
        Tensor::new(Buffer::placed(label, words.len(), Storage::Gpu(block)), tensor.shape().clone())
    };
    let bindings = inputs.bindings.iter().zip(&inputs.words).map(copy).collect::<Result<_>>()?;
    Ok(Inputs { bindings, ..inputs })
}

fn launch(inputs: &Inputs, grid: [u32; 3], label: String) -> Launch {
    Launch {
        kernel: inputs.kernel,
        variant: inputs.variant,
        constants: inputs.constants.clone(),
        params: inputs.params.clone(),
        bindings: inputs.bindings.clone(),
        grid,
        work: Work::default(),
        label,
    }
}
