//! The device and the queue of a program that embeds the engine.

use crate::error::{Error, Result};
use crate::info::Info;
use crate::launch::MAX_GROUPS;

use super::adapter;

/// A wgpu device of another program, on which [`crate::Device::from_wgpu`] runs. Handles of wgpu are cheap to clone.
#[derive(Clone, Debug)]
pub struct WgpuParts {
    /// The adapter that the device was requested from.
    pub adapter: wgpu::Adapter,
    /// The device. Features of it that kernels can use are used: subgroups, 16-bit floats, timestamps.
    pub device: wgpu::Device,
    /// The device's queue.
    pub queue: wgpu::Queue,
}

impl WgpuParts {
    /// Describes the device, and checks that its limits suffice.
    pub(super) fn info(&self, f16_inputs: bool) -> Result<Info> {
        let mut info = adapter::describe(&self.adapter);
        let (features, limits) = (self.device.features(), self.device.limits());
        check(&info.name, &limits)?;
        info.subgroups = info.subgroups.filter(|_| features.contains(wgpu::Features::SUBGROUP));
        info.f16 &= features.contains(wgpu::Features::SHADER_F16);
        info.timestamps &= features.contains(wgpu::Features::TIMESTAMP_QUERY);
        if !f16_inputs || !features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            info.cooperative.clear();
        }
        info.max_binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        Ok(info)
    }
}

/// Checks the limits that kernels rely on: those of WebGPU's defaults.
fn check(adapter: &str, limits: &wgpu::Limits) -> Result<()> {
    let defaults = wgpu::Limits::defaults();
    for (limit, found, needed) in [
        (
            "max_storage_buffers_per_shader_stage",
            limits.max_storage_buffers_per_shader_stage,
            defaults.max_storage_buffers_per_shader_stage,
        ),
        (
            "max_compute_workgroup_storage_size",
            limits.max_compute_workgroup_storage_size,
            defaults.max_compute_workgroup_storage_size,
        ),
        (
            "max_compute_invocations_per_workgroup",
            limits.max_compute_invocations_per_workgroup,
            defaults.max_compute_invocations_per_workgroup,
        ),
        ("max_compute_workgroup_size_x", limits.max_compute_workgroup_size_x, defaults.max_compute_workgroup_size_x),
        ("max_compute_workgroups_per_dimension", limits.max_compute_workgroups_per_dimension, MAX_GROUPS),
    ] {
        if found < needed {
            return Err(Error::Limit { adapter: adapter.to_owned(), limit, found, needed });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_limits_are_refused_by_name() {
        assert_eq!(check("card", &wgpu::Limits::defaults()).map_err(|e| e.to_string()), Ok(()));
        let small = wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::defaults() };
        let text = check("card", &small).expect_err("too few").to_string();
        assert!(
            text.contains("`card` was opened with max_storage_buffers_per_shader_stage 4, and 8 is needed"),
            "{text}"
        );
    }
}
