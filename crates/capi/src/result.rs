//! Results of analyses: their arrays, checks and metadata.

use std::ffi::{CString, c_char};
use std::path::Path;

use resolvent::{Array, Labelled};

use crate::buffer::{copy, free, handle};
use crate::status::{Error, Result, Status, guarded};
use crate::text::{copy_text, text};

/// The result of an analysis, in memory. Several threads may use it at once.
pub struct ResultHandle {
    labelled: Labelled,
    /// Names of the checks.
    checks: Vec<CString>,
}

/// A check that a result has passed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The name, which is valid until the result is freed.
    pub name: *const c_char,
    /// The figure.
    pub value: f64,
    /// The part of the figure that rounding can cause.
    pub noise: f64,
    /// The check passes if the figure is at most `bound + noise`.
    pub bound: f64,
}

impl ResultHandle {
    pub(crate) fn new(labelled: Labelled) -> Self {
        let checks = labelled.certificates.iter().map(|check| CString::new(check.name).unwrap_or_default()).collect();
        Self { labelled, checks }
    }

    fn names(&self) -> String {
        self.labelled.arrays.iter().map(|array| array.name).collect::<Vec<&str>>().join(",")
    }

    fn array(&self, name: &str) -> Result<&Array> {
        let missing = || Error::argument(format!("the result has no array `{name}`; it has {}", self.names()));
        self.labelled.array(name).ok_or_else(missing)
    }
}

/// Frees a result. Null is ignored.
///
/// # Safety
/// The handle is not used afterwards, nor by a call on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_result_free(result: *mut ResultHandle) {
    // SAFETY: the handle is null, or comes from this library and is freed once.
    unsafe { free(result) }
}

/// Copies the names of the arrays, with commas between them. The length includes the zero byte at the end.
///
/// # Safety
/// Pointers are null or valid, and `buffer` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_result_names(
    result: *const ResultHandle,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe { copy_text(&handle(result, "result")?.names(), buffer, capacity, length) })
}

/// Copies the names of an array's axes, with commas between them, outermost first. The length includes the zero byte.
///
/// # Safety
/// Pointers are null or valid, and `buffer` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_result_axes(
    result: *const ResultHandle,
    name: *const c_char,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        let axes = &handle(result, "result")?.array(text(name, "name")?)?.axes;
        let names: Vec<&str> = axes.iter().map(|(name, _)| *name).collect();
        copy_text(&names.join(","), buffer, capacity, length)
    })
}

/// Copies the lengths of an array's axes, outermost first.
///
/// # Safety
/// Pointers are null or valid, and `shape` has room for `capacity` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_result_shape(
    result: *const ResultHandle,
    name: *const c_char,
    shape: *mut usize,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        let axes = &handle(result, "result")?.array(text(name, "name")?)?.axes;
        let lengths: Vec<usize> = axes.iter().map(|(_, length)| *length).collect();
        copy(&lengths, shape, capacity, length)
    })
}

/// Copies the elements of an array, row-major.
///
/// # Safety
/// Pointers are null or valid, and `elements` has room for `capacity` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_result_array(
    result: *const ResultHandle,
    name: *const c_char,
    elements: *mut f32,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe { copy(&handle(result, "result")?.array(text(name, "name")?)?.data, elements, capacity, length) })
}

/// Copies the checks that a result has passed.
///
/// # Safety
/// Pointers are null or valid, and `checks` has room for `capacity` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_result_checks(
    result: *const ResultHandle,
    checks: *mut Check,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        let result = handle(result, "result")?;
        let named = result.labelled.certificates.iter().zip(&result.checks);
        let found: Vec<Check> = named
            .map(|(c, name)| Check { name: name.as_ptr(), value: c.value, noise: c.noise, bound: c.bound })
            .collect();
        copy(&found, checks, capacity, length)
    })
}

/// Copies the whole result as one JSON object: `arrays` (name to `shape` and row-major `data`) and `metadata`, which
/// has model, device, parameters and checks. The length includes the zero byte at the end.
///
/// # Safety
/// Pointers are null or valid, and `buffer` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_result_json(
    result: *const ResultHandle,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe { copy_text(&handle(result, "result")?.labelled.to_json(), buffer, capacity, length) })
}

/// Writes a result to a file, whose name ends in `.safetensors` or `.json`. A file of this name is replaced.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_result_write(result: *const ResultHandle, path: *const c_char) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        let (result, path) = (handle(result, "result")?, Path::new(text(path, "path")?));
        Labelled::check_path(path)?;
        Ok(result.labelled.write(path)?)
    })
}
