//! The cache of compiled kernels, by (kernel, variant, constants).

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use rayon::prelude::*;
use resolvent_shaders::{Access, Kernel as Shader};

use super::cache::Cache;
use super::fault;
use crate::blocking::block_on;
use crate::error::{Error, Result};
use crate::launch::{Key, Launch};

/// A compiled kernel with the layout of its one bind group.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) shader: &'static Shader,
}

/// A shader's text as the driver's front end took it; made once, by whoever needs it first.
type Module = Arc<OnceLock<wgpu::ShaderModule>>;

/// Compiled kernels. Reads do not block each other; a miss compiles outside of the lock.
pub(super) struct Pipelines {
    /// What the driver keeps between processes, where it keeps something.
    cache: Option<Cache>,
    modules: Mutex<HashMap<(&'static str, &'static str), Module>>,
    compiled: RwLock<HashMap<Key, Arc<Pipeline>>>,
}

impl Pipelines {
    pub(super) fn new(cache: Option<Cache>) -> Self {
        Self { cache, modules: Mutex::default(), compiled: RwLock::default() }
    }

    /// Compiles what `launches` need and no earlier ones did, on all cores: a first run waits for the slowest kernel
    /// rather than for all of them one after another. The caller must own no lock: a core that is done may start other
    /// work.
    pub(super) fn ready(&self, device: &wgpu::Device, launches: &[Launch]) -> Result<()> {
        let mut missing = HashMap::new();
        {
            let compiled = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
            for launch in launches {
                let key = launch.key();
                if !compiled.contains_key(&key) {
                    missing.entry(key).or_insert(launch);
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // Error scopes belong to the thread that opens them, and each compilation opens its own.
        missing.into_par_iter().try_for_each(|(_, launch)| self.get(device, launch).map(drop))?;
        if let Some(cache) = &self.cache {
            cache.save();
        }
        Ok(())
    }

    /// The pipeline of `launch`, compiled on first use.
    pub(super) fn get(&self, device: &wgpu::Device, launch: &Launch) -> Result<Arc<Pipeline>> {
        let (kernel, key) = (launch.kernel.name(), launch.key());
        let cached = self.compiled.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(found) = cached {
            return Ok(found);
        }
        let made = fault::scoped(device, kernel, 0, || self.compile(device, launch));
        let made = Arc::new(made.map_err(|error| self.located(device, launch, error))?);
        let mut compiled = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(compiled.entry(key).or_insert(made)))
    }

    fn module(&self, device: &wgpu::Device, launch: &Launch) -> wgpu::ShaderModule {
        let shader = launch.kernel.shader;
        let module = {
            let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(modules.entry((shader.shader, launch.variant)).or_default())
        };
        let made = module.get_or_init(|| {
            // `Recording::launch` has checked that the variant exists.
            let source = shader.variant(launch.variant).map_or("", |v| v.source);
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(shader.shader),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            };
            let checks =
                wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
            // SAFETY: all checks stay on but the bound on loops. Every loop of our kernels runs over a range
            // that params or overrides fix before it starts, so none is infinite; the text is ours, validated
            // at build time, and none of it comes from a user.
            unsafe { device.create_shader_module_trusted(descriptor, checks) }
        });
        made.clone()
    }

    /// `error`, with the file and line of each message about the WGSL, where there are such messages. The module is in
    /// the cache, so that every launch of a broken shader gets them.
    fn located(&self, device: &wgpu::Device, launch: &Launch, error: Error) -> Error {
        let Error::Validation { what, reason } = error else { return error };
        let found = launch.kernel.shader.variant(launch.variant).and_then(|variant| {
            let info = block_on(self.module(device, launch).get_compilation_info());
            fault::located(variant, &info.messages)
        });
        Error::Validation { what, reason: found.unwrap_or(reason) }
    }

    fn compile(&self, device: &wgpu::Device, launch: &Launch) -> Pipeline {
        let shader = launch.kernel.shader;
        let module = self.module(device, launch);
        let buffer = |binding, ty, dynamic, size| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: NonZeroU64::new(size) },
            count: None,
        };
        let params = buffer(0, wgpu::BufferBindingType::Uniform, true, u64::from(shader.params_size));
        let storage = shader.bindings.iter().map(|b| {
            let read_only = b.access == Access::Read;
            buffer(b.slot, wgpu::BufferBindingType::Storage { read_only }, false, 0)
        });
        let entries: Vec<_> = std::iter::once(params).chain(storage).collect();
        let label = Some(shader.name);
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(shader.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: launch.constants.pairs(),
                // Our kernels write workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
            },
            cache: self.cache.as_ref().map(|cache| &cache.pipelines),
        });
        Pipeline { pipeline, layout, shader }
    }
}
