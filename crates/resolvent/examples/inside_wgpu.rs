//! The engine inside another program that uses wgpu: both share one device and one queue. The program has a pass of its
//! own, and the engine's analysis runs between two of its submissions.
//!
//!     cargo run --release -p resolvent --example inside_wgpu

use std::error::Error;
use std::sync::mpsc::channel;

use resolvent::engine::{WgpuParts, wgpu};
use resolvent::prelude::*;
use resolvent::self_test;

/// The program's own kernel: it doubles each element of a buffer.
const DOUBLE: &str = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
    @compute @workgroup_size(1) fn double(@builtin(global_invocation_id) i: vec3<u32>) { x[i.x] *= 2.0; }";

/// What the program has before the engine: a device, a queue, a pipeline and a buffer of four elements.
struct Program {
    parts: WgpuParts,
    pipeline: wgpu::ComputePipeline,
    buffer: wgpu::Buffer,
}

impl Program {
    /// Opens the first adapter; `None` if there is none.
    async fn open() -> Result<Option<Self>, Box<dyn Error>> {
        let instance = wgpu::Instance::default();
        let Ok(adapter) = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await else {
            return Ok(None);
        };
        let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;
        let source = wgpu::ShaderSource::Wgsl(DOUBLE.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("double"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let buffer =
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
        Ok(Some(Self { parts: WgpuParts { adapter, device, queue }, pipeline, buffer }))
    }

    /// Doubles the buffer on the shared queue.
    fn double(&self) {
        let WgpuParts { device, queue, .. } = &self.parts;
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: self.buffer.as_entire_binding() }],
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(4, 1, 1);
        }
        queue.submit([encoder.finish()]);
    }

    /// Reads the buffer.
    fn read(&self) -> Result<Vec<f32>, Box<dyn Error>> {
        let WgpuParts { device, queue, .. } = &self.parts;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging =
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&self.buffer, 0, &staging, 0, 16);
        queue.submit([encoder.finish()]);
        let (sent, received) = channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |done| _ = sent.send(done));
        device.poll(wgpu::PollType::wait_indefinitely())?;
        received.recv()??;
        let bytes = staging.slice(..).get_mapped_range()?;
        Ok(bytes.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(program) = pollster::block_on(Program::open())? else {
        println!("no adapter: nothing to share");
        return Ok(());
    };
    let engine = Device::from_wgpu(program.parts.clone(), &Options::default())?;
    self_test(&engine)?; // once for each driver: nothing else has tested it
    let model = Model::named(&engine, "random:7")?;
    let run = model.run(&[3, 1, 4, 1, 5], &[])?;
    let chi = resolvent::sensitivity(&run, &Observable::logit_diff(2, 6, 4))?;

    // Norms of the sensitivity at level 0, by token: the program continues with them.
    let norms = &chi.array("norm").ok_or("every sensitivity has norms")?.data[..4];
    let bytes: Vec<u8> = norms.iter().flat_map(|x| x.to_le_bytes()).collect();
    program.parts.queue.write_buffer(&program.buffer, 0, &bytes);
    program.double();
    let again = run.value(&Observable::logit_diff(2, 6, 4))?; // The engine submits in between.
    let doubled = program.read()?;
    println!("J = {again:.4} on the program's device");
    for (norm, doubled) in norms.iter().zip(&doubled) {
        println!("|dJ/dh| {norm:.4}, doubled {doubled:.4}");
    }
    Ok(())
}
