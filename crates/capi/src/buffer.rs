//! Memory of the caller: handles, arrays that are read, and buffers that are written.

use crate::status::{Error, Result, guarded};

/// Returns what a handle points to.
///
/// # Safety
/// The pointer is null, or a handle that this library has returned and that is not freed during `'a`.
pub(crate) unsafe fn handle<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: the caller ensures that the pointer is null or valid.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// Frees a handle. Null is ignored, and a panic in it too.
///
/// # Safety
/// The pointer is null, or comes from `Box::into_raw` and is used by nothing afterwards.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        _ = guarded(|| {
            // SAFETY: the caller ensures that the pointer comes from a box, and that nothing uses it.
            drop(unsafe { Box::from_raw(pointer) });
            Ok(())
        });
    }
}

/// Returns the place for an output.
///
/// # Safety
/// The pointer is null, or valid for writes of a `T`, and nothing else uses the place during `'a`.
pub(crate) unsafe fn place<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: the caller ensures that the pointer is null or valid and not aliased.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// Returns an array of the caller. Without elements, the pointer may be null.
///
/// # Safety
/// The pointer is valid for reads of `count` elements during `'a`, or null.
pub(crate) unsafe fn array<'a, T>(pointer: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    if count > isize::MAX as usize / size_of::<T>() {
        return Err(Error::argument(format!("`{name}` has {count} elements, more than any memory; check the count")));
    }
    // SAFETY: the pointer is not null, the size was checked, and the caller ensures that the elements can be read.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// Copies `found` to a buffer of the caller, and sets `length` to its number of elements, which may be null.
///
/// A null buffer only asks for the length.
///
/// # Safety
/// `buffer` is null or valid for writes of `capacity` elements, and `length` is null or valid for a write.
pub(crate) unsafe fn copy<T: Copy>(found: &[T], buffer: *mut T, capacity: usize, length: *mut usize) -> Result {
    // SAFETY: the caller ensures that `length` is null or valid.
    if let Some(length) = unsafe { length.as_mut() } {
        *length = found.len();
    }
    if buffer.is_null() {
        return Ok(());
    }
    if capacity < found.len() {
        return Err(Error::Buffer { capacity, length: found.len() });
    }
    // SAFETY: the buffer has room for all elements, and it cannot overlap with memory of this library.
    unsafe { std::ptr::copy_nonoverlapping(found.as_ptr(), buffer, found.len()) };
    Ok(())
}

fn null(name: &str) -> Error {
    Error::argument(format!("`{name}` is null; give a valid pointer"))
}
