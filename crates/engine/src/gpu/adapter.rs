//! Adapters: which there are, in which order, and which one a choice means.

#[cfg(not(target_arch = "wasm32"))]
use std::sync::OnceLock;

use crate::blocking::block_on;
use crate::closest::closest;
use crate::error::{Error, Result};
use crate::info::{Info, Kind};
use crate::options::Choice;

use super::instance::{hidden, instances};

/// All adapters that can compute, real ones first.
///
/// # Errors
/// [`Error::Forked`]: a parent of this process has asked for them.
async fn ranked() -> Result<Vec<(wgpu::Adapter, Info)>> {
    let found = found(instances()?).await;
    let mut ranked: Vec<(wgpu::Adapter, Info)> = found
        .iter()
        .filter(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS))
        .map(|a| {
            let info = describe(a);
            (a.clone(), info)
        })
        .collect();
    ranked.sort_by_key(|(_, info)| rank(info));
    Ok(ranked)
}

/// The adapters of all instances.
#[cfg(not(target_arch = "wasm32"))]
async fn found(instances: &[wgpu::Instance]) -> Vec<wgpu::Adapter> {
    // Drivers take tens of milliseconds to list their devices, so they are asked once a process.
    static FOUND: OnceLock<Vec<wgpu::Adapter>> = OnceLock::new();
    match FOUND.get() {
        Some(found) => found.clone(),
        None => {
            let all = all(instances).await;
            FOUND.get_or_init(|| all).clone()
        }
    }
}

/// The adapter that a browser offers. It gives one device, so it is asked for again each time.
#[cfg(target_arch = "wasm32")]
async fn found(instances: &[wgpu::Instance]) -> Vec<wgpu::Adapter> {
    all(instances).await
}

async fn all(instances: &[wgpu::Instance]) -> Vec<wgpu::Adapter> {
    let mut all = Vec::new();
    for instance in instances {
        all.extend(listed(instance).await);
    }
    all
}

#[cfg(not(target_arch = "wasm32"))]
async fn listed(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    instance.enumerate_adapters(wgpu::Backends::all()).await
}

/// A browser lists no adapters. It offers the one that fits the request.
#[cfg(target_arch = "wasm32")]
async fn listed(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let power_preference = wgpu::PowerPreference::HighPerformance;
    let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
    instance.request_adapter(&options).await.into_iter().collect()
}

fn rank(info: &Info) -> u8 {
    match info.kind {
        Kind::Discrete => 0,
        Kind::Integrated => 1,
        Kind::Virtual => 2,
        Kind::Other => 3,
        Kind::Software => 4,
        Kind::Host => 5,
    }
}

pub(super) fn describe(adapter: &wgpu::Adapter) -> Info {
    let (about, features) = (adapter.get_info(), adapter.features());
    let kind = match about.device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
        wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
        wgpu::DeviceType::VirtualGpu => Kind::Virtual,
        wgpu::DeviceType::Cpu => Kind::Software,
        wgpu::DeviceType::Other => Kind::Other,
    };
    let subgroups =
        features.contains(wgpu::Features::SUBGROUP).then_some((about.subgroup_min_size, about.subgroup_max_size));
    Info {
        // Browsers do not tell the name of the device.
        name: if about.name.is_empty() { "adapter of the browser".to_owned() } else { about.name },
        driver: [about.driver, about.driver_info].join(" ").trim().to_owned(),
        backend: format!("{:?}", about.backend),
        kind,
        subgroups,
        f16: features.contains(wgpu::Features::SHADER_F16),
        cooperative: cooperative(adapter),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        max_binding: wgpu::Limits::defaults().max_storage_buffer_binding_size,
    }
}

/// Sides of the cooperative matrices that our kernels can use: square, of 16-bit floats, summed in f32.
fn cooperative(adapter: &wgpu::Adapter) -> Vec<u32> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let features =
        wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
    if !adapter.features().contains(features) {
        return Vec::new();
    }
    let all = adapter.cooperative_matrix_properties();
    let of = |side: &u32| {
        all.iter().any(|p| [p.m_size, p.n_size, p.k_size] == [*side; 3] && (p.ab_type, p.cr_type) == (F16, F32))
    };
    [8, 16].into_iter().filter(of).collect()
}

/// What [`crate::adapters`] returns. A process whose parent has asked for them has none.
pub(crate) fn adapters() -> Vec<Info> {
    block_on(ranked()).unwrap_or_default().into_iter().map(|(_, info)| info).collect()
}

/// The adapter that `choice` means.
pub(super) async fn choose(choice: &Choice) -> Result<(wgpu::Adapter, Info)> {
    let ranked = ranked().await?;
    let names: Vec<String> = ranked.iter().map(|(_, info)| info.name.clone()).collect();
    let place = match choice {
        Choice::Auto => ranked.iter().position(|(_, info)| info.kind != Kind::Software),
        Choice::Gpu => (!ranked.is_empty()).then_some(0),
        Choice::Host => None,
        Choice::Index(i) => (*i < ranked.len()).then_some(*i),
        Choice::Name(part) => {
            let part = part.trim().to_lowercase();
            let has = |text: &str| !part.is_empty() && text.to_lowercase().contains(&part);
            ranked.iter().position(|(_, info)| has(&info.name) || has(&info.driver))
        }
    };
    place.and_then(|i| ranked.into_iter().nth(i)).ok_or_else(|| {
        let fix = match (hidden(), names.is_empty()) {
            (Some(hidden), _) => format!("{hidden}, or use `--device host`"),
            (None, true) => "install a Vulkan driver or use `--device host`".to_owned(),
            (None, false) => "name one of those or use `--device host`".to_owned(),
        };
        let meant = match choice {
            Choice::Name(name) => {
                closest(name, ["auto", "gpu", "host"].into_iter().chain(names.iter().map(String::as_str)))
            }
            _ => None,
        };
        let fix = meant.map_or(fix.clone(), |meant| format!("did you mean `{meant}`? {fix}"));
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Error::NoAdapter { wanted: choice.to_string(), found, fix }
    })
}
