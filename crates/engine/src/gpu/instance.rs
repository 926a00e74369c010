//! Instances: the driver interfaces that adapters are listed from, and what the environment leaves of them.

use std::sync::OnceLock;

use crate::error::Result;
use crate::fork::Opener;

/// Restricts the interfaces that are asked, as everywhere in wgpu.
const VARIABLE: &str = "WGPU_BACKEND";

/// The interfaces by the names that the variable takes.
const NAMES: [(&str, wgpu::Backends); 4] = [
    ("vulkan", wgpu::Backends::VULKAN),
    ("metal", wgpu::Backends::METAL),
    ("dx12", wgpu::Backends::DX12),
    ("webgpu", wgpu::Backends::BROWSER_WEBGPU),
];

/// The interfaces of this build on this platform.
fn built() -> wgpu::Backends {
    wgpu::Instance::enabled_backend_features() & wgpu::Backends::PRIMARY
}

/// The interfaces that `value` of the variable leaves of `built`. An empty value is as good as none.
fn allowed(value: Option<&str>, built: wgpu::Backends) -> wgpu::Backends {
    match value.filter(|value| !value.trim().is_empty()) {
        Some(value) => wgpu::Backends::from_comma_list(value) & built,
        None => built,
    }
}

fn value() -> Option<String> {
    std::env::var_os(VARIABLE).map(|value| value.to_string_lossy().into_owned())
}

/// What the variable hides of this build's interfaces, and what to do.
pub(crate) fn hidden() -> Option<String> {
    said(value().as_deref(), built())
}

fn said(value: Option<&str>, built: wgpu::Backends) -> Option<String> {
    let allowed = allowed(value, built);
    if allowed == built {
        return None;
    }
    let names = |backends: wgpu::Backends| {
        let inside = NAMES.into_iter().filter(|(_, one)| backends.contains(*one));
        inside.map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    };
    let (value, built) = (value.unwrap_or_default(), names(built));
    Some(match allowed.is_empty() {
        true => format!("{VARIABLE}={value} names no backend of this build ({built}): unset it or name one"),
        false => format!("{VARIABLE}={value} leaves {} of {built}: unset it", names(allowed)),
    })
}

/// The instances to list adapters from, made once a process.
///
/// # Errors
/// [`Error::Forked`](crate::Error::Forked): a parent of this process made them.
pub(super) fn instances() -> Result<&'static [wgpu::Instance]> {
    static INSTANCES: OnceLock<(Opener, Vec<wgpu::Instance>)> = OnceLock::new();
    let (opener, instances) = INSTANCES.get_or_init(|| {
        let (backends, mut all) = (allowed(value().as_deref(), built()), Vec::new());
        #[cfg(all(unix, not(target_vendor = "apple")))]
        let backends = {
            if backends.contains(wgpu::Backends::VULKAN) {
                all.extend(without_windows());
            }
            backends - wgpu::Backends::VULKAN
        };
        if !backends.is_empty() {
            let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
            all.push(wgpu::Instance::new(wgpu::InstanceDescriptor { backends, ..descriptor }));
        }
        (Opener::this(), all)
    });
    opener.check()?;
    Ok(instances)
}

/// A Vulkan instance that cannot draw to windows; none where there is no Vulkan loader.
///
/// wgpu enables the extensions of all window systems. A layer of Mesa takes that as a request to ask the window system
/// for the preferred GPU, and its libraries write to stderr where there is no window system. Results are never drawn to
/// a window.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn without_windows() -> Option<wgpu::Instance> {
    let descriptor = wgpu::hal::InstanceDescriptor {
        name: "resolvent",
        flags: wgpu::InstanceFlags::from_env_or_default(),
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds::default(),
        backend_options: wgpu::BackendOptions::from_env_or_default(),
        telemetry: None,
        display: None,
    };
    let callback: Box<wgpu::hal::vulkan::CreateInstanceCallback<'_>> =
        Box::new(|arguments| arguments.extensions.retain(|name| !WINDOW_SYSTEMS.contains(&name.to_bytes())));
    // SAFETY: the callback should leave the extensions on which wgpu relies. It removes those of window systems alone,
    // which wgpu looks up in the same list before it makes a surface from a window, and nothing here makes one.
    let instance = unsafe { wgpu::hal::vulkan::Instance::init_with_callback(&descriptor, Some(callback)) }.ok()?;
    // SAFETY: the instance was made in the line above, for Vulkan, and nothing else uses or destroys it.
    Some(unsafe { wgpu::Instance::from_hal::<wgpu::hal::api::Vulkan>(instance) })
}

/// The extensions of Vulkan that connect to a window system.
#[cfg(all(unix, not(target_vendor = "apple")))]
const WINDOW_SYSTEMS: [&[u8]; 3] = [b"VK_KHR_wayland_surface", b"VK_KHR_xcb_surface", b"VK_KHR_xlib_surface"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_named_where_it_hides_something() {
        let (vulkan, both) = (wgpu::Backends::VULKAN, wgpu::Backends::VULKAN | wgpu::Backends::DX12);
        for value in [None, Some(""), Some("  "), Some("vulkan"), Some("VK"), Some("metal, vulkan")] {
            assert_eq!((allowed(value, vulkan), said(value, vulkan)), (vulkan, None), "{value:?}");
        }
        for value in ["bogus", "gl", ",", "metal", "vulcan"] {
            assert!(allowed(Some(value), vulkan).is_empty(), "{value}");
            let text = said(Some(value), vulkan).unwrap_or_default();
            let want = format!("WGPU_BACKEND={value} names no backend of this build (vulkan): unset it or name one");
            assert_eq!(text, want);
        }
        assert_eq!(allowed(Some("dx12,bogus"), both), wgpu::Backends::DX12);
        let text = said(Some("dx12"), both);
        assert_eq!(text.as_deref(), Some("WGPU_BACKEND=dx12 leaves dx12 of vulkan, dx12: unset it"));
    }
}
