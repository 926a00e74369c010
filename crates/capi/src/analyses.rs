//! Analyses of runs. Each returns a result with the checks that it passed.

use std::ffi::c_char;

use resolvent::model::from_end;
use resolvent::{Labelled, green, patch, sensitivity};

use crate::buffer::{array, handle, place};
use crate::result::ResultHandle;
use crate::run::{RunHandle, observed};
use crate::status::{Result, Status, guarded};
use crate::text::text;
use crate::watch::{Watch, watched};

/// Sets `result` to the handle of what `work` returns, or to null.
///
/// # Safety
/// Pointers are null or valid.
unsafe fn returned(
    result: *mut *mut ResultHandle,
    watch: *const Watch,
    work: impl FnOnce() -> Result<Labelled>,
) -> Result {
    // SAFETY: the caller ensures valid pointers.
    unsafe {
        let out = place(result, "result")?;
        *out = std::ptr::null_mut();
        *out = Box::into_raw(Box::new(ResultHandle::new(watched(watch, work)?)));
    }
    Ok(())
}

/// Computes the sensitivity field `dJ/dh[l,t]` of an observable: arrays `sensitivity [level, token, d]`,
/// `norm [level, token]` and `value [1]`.
///
/// Sets `result` to its handle, or to null. `watch` may be null.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_run_sensitivity(
    run: *const RunHandle,
    observable: *const c_char,
    watch: *const Watch,
    result: *mut *mut ResultHandle,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        returned(result, watch, || {
            let run = &handle(run, "run")?.0;
            Ok(sensitivity(run, &observed(text(observable, "observable")?, run, run)?)?)
        })
    })
}

/// Computes the effect on an observable of each `h[l,t]` of the clean run, put into the corrupted run: among others the
/// arrays `effect [level, token]` and its first-order prediction `first_order [level, token]`.
///
/// Both runs have the same model and as many tokens. In the observable, `kl(base)` denotes the clean run. Sets `result`
/// to its handle, or to null. `watch` may be null.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_run_patch(
    clean: *const RunHandle,
    corrupted: *const RunHandle,
    observable: *const c_char,
    watch: *const Watch,
    result: *mut *mut ResultHandle,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        returned(result, watch, || {
            let (clean, corrupted) = (&handle(clean, "clean")?.0, &handle(corrupted, "corrupted")?.0);
            Ok(patch(clean, corrupted, &observed(text(observable, "observable")?, corrupted, clean)?)?)
        })
    })
}

/// Computes the response of the field to a source at a place, to first order: arrays `response [level, token, d]` and
/// `norm [level, token]`.
///
/// Level and token count from 0, or backwards from -1. `source` has `length` elements, as many as the stream is wide.
/// Sets `result` to its handle, or to null. `watch` may be null.
///
/// # Safety
/// Pointers are null or valid, and `source` has `length` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_run_green(
    run: *const RunHandle,
    level: i64,
    token: i64,
    source: *const f32,
    length: usize,
    watch: *const Watch,
    result: *mut *mut ResultHandle,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        returned(result, watch, || {
            let (run, source) = (&handle(run, "run")?.0, array(source, length, "source")?);
            let level = from_end("level", level, run.model().sizes().layers + 1)?;
            let token = from_end("token position", token, run.tokens().len())?;
            Ok(green(run, level, token, source)?)
        })
    })
}
