//! Times one forward pass of GPT-2 small in burn on its wgpu backend, after it has been checked against burn's own CPU backend.

mod model;

use std::time::Instant;

use burn::tensor::{Device, DeviceKind};
use burn::module::Module;

use model::{Gpt2, prompt};

fn main() {
    let cpu = Device::flex();
    cpu.seed(1);
    let on_cpu = Gpt2::new(&cpu);
    let expected = on_cpu.two_logits(prompt(&cpu)).into_data().to_vec::<f32>().unwrap();
    println!("{expected:?}");
    for _ in 0..5 {
        let s = Instant::now();
        on_cpu.two_logits(prompt(&cpu)).into_data();
        println!("flex {:?}", s.elapsed());
    }
    let (gpu, setup) = Device::wgpu_options().device_kind(DeviceKind::Cpu).init_with_setup().unwrap();
    println!("{:?}", setup.adapter.get_info());
    println!("{:?}", setup.device.limits());
    println!("{:?}", setup.device.features());
    let on_gpu = on_cpu.to_device(&gpu);
    for _ in 0..5 {
        let s = Instant::now();
        let out = on_gpu.two_logits(prompt(&gpu)).into_data().to_vec::<f32>().unwrap();
        println!("wgpu {:?} {out:?}", s.elapsed());
    }
}
