//! The Vulkan loader, asked directly: four functions do not need a binding crate.

use crate::process::{Result, apt_install};
use std::{
    ffi::{c_char, c_void},
    ptr,
};

const ADVICE: &str = "no Vulkan device; a software one will do: \
    Debian and Ubuntu `apt-get install mesa-vulkan-drivers libvulkan1`, \
    Fedora `dnf install mesa-vulkan-drivers vulkan-loader`, \
    Arch `pacman -S vulkan-swrast vulkan-icd-loader`; macOS and Windows need nothing";

/// Makes sure of at least one Vulkan device. A machine of Debian's family on which this runs as root, as it does in a
/// container, gets the software driver installed; elsewhere that is left to the user.
pub(crate) fn make_available() -> Result {
    match count_devices() {
        Ok(count) if count > 0 => {
            eprintln!("Vulkan devices: {count}");
            return Ok(());
        }
        Ok(_) => eprintln!("Vulkan devices: 0"),
        Err(reason) => eprintln!("Vulkan devices: none ({reason})"),
    }
    let drivers = "Mesa's Vulkan drivers, among them a software one";
    let installed = apt_install(drivers, &["mesa-vulkan-drivers", "libvulkan1"]);
    let installed = installed.ok_or_else(|| ADVICE.to_owned())?;
    installed.map_err(|failure| format!("{failure}; {ADVICE}"))?;
    match count_devices() {
        Ok(count) if count > 0 => {
            eprintln!("Vulkan devices: {count}");
            Ok(())
        }
        _ => Err(ADVICE.to_owned()),
    }
}

/// `VkInstanceCreateInfo` without application, layers and extensions.
#[repr(C)]
struct InstanceCreateInfo {
    structure_type: i32,
    next: *const c_void,
    flags: u32,
    application: *const c_void,
    layer_count: u32,
    layers: *const *const c_char,
    extension_count: u32,
    extensions: *const *const c_char,
}

type CreateInstance = unsafe extern "C" fn(*const InstanceCreateInfo, *const c_void, *mut *mut c_void) -> i32;
type DestroyInstance = unsafe extern "C" fn(*mut c_void, *const c_void);
type EnumeratePhysicalDevices = unsafe extern "C" fn(*mut c_void, *mut u32, *mut *mut c_void) -> i32;

const STRUCTURE_TYPE_INSTANCE_CREATE_INFO: i32 = 1;
const SUCCESS: i32 = 0;
const ERROR_INCOMPATIBLE_DRIVER: i32 = -9;

fn count_devices() -> Result<u32> {
    // SAFETY: loading runs the initialisers of the system's Vulkan loader, which any Vulkan program runs.
    let loader = unsafe { libloading::Library::new("libvulkan.so.1") }.map_err(|_| "no libvulkan.so.1".to_owned())?;
    // SAFETY: the three symbols are exported by every Vulkan loader, with these signatures since Vulkan 1.0.
    let (create, destroy, enumerate) = unsafe {
        let missing = |error: libloading::Error| error.to_string();
        (
            *loader.get::<CreateInstance>(b"vkCreateInstance\0").map_err(missing)?,
            *loader.get::<DestroyInstance>(b"vkDestroyInstance\0").map_err(missing)?,
            *loader.get::<EnumeratePhysicalDevices>(b"vkEnumeratePhysicalDevices\0").map_err(missing)?,
        )
    };
    let info = InstanceCreateInfo {
        structure_type: STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        next: ptr::null(),
        flags: 0,
        application: ptr::null(),
        layer_count: 0,
        layers: ptr::null(),
        extension_count: 0,
        extensions: ptr::null(),
    };
    let mut instance = ptr::null_mut();
    // SAFETY: `info` is a complete VkInstanceCreateInfo, `instance` outlives the call; there is no allocator.
    match unsafe { create(&raw const info, ptr::null(), &raw mut instance) } {
        SUCCESS => {}
        ERROR_INCOMPATIBLE_DRIVER => return Err("libvulkan finds no driver".to_owned()),
        code => return Err(format!("vkCreateInstance returned {code}")),
    }
    let mut count = 0;
    // SAFETY: `instance` was just made; a null array asks for the count alone.
    let code = unsafe { enumerate(instance, &raw mut count, ptr::null_mut()) };
    // SAFETY: nothing made from `instance` is left.
    unsafe { destroy(instance, ptr::null()) };
    if code == SUCCESS { Ok(count) } else { Err(format!("vkEnumeratePhysicalDevices returned {code}")) }
}
