//! A Vulkan driver for the tests: found, or installed where that is plainly wanted, or asked for in one line.
//!
//! macOS and Windows come with Metal and DX12. On Linux the loader is asked for its devices, so that a driver that is
//! listed but does not work counts for nothing.

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
