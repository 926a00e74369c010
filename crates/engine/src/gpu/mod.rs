//! The GPU executor: the only place that names wgpu.

mod adapter;
mod answer;
mod bind_groups;
mod cache;
mod embedded;
mod fault;
mod flight;
mod instance;
mod memory;
mod pipeline;
#[cfg(not(target_arch = "wasm32"))]
mod polling;
mod readback;
mod shared;
mod submit;

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

pub(crate) use adapter::adapters;
pub use embedded::WgpuParts;
pub(crate) use instance::hidden;
pub(crate) use memory::Block;
pub use wgpu;

use flight::Flight;
use memory::Memory;
use shared::Shared;

use crate::blocking::block_on;
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
    pub(crate) async fn open(options: &Options) -> Result<Self> {
        let (adapter, mut info) = adapter::choose(&options.choice).await?;
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
                // SAFETY: what wgpu calls experimental may have holes in its validation that a text could fall through.
                // The only such feature that is asked for is cooperative matrices, and the only texts on this device
                // are ours, whose loads and stores of them lie in workgroup arrays of a fixed length, at offsets that
                // no input decides.
                false => unsafe { wgpu::ExperimentalFeatures::enabled() },
            },
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| Error::NoDevice { adapter: info.name.clone(), reason: e.to_string() })?;
        let faults = fault::Faults::watch(&device);
        Ok(Self::new(info, WgpuParts { adapter, device, queue }, faults, options).await)
    }

    /// Uses the device of another program, whose handlers of errors stay in place.
    pub(crate) fn embedded(parts: WgpuParts, options: &Options) -> Result<Self> {
        let info = parts.info(options.f16_inputs)?;
        Ok(block_on(Self::new(info, parts, Arc::default(), options)))
    }

    async fn new(info: Info, parts: WgpuParts, faults: Arc<fault::Faults>, options: &Options) -> Self {
        let WgpuParts { adapter, device, queue } = parts;
        let cache = match options.cache_folder() {
            Some(folder) if device.features().contains(wgpu::Features::PIPELINE_CACHE) => {
                cache::Cache::open(&device, &adapter.get_info(), folder).await
            }
            _ => None,
        };
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
            sent: AtomicU64::new(0),
            landed: AtomicU64::new(0),
            faults,
            device,
            queue,
        };
        Self { info, shared }
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

    /// The error of a lost device.
    pub(crate) fn lost(&self) -> Option<Error> {
        self.shared.faults.check_lost().err()
    }

    /// Waits for all submitted work, without blocking.
    pub(crate) async fn wait(&self) -> Result<()> {
        self.shared.drained().await
    }

    /// Reads words of several blocks with one wait, without blocking. They must fit one buffer together.
    pub(crate) async fn read(&self, parts: &[(&Block, &str, Range<usize>)]) -> Result<Vec<Vec<f32>>> {
        let bytes = |words: &Range<usize>| words.start as u64 * 4..words.end as u64 * 4;
        let parts: Vec<readback::Part<'_>> =
            parts.iter().map(|(block, label, words)| (block.buffer(), *label, bytes(words))).collect();
        let read = readback::read(&self.shared, &parts).await?;
        Ok(read.iter().map(|data| bytemuck::pod_collect_to_vec(data)).collect())
    }

    /// Blocks until `future`, which waits for this device, is done.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        polling::block_on(&self.shared, future)
    }

    /// Suspends the module until `future`, which waits for this device, is done.
    #[cfg(target_arch = "wasm32")]
    #[expect(clippy::unused_self, reason = "a browser delivers answers without being polled")]
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        block_on(future)
    }

    /// Delivers the answers that the driver has ready, without blocking.
    pub(crate) fn poll(&self) -> Result<()> {
        let polled = self.shared.device.poll(wgpu::PollType::Poll);
        polled.map(drop).map_err(|e| Error::DeviceLost { reason: e.to_string() })
    }

    pub(crate) fn take_profile(&self) -> Result<Vec<Sample>> {
        let pending = self.shared.lock_flight().take_pending();
        let mut all = Vec::new();
        for segment in pending {
            all.extend(self.block_on(submit::samples(&self.shared, segment))?);
        }
        Ok(all)
    }
}
