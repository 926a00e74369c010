//! Times GPT-2 small in burn, on its wgpu backend and on its own CPU backend, each checked against the other.

mod model;
mod report;

use std::error::Error;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use model::{Gpt2, Vocabulary};
use report::Report;

const FORWARD: &str = "forward, two logits";
const SENSITIVITY: &str = "forward and sensitivity";

/// A device with what lies on it.
struct Place {
    device: Device,
    model: Gpt2,
    read: Tensor<2>,
}

impl Place {
    fn new(device: Device, model: &Gpt2, vocabulary: &Vocabulary) -> Self {
        let (model, read) =
            (model.clone().to_device(&device).no_grad(), vocabulary.read().to_device(&device));
        Self { device, model, read }
    }

    /// The two logits, on the host.
    fn two_logits(&self, vocabulary: &Vocabulary) -> Vec<f32> {
        let embedded = vocabulary.prompt().to_device(&self.device);
        host(self.model.two_logits(embedded, self.read.clone()))
    }

    /// Gradients by all levels, on the host one after the other.
    fn sensitivity(&self, vocabulary: &Vocabulary) -> Vec<f32> {
        let embedded = vocabulary.prompt().to_device(&self.device);
        let (_, levels) = self.model.sensitivity(embedded, self.read.clone());
        host(Tensor::cat(levels, 0))
    }
}

/// Numbers of a tensor; waits for them.
fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("tensors are f32")
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut quick, mut out) = (false, None);
    let mut typed = std::env::args().skip(1);
    while let Some(argument) = typed.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--out" => out = Some(typed.next().ok_or("--out needs a file")?),
            other => return Err(format!("`{other}` is unknown; there are --quick and --out FILE").into()),
        }
    }
    let cpu = Device::flex();
    cpu.seed(1);
    let (vocabulary, model) = (Vocabulary::new(&cpu), Gpt2::new(&cpu));
    // The best adapter that there is, a software one where there is no other.
    let (gpu, setup) = Device::wgpu_options().init_with_setup()?;
    let adapter = setup.adapter.get_info();
    let adapter =
        format!("{}, {:?}, {} {}", adapter.name, adapter.backend, adapter.driver, adapter.driver_info);
    eprintln!("{adapter}");
    let on_gpu = Place::new(gpu, &model, &vocabulary);
    let on_cpu = Place::new(cpu, &model, &vocabulary);
    let mut report = Report::new(quick);
    let (found, expected) = (on_gpu.two_logits(&vocabulary), on_cpu.two_logits(&vocabulary));
    report.check("wgpu forward against the CPU backend", &found, &expected, 1e-4)?;
    report.time(FORWARD, "burn, wgpu", || drop(on_gpu.two_logits(&vocabulary)));
    report.time(FORWARD, "burn, flex (CPU)", || drop(on_cpu.two_logits(&vocabulary)));
    let (found, expected) = (on_gpu.sensitivity(&vocabulary), on_cpu.sensitivity(&vocabulary));
    report.check("wgpu gradient against the CPU backend", &found, &expected, 1e-3)?;
    report.time(SENSITIVITY, "burn, wgpu", || drop(on_gpu.sensitivity(&vocabulary)));
    report.time(SENSITIVITY, "burn, flex (CPU)", || drop(on_cpu.sensitivity(&vocabulary)));
    let text = serde_json::to_string_pretty(&report.to_json(&adapter))? + "\n";
    match out {
        Some(file) => std::fs::write(file, text)?,
        None => print!("{text}"),
    }
    Ok(())
}
