//! Text of the caller, and text for the caller.

use std::ffi::{CStr, c_char};

use crate::buffer::copy;
use crate::status::{Error, Result};

/// Returns a text of the caller.
///
/// # Safety
/// The pointer is null, or points to a text that ends with a zero byte and does not change during `'a`.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the caller ensures that the pointer is null or valid.
    unsafe { optional(pointer, name) }?
        .ok_or_else(|| Error::argument(format!("`{name}` is null; give a text that ends with a zero byte")))
}

/// Returns a text of the caller, or `None` for null.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn optional<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the pointer is not null, and the caller ensures that the text ends with a zero byte.
    let text = unsafe { CStr::from_ptr(pointer) }.to_str();
    text.map(Some).map_err(|e| Error::argument(format!("`{name}` is not UTF-8 ({e}); give UTF-8")))
}

/// Copies a text to a buffer of the caller, with a zero byte at its end. The length includes this byte.
///
/// # Safety
/// As for [`copy`].
pub(crate) unsafe fn copy_text(found: &str, buffer: *mut c_char, capacity: usize, length: *mut usize) -> Result {
    // A zero byte inside would end the text for C.
    let bytes: Vec<c_char> = found.bytes().filter(|&b| b != 0).chain([0]).map(|b| b as c_char).collect();
    // SAFETY: the caller's promise is that of `copy`.
    unsafe { copy(&bytes, buffer, capacity, length) }
}
