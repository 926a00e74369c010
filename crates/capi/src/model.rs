//! Models: opening, sizes, tokens.

use std::ffi::{c_char, c_int};
use std::path::PathBuf;

use resolvent::engine::{Choice, Options as DeviceOptions};
use resolvent::model::{Model, check_prompt, parse_tokens};

use crate::buffer::{array, copy, free, handle, place};
use crate::status::{Error, Result, Status, guarded};
use crate::text::{copy_text, optional, text};
use crate::watch::{Watch, watched};

/// A model with its weights on a device.
///
/// Several threads may use it at once. A run retains what it needs of its model, so either may be freed first.
pub struct ModelHandle(pub(crate) Model);

/// How a model is opened. Set `size`, and leave what you do not need at zero:
/// `resolvent_options options = {.size = sizeof options, .device = "host"};`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Options {
    /// `sizeof(resolvent_options)`. It tells the library which fields the program knows.
    pub size: usize,
    /// The device: `auto` (or null), `gpu`, `host`, an index, or a part of an adapter's name.
    pub device: *const c_char,
    /// Folder of the cache of compiled kernels; null is the user's, and an empty text is none.
    pub cache: *const c_char,
    /// Memory of a batch's intermediate values in bytes; 0 is 512 MiB. Larger work is split.
    pub batch_bytes: u64,
    /// Threads of the host executor; 0 is one for each core.
    pub threads: u32,
    /// Stores the weights as 16-bit floats, unless it is 0.
    pub f16_weights: c_int,
    /// Rounds the inputs of forward products to 16-bit floats as well, unless it is 0.
    pub f16_inputs: c_int,
}

/// The sizes of a model.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Blocks. The field has one level more.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Query heads of a block.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Tokens of the longest prompt.
    pub positions: usize,
}

/// Reads options of a program that may know fewer fields.
///
/// # Safety
/// The pointer is null, or valid for reads of as many bytes as its first field says.
unsafe fn read(options: *const Options) -> Result<DeviceOptions> {
    let none = std::ptr::null();
    let mut known =
        Options { size: 0, device: none, cache: none, batch_bytes: 0, threads: 0, f16_weights: 0, f16_inputs: 0 };
    if !options.is_null() {
        // SAFETY: every version of the structure begins with its size.
        let size = unsafe { (&raw const (*options).size).read() };
        let is_known = (size_of::<usize>()..=size_of::<Options>()).contains(&size);
        if !is_known || !size.is_multiple_of(align_of::<Options>()) {
            let most = size_of::<Options>();
            let fix = "set it to sizeof(resolvent_options), and use the header of this library";
            return Err(Error::argument(format!("`options.size` is {size}, at most {most} is known; {fix}")));
        }
        // SAFETY: both have this many bytes, and every field is valid for all bytes that the program may have set.
        unsafe { std::ptr::copy_nonoverlapping(options.cast::<u8>(), (&raw mut known).cast::<u8>(), size) };
    }
    // SAFETY: the texts of the structure are null or valid, as its fields require.
    let (device, cache) =
        unsafe { (optional(known.device, "options.device")?, optional(known.cache, "options.cache")?) };
    let choice = device.map_or(Ok(Choice::Auto), str::parse)?;
    Ok(DeviceOptions {
        threads: known.threads as usize,
        batch_bytes: known.batch_bytes,
        f16_weights: known.f16_weights != 0,
        f16_inputs: known.f16_inputs != 0,
        cache: cache.map(PathBuf::from),
        ..DeviceOptions::new(choice)
    })
}

/// Returns the version of the library, such as `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn resolvent_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Opens a model on a device, and sets `model` to its handle, or to null.
///
/// The name denotes an embedded model (`atlas-nano`, `atlas-micro`, `atlas-small`), a directory or a GGUF file, a model
/// of a hub, or random weights (`random:7`). A GPU must first pass the self-test, once for each driver. `options` and
/// `watch` may be null.
///
/// # Safety
/// Pointers are null or valid. `options` has as many bytes as its field `size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_model_open(
    name: *const c_char,
    options: *const Options,
    watch: *const Watch,
    model: *mut *mut ModelHandle,
) -> Status {
    guarded(|| {
        // SAFETY: this function requires valid pointers.
        unsafe {
            let out = place(model, "model")?;
            *out = std::ptr::null_mut();
            let (name, options) = (text(name, "name")?, read(options)?);
            let opened = watched(watch, || {
                let device = resolvent::open(&options)?;
                Ok(Model::named(&device, name)?)
            })?;
            *out = Box::into_raw(Box::new(ModelHandle(opened)));
        }
        Ok(())
    })
}

/// Frees a model. Null is ignored.
///
/// # Safety
/// The handle is not used afterwards, nor by a call on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_model_free(model: *mut ModelHandle) {
    // SAFETY: the handle is null, or comes from this library and is freed once.
    unsafe { free(model) }
}

/// Sets `sizes` to the sizes of a model.
///
/// # Safety
/// Pointers are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_model_sizes(model: *const ModelHandle, sizes: *mut Sizes) -> Status {
    guarded(|| {
        // SAFETY: this function requires valid pointers.
        let (model, out) = unsafe { (handle(model, "model")?, place(sizes, "sizes")?) };
        let found = model.0.sizes();
        *out = Sizes {
            layers: found.layers,
            width: found.d,
            heads: found.heads,
            head_width: found.d_head,
            vocabulary: found.vocab,
            positions: found.n_ctx,
        };
        Ok(())
    })
}

/// Copies the description of the device that a model is on. The length includes the zero byte at the end.
///
/// # Safety
/// Pointers are null or valid, and `buffer` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_model_device(
    model: *const ModelHandle,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Status {
    // SAFETY: this function requires valid pointers.
    guarded(|| unsafe { copy_text(&handle(model, "model")?.0.device().info().to_string(), buffer, capacity, length) })
}

/// Copies the token ids of a prompt. A model without a tokenizer reads ids with commas between them: `5,9,12`.
///
/// # Safety
/// Pointers are null or valid, and `tokens` has room for `capacity` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_model_encode(
    model: *const ModelHandle,
    prompt: *const c_char,
    tokens: *mut u32,
    capacity: usize,
    length: *mut usize,
) -> Status {
    guarded(|| {
        // SAFETY: this function requires valid pointers.
        let (model, prompt) = unsafe { (&handle(model, "model")?.0, text(prompt, "prompt")?) };
        let ids = match model.text_tokenizer()? {
            Some(tokenizer) => tokenizer.prompt(prompt)?,
            None => parse_tokens(prompt, model.sizes().vocab)?,
        };
        check_prompt(model.sizes(), &ids)?;
        // SAFETY: this function requires a valid buffer.
        unsafe { copy(&ids, tokens, capacity, length) }
    })
}

/// Copies the text of tokens. The length includes the zero byte at the end.
///
/// # Safety
/// Pointers are null or valid. `tokens` has `count` elements, and `buffer` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolvent_model_decode(
    model: *const ModelHandle,
    tokens: *const u32,
    count: usize,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Status {
    guarded(|| {
        // SAFETY: this function requires valid pointers.
        let (model, tokens) = unsafe { (&handle(model, "model")?.0, array(tokens, count, "tokens")?) };
        let missing = || Error::argument(format!("{} has no tokenizer; show the ids instead", model.name()));
        let decoded = model.text_tokenizer()?.ok_or_else(missing)?.decode(tokens)?;
        // SAFETY: this function requires a valid buffer.
        unsafe { copy_text(&decoded, buffer, capacity, length) }
    })
}
