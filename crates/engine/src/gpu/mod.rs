//! The GPU executor: the only place that names wgpu.

mod adapter;
mod bind_groups;
mod cache;
mod fault;
mod flight;
mod instance;
mod memory;
mod pipeline;
mod readback;
mod shared;
mod submit;

use std::ops::Range;
use std::sync::Mutex;

pub(crate) use adapter::adapters;
pub(crate) use instance::hidden;
pub(crate) use memory::Block;

use flight::Flight;
use memory::Memory;
use shared::Shared;

use crate::error::{Error, Result};
use crate::info::{Info, Kind};
use crate::launch::Launch;
use crate::options::Options;
use crate::profile::Sample;

/// An open wgpu device with its pools and caches.
pub(crate) struct Gpu {
    info: Info,
    shared: Shared,
}

impl Gpu {
    /// Opens the adapter that the options choose.
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let (adapter, mut info) = adapter::choose(&options.choice)?;
        if !options.f16_inputs {
            info.cooperative.clear();
        }
        let mut features = wgpu::Features::empty();
        for (offered, feature) in [
            (info.subgroups.is_some(), wgpu::Features::SUBGROUP),
            (info.f16, wgpu::Features::SHADER_F16),
            (!info.cooperative.is_empty(), wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
            (info.timestamps && options.profile, wgpu::Features::TIMESTAMP_QUERY),
            (
                adapter.features().contains(wgpu::Features::PIPELINE_CACHE) && options.cache_folder().is_some(),
                wgpu::Features::PIPELINE_CACHE,
            ),
        ] {
            features.set(feature, offered);
        }
        let defaults = wgpu::Limits::defaults().using_resolution(adapter.limits());
        let mut limits = if options.adapter_limits { adapter.limits() } else { defaults };
        if let Some(most) = options.max_binding {
            limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(most);
        }
        info.max_binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("resolvent"),
            required_features: features,
            required_limits: limits,
            experimental_features: match info.cooperative.is_empty() {
                true => wgpu::ExperimentalFeatures::disabled(),
                // SAFETY: what wgpu calls experimental may have holes in its validation that a text could fall through. The
                // only such feature that is asked for is cooperative matrices, and the only texts on this device are ours,
                // whose loads and stores of them lie in workgroup arrays of a fixed length, at offsets that no input decides.
                false => unsafe { wgpu::ExperimentalFeatures::enabled() },
            },
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::NoDevice { adapter: info.name.clone(), reason: e.to_string() })?;
        let faults = fault::Faults::watch(&device);
        let cache = options.cache_folder().and_then(|folder| cache::Cache::open(&device, &adapter.get_info(), folder));
        let speed = match info.kind {
            Kind::Discrete => 2e12,
            Kind::Integrated | Kind::Virtual | Kind::Other => 2e11,
            Kind::Software | Kind::Host => 2e10,
        };
        let flight = Flight::new(&device, &queue, speed, options.profile && info.timestamps);
        let shared = Shared {
            memory: Memory::new(&device, memory::Pool::new(options.poison, options.idle_bytes())),
            pipelines: pipeline::Pipelines::new(cache),
            flight: Mutex::new(flight),
            faults,
            device,
            queue,
        };
        Ok(Self { info, shared })
    }

    pub(crate) fn info(&self) -> &Info {
        &self.info
    }

    /// Memory that no earlier launch has used, so that a write to it may overtake submitted work.
    pub(crate) fn reserve(&self, label: &str, bytes: u64) -> Result<Block> {
        Block::fresh(&self.shared.memory, label, bytes)
    }

    /// Whether `block` is memory of this very device, and not of another one on the same adapter.
    pub(crate) fn owns(&self, block: &Block) -> bool {
        block.is_of(&self.shared.memory)
    }

    pub(crate) fn write(&self, block: &Block, offset: u64, bytes: &[u8]) -> Result<()> {
        self.shared.queue.write_buffer(block.buffer(), offset, bytes);
        self.shared.faults.check("upload")
    }

    pub(crate) fn submit(&self, launches: Vec<Launch>) -> Result<u64> {
        submit::submit(&self.shared, launches)
    }

    pub(crate) fn wait(&self) -> Result<()> {
        // Uploads are staged until something is submitted; an empty submission sends them, so their copies can go.
        self.shared.queue.submit([]);
        self.shared.submit_pending()
    }

    /// Reads words of several blocks with one wait. They must fit one buffer together.
    pub(crate) fn read(&self, parts: &[(&Block, &str, Range<usize>)]) -> Result<Vec<Vec<f32>>> {
        let bytes = |words: &Range<usize>| words.start as u64 * 4..words.end as u64 * 4;
        let parts: Vec<readback::Part<'_>> =
            parts.iter().map(|(block, label, words)| (block.buffer(), *label, bytes(words))).collect();
        let read = readback::read(&self.shared, &parts)?;
        Ok(read.iter().map(|data| bytemuck::pod_collect_to_vec(data)).collect())
    }

    pub(crate) fn take_profile(&self) -> Result<Vec<Sample>> {
        let pending = self.shared.lock_flight().take_pending();
        pending
            .into_iter()
            .map(|segment| submit::samples(&self.shared, segment))
            .collect::<Result<Vec<_>>>()
            .map(|all| all.concat())
    }
}
