//! The cache of bind groups, by what they bind.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};

use resolvent_shaders::Kernel as Shader;

type Range = (wgpu::Buffer, u64, u64);

/// Bind groups that were made before, by kernel and bound ranges.
#[derive(Default)]
pub(super) struct BindGroups(Mutex<HashMap<(&'static str, Vec<Range>), wgpu::BindGroup>>);

/// Most entries; a sweep with ever new buffers empties the cache instead of growing it without end.
const KEEP_BIND_GROUPS: usize = 4096;

impl BindGroups {
    /// The bind group of `shader`, whose layout is `layout`, over `ranges` (slot order), with `params` at binding 0.
    pub(super) fn get(
        &self,
        device: &wgpu::Device,
        (shader, layout): (&'static Shader, &wgpu::BindGroupLayout),
        params: &wgpu::Buffer,
        ranges: Vec<Range>,
    ) -> wgpu::BindGroup {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= KEEP_BIND_GROUPS {
            cache.clear();
        }
        let key = (shader.name, ranges);
        if let Some(found) = cache.get(&key) {
            return found.clone();
        }
        let binding = |buffer, offset, size| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: NonZeroU64::new(size) })
        };
        let mut entries =
            vec![wgpu::BindGroupEntry { binding: 0, resource: binding(params, 0, u64::from(shader.params_size)) }];
        for (slot, (buffer, offset, size)) in shader.bindings.iter().map(|b| b.slot).zip(&key.1) {
            entries.push(wgpu::BindGroupEntry { binding: slot, resource: binding(buffer, *offset, *size) });
        }
        let made = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(shader.name),
            layout,
            entries: &entries,
        });
        cache.insert(key, made.clone());
        made
    }

    /// Drops the bind groups that name `buffer`.
    pub(super) fn forget(&self, buffer: &wgpu::Buffer) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|(_, ranges), _| ranges.iter().all(|(other, ..)| other != buffer));
    }
}
