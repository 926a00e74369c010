//! Makes a Vulkan driver available for the tests: finds one, installs one, or prints how to install one.
//!
//! macOS and Windows have Metal and DX12. On Linux the loader is asked for its devices, so that a driver that is listed
//! but does not work is not counted.

#[cfg(not(target_os = "linux"))]
pub(crate) fn make_available() -> crate::process::Result {
    if cfg!(any(target_os = "macos", windows)) {
        eprintln!("GPU driver: that of the system");
    }
    Ok(())
}

#[cfg(target_os = "linux")]
pub(crate) use linux::make_available;

#[cfg(target_os = "linux")]
mod linux;
