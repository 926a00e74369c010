//! Runs: forward passes with edits, and what is read from them.

use std::ffi::c_char;

use resolvent::model::{
    Change, Distribution, Edit as ModelEdit, Error as ModelError, Observable, ObservableContext, Run,
};

use crate::buffer::{array, copy, free, handle, place};
use crate::model::ModelHandle;
use crate::status::{Error, Result, Status, guarded};
use crate::text::text;
use crate::watch::{Watch, watched};

/// A forward pass of one prompt, on the device. Several threads may use it at once.
pub struct RunHandle(pub(crate) Run);

/// What an edit does to the value y of a site at a token.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditKind {
    /// `y + v`: a source.
    Add = 0,
    /// `v`: a patch.
    Put = 1,
    /// `factor y`: 0 ablates.
    Scale = 2,
    /// `y` without its component along `v`.
    Project = 3,
}

/// A change of the value of a site at one token. Edits at one place are applied in the given order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Edit {
    /// The site, such as `blocks.1.hook_resid_pre` or `blocks.0.attn.hook_z[2]`.
    pub site: *const c_char,
    /// The token, from 0.
    pub token: usize,
    /// A value of `resolvent_edit_kind`.
    pub kind: i32,
    /// The factor of `RESOLVENT_EDIT_KIND_SCALE`.
    pub factor: f32,
    /// The vector v of the other kinds, as long as the site is wide.
    pub vector: *const f32,
    /// The number of elements of `vector`.
    pub length: usize,
}

/// Reads an edit.
///
/// # Safety
/// Its pointers are null or valid, and `vector` has `length` elements.
unsafe fn read(edit: &Edit) -> Result<ModelEdit> {
    // SAFETY: the caller ensures that the pointer is null or valid.
    let site = unsafe { text(edit.site, "edits.site") }?.parse()?;
    // SAFETY: the caller ensures that the vector can be read.
    let vector = || Ok::<_, Error>(unsafe { array(edit.vector, edit.length, "edits.vector") }?.to_vec());
    let kinds = [EditKind::Add, EditKind::Put, EditKind::Scale, EditKind::Project];
    let change = match kinds.into_iter().find(|&kind| kind as i32 == edit.kind) {
        Some(EditKind::Add) => Change::Add(vector()?),
        Some(EditKind::Put) => Change::Put(vector()?),
        Some(EditKind::Scale) => Change::Scale(edit.factor),
        Some(EditKind::Project) => Change::Project(vector()?),
        None => {
            let message = format!("`edits.kind` is {}: expected a value of resolvent_edit_kind, 0 to 3", edit.kind);
            return Err(Error::Argument(message));
        }
    };
    Ok(ModelEdit { site, token: edit.token, change })
}

/// Runs a prompt of `token_count` tokens with `edit_count` edits, and sets `run` to its handle, or to null.
///
/// `edits` may be null if there are none. `watch` may be null.
///
/// # Safety
/// Pointers are null or valid, and arrays have as many elements as their counts say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_model_run(
    model: *const ModelHandle,
    tokens: *const u32,
    token_count: usize,
    edits: *const Edit,
    edit_count: usize,
    watch: *const Watch,
    run: *mut *mut RunHandle,
) -> Status {
    guarded(|| {
        // SAFETY: this function requires valid pointers.
        unsafe {
            let out = place(run, "run")?;
            *out = std::ptr::null_mut();
            let (model, tokens) = (&handle(model, "model")?.0, array(tokens, token_count, "tokens")?);
            let edits = array(edits, edit_count, "edits")?.iter();
            let edits = edits.map(|edit| read(edit)).collect::<Result<Vec<ModelEdit>>>()?;
            let done = watched(watch, || Ok(model.run(tokens, &edits)?))?;
            *out = Box::into_raw(Box::new(RunHandle(done)));
        }
        Ok(())
    })
}

/// Frees a run. Null is ignored.
///
/// # Safety
/// The handle is not used afterwards, nor by a call on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_run_free(run: *mut RunHandle) {
    // SAFETY: the handle is null, or comes from this library and is freed once.
    unsafe { free(run) }
}

/// Copies the field h of a run: `(layers + 1) * token_count * width` elements, row-major, `[level, token, width]`.
///
/// # Safety
/// Pointers are null or valid, and `field` has room for `capacity` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_run_field(
    run: *const RunHandle,
    field: *mut f32,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        let run = &handle(run, "run")?.0;
        let sizes = run.model().sizes();
        let needed = (sizes.layers + 1) * run.tokens().len() * sizes.d;
        read_only_if_it_fits((field, capacity, length), needed, || Ok(run.field()?))
    })
}

/// Copies the logits of a run: `token_count * vocabulary` elements, row-major, `[token, vocabulary]`.
///
/// # Safety
/// Pointers are null or valid, and `logits` has room for `capacity` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_run_logits(
    run: *const RunHandle,
    logits: *mut f32,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        let run = &handle(run, "run")?.0;
        let needed = run.tokens().len() * run.model().sizes().vocab;
        read_only_if_it_fits((logits, capacity, length), needed, || Ok(run.logits()?))
    })
}

/// Copies what `found` returns to a buffer, if there is one. The device is not read for a buffer that is too small.
///
/// # Safety
/// As for [`copy`].
unsafe fn read_only_if_it_fits(
    (buffer, capacity, length): (*mut f32, usize, *mut usize),
    needed: usize,
    found: impl FnOnce() -> Result<Vec<f32>>,
) -> Result {
    // SAFETY: the caller ensures that `length` is null or valid.
    if let Some(length) = unsafe { length.as_mut() } {
        *length = needed;
    }
    match buffer.is_null() {
        true => Ok(()),
        false if capacity < needed => Err(Error::Buffer { capacity, length: needed }),
        // SAFETY: the caller's promise is that of `copy`.
        false => unsafe { copy(&found()?, buffer, capacity, length) },
    }
}

/// Sets `value` to the value of an observable, such as `logit(" Mary") - logit(" John")`.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_run_value(
    run: *const RunHandle,
    observable: *const c_char,
    watch: *const Watch,
    value: *mut f64,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe {
        let (run, out) = (&handle(run, "run")?.0, place(value, "value")?);
        let observable = observed(text(observable, "observable")?, run, run)?;
        *out = watched(watch, || Ok(run.value(&observable)?))?;
        Ok(())
    })
}

/// Reads an observable of `run`. `base` is the run that `kl(base)` denotes.
pub(crate) fn observed(text: &str, run: &Run, base: &Run) -> Result<Observable> {
    let distribution = |at: usize| Ok::<_, ModelError>(Distribution::of(&base.logits_at(at)?));
    let tokenizer = run.model().tokenizer();
    let context =
        ObservableContext { tokens: run.tokens().len(), tokenizer, base: Some(&distribution), direction: None };
    Ok(Observable::parse(text, &context)?)
}
