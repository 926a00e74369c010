//! The boundary itself: what is refused, what is copied, and that results are those of the facade.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};

use resolvent::prelude::*;

use crate::analyses::{resolvent_run_green, resolvent_run_patch, resolvent_run_sensitivity};
use crate::model::{
    ModelHandle, Options as COptions, Sizes, resolvent_model_decode, resolvent_model_device, resolvent_model_encode,
    resolvent_model_free, resolvent_model_open, resolvent_model_sizes, resolvent_version,
};
use crate::result::{
    Check, ResultHandle, resolvent_result_array, resolvent_result_axes, resolvent_result_checks, resolvent_result_free,
    resolvent_result_json, resolvent_result_names, resolvent_result_shape, resolvent_result_write,
};
use crate::run::{
    Edit as CEdit, EditKind, RunHandle, resolvent_model_run, resolvent_run_field, resolvent_run_free,
    resolvent_run_logits, resolvent_run_value,
};
use crate::status::{Error, Status, guarded, resolvent_last_error};
use crate::watch::Watch;

const CLEAN: [u32; 5] = [3, 1, 4, 1, 5];
const CORRUPTED: [u32; 5] = [3, 1, 9, 1, 5];
const J: &CStr = c"logit(#2) - logit(#6)";

/// Returns the message of this thread.
fn message() -> String {
    // SAFETY: the pointer is valid until the next call fails.
    unsafe { CStr::from_ptr(resolvent_last_error()) }.to_str().expect("UTF-8").to_owned()
}

fn passes(status: Status) {
    assert_eq!(status, Status::Ok, "{}", message());
}

/// Checks the status of a call, and that its message contains `part`.
fn fails(status: Status, expected: Status, part: &str) {
    let message = message();
    assert_eq!(status, expected, "{message}");
    assert!(message.contains(part) && !message.contains("--") && !message.contains('\n'), "{message}");
}

fn options() -> COptions {
    let (size, device) = (size_of::<COptions>(), c"host".as_ptr());
    COptions { size, device, cache: null(), batch_bytes: 0, threads: 0, f16_weights: 0, f16_inputs: 0 }
}

fn open_named(name: &CStr) -> *mut ModelHandle {
    let mut model = null_mut();
    // SAFETY: all pointers are valid.
    passes(unsafe { resolvent_model_open(name.as_ptr(), &options(), null(), &raw mut model) });
    model
}

fn run_of(model: *const ModelHandle, tokens: &[u32], edits: &[CEdit]) -> *mut RunHandle {
    let mut run = null_mut();
    let (count, edit_count) = (tokens.len(), edits.len());
    // SAFETY: the handle and all arrays are valid.
    passes(unsafe {
        resolvent_model_run(model, tokens.as_ptr(), count, edits.as_ptr(), edit_count, null(), &raw mut run)
    });
    run
}

/// Learns a length, and then copies.
fn copied<T: Clone + Default>(call: impl Fn(*mut T, usize, *mut usize) -> Status) -> Vec<T> {
    let mut length = usize::MAX;
    passes(call(null_mut(), 0, &raw mut length));
    let mut all = vec![T::default(); length];
    if length > 0 {
        let mut needed = 0;
        fails(call(all.as_mut_ptr(), length - 1, &raw mut needed), Status::Buffer, "room for");
        assert_eq!(needed, length);
    }
    passes(call(all.as_mut_ptr(), length, null_mut()));
    all
}

fn copied_text(call: impl Fn(*mut c_char, usize, *mut usize) -> Status) -> String {
    let bytes: Vec<u8> = copied(call).into_iter().map(|c: c_char| c as u8).collect();
    CString::from_vec_with_nul(bytes).expect("one zero byte at the end").into_string().expect("UTF-8")
}

/// Checks that a result has the same bits as the facade's, and frees it.
fn is_same(result: *mut ResultHandle, expected: &Labelled) {
    // SAFETY: the handle is valid until it is freed at the end.
    unsafe {
        let names = copied_text(|buffer, capacity, length| resolvent_result_names(result, buffer, capacity, length));
        assert_eq!(names, expected.arrays.iter().map(|a| a.name).collect::<Vec<_>>().join(","));
        for array in &expected.arrays {
            let name = CString::new(array.name).expect("no zero byte");
            let data = copied(|b: *mut f32, c, l| resolvent_result_array(result, name.as_ptr(), b, c, l));
            let [ours, theirs] = [&data, &array.data].map(|all| all.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            assert_eq!(ours, theirs, "{}", array.name);
            let shape = copied(|b: *mut usize, c, l| resolvent_result_shape(result, name.as_ptr(), b, c, l));
            assert_eq!(shape, array.axes.iter().map(|a| a.1).collect::<Vec<_>>());
            let axes = copied_text(|b, c, l| resolvent_result_axes(result, name.as_ptr(), b, c, l));
            assert_eq!(axes, array.axes.iter().map(|a| a.0).collect::<Vec<_>>().join(","));
        }
        let mut checks = vec![Check { name: null(), value: 0.0, noise: 0.0, bound: 0.0 }; expected.certificates.len()];
        passes(resolvent_result_checks(result, checks.as_mut_ptr(), checks.len(), null_mut()));
        assert!(!checks.is_empty());
        for (check, expected) in checks.iter().zip(&expected.certificates) {
            assert_eq!(CStr::from_ptr(check.name).to_str(), Ok(expected.name));
            assert_eq!((check.value, check.noise, check.bound), (expected.value, expected.noise, expected.bound));
        }
        assert_eq!(copied_text(|b, c, l| resolvent_result_json(result, b, c, l)), expected.to_json());
        resolvent_result_free(result);
    }
}

#[test]
fn results_are_those_of_the_facade() {
    let device = Device::host();
    let theirs = Model::named(&device, "random:7").expect("opens");
    let [clean, corrupted] = [CLEAN, CORRUPTED].map(|tokens| theirs.run(&tokens, &[]).expect("runs"));
    let j = Observable::logit_diff(2, 6, 4);
    let model = open_named(c"random:7");
    let [ours, other] = [run_of(model, &CLEAN, &[]), run_of(model, &CORRUPTED, &[])];
    let (mut value, mut result, mut sizes) = (0.0, null_mut(), Sizes::default());
    let source = [1.0f32; 32];
    // SAFETY: all handles are valid until they are freed at the end.
    unsafe {
        passes(resolvent_model_sizes(model, &raw mut sizes));
        assert_eq!((sizes.layers, sizes.width, sizes.vocabulary), (3, 32, theirs.sizes().vocab));
        assert_eq!(copied_text(|b, c, l| resolvent_model_device(model, b, c, l)), device.info().to_string());
        // Runs retain what they need of their model.
        resolvent_model_free(model);
        assert_eq!(copied(|b, c, l| resolvent_run_field(ours, b, c, l)), clean.field().expect("is finite"));
        assert_eq!(copied(|b, c, l| resolvent_run_logits(ours, b, c, l)), clean.logits().expect("is finite"));
        passes(resolvent_run_value(ours, J.as_ptr(), null(), &raw mut value));
        assert_eq!(value, clean.value(&j).expect("is finite"));
        passes(resolvent_run_sensitivity(other, J.as_ptr(), null(), &raw mut result));
        is_same(result, &resolvent::sensitivity(&corrupted, &j).expect("passes its checks"));
        passes(resolvent_run_patch(ours, other, J.as_ptr(), null(), &raw mut result));
        is_same(result, &resolvent::patch(&clean, &corrupted, &j).expect("passes its checks"));
        passes(resolvent_run_green(other, -3, 2, source.as_ptr(), source.len(), null(), &raw mut result));
        is_same(result, &resolvent::green(&corrupted, 1, 2, &source).expect("passes its checks"));
        resolvent_run_free(ours);
        resolvent_run_free(other);
    }
    assert_eq!(CString::new(env!("CARGO_PKG_VERSION")).as_deref(), Ok(version()));
}

fn version() -> &'static CStr {
    // SAFETY: the text is a constant of the library, with a zero byte.
    unsafe { CStr::from_ptr(resolvent_version()) }
}

#[test]
fn edits_are_those_of_the_facade() {
    let theirs = Model::named(&Device::host(), "random:7").expect("opens");
    let vector: Vec<f32> = (0..32).map(|i| 0.1 * i as f32 - 1.0).collect();
    let site = Site::ResidPre(1);
    let edits = [
        (EditKind::Add, Edit::add(site, 1, vector.clone())),
        (EditKind::Put, Edit::put(site, 1, vector.clone())),
        (EditKind::Scale, Edit::scale(site, 1, 0.5)),
        (EditKind::Project, Edit::project_out(site, 1, vector.clone())),
    ];
    let model = open_named(c"random:7");
    let mut fields = Vec::new();
    for (kind, edit) in edits {
        let expected = theirs.run(&CLEAN, &[edit]).expect("runs").field().expect("is finite");
        let site = c"blocks.1.hook_resid_pre".as_ptr();
        let edit = CEdit { site, token: 1, kind: kind as i32, factor: 0.5, vector: vector.as_ptr(), length: 32 };
        let run = run_of(model, &CLEAN, &[edit]);
        // SAFETY: the handle is valid until it is freed.
        unsafe {
            assert_eq!(copied(|b, c, l| resolvent_run_field(run, b, c, l)), expected, "{kind:?}");
            resolvent_run_free(run);
        }
        assert!(!fields.contains(&expected), "{kind:?}");
        fields.push(expected);
        let (mut run, unknown) = (null_mut(), CEdit { kind: 4, ..edit });
        // SAFETY: the handles and arrays are valid.
        let status =
            unsafe { resolvent_model_run(model, CLEAN.as_ptr(), 5, &raw const unknown, 1, null(), &raw mut run) };
        fails(status, Status::Argument, "`edits.kind` is 4: expected a value of resolvent_edit_kind, 0 to 3");
        assert!(run.is_null());
    }
    // SAFETY: the handle is freed once.
    unsafe { resolvent_model_free(model) };
}

#[test]
fn text_becomes_tokens_and_back() {
    let model = open_named(c"atlas-nano");
    let (text, random) = (c"When Mary and John", open_named(c"random:7"));
    // SAFETY: the handles are valid until they are freed.
    unsafe {
        let tokens = copied(|b, c, l| resolvent_model_encode(model, text.as_ptr(), b, c, l));
        assert_eq!(tokens.len(), 4);
        let decoded = copied_text(|b, c, l| resolvent_model_decode(model, tokens.as_ptr(), tokens.len(), b, c, l));
        assert_eq!(decoded, "When Mary and John");
        assert_eq!(copied(|b, c, l| resolvent_model_encode(random, c"5,9,12".as_ptr(), b, c, l)), [5, 9, 12]);
        let status = resolvent_model_decode(random, tokens.as_ptr(), 1, null_mut(), 0, null_mut());
        fails(status, Status::Argument, "has no tokenizer");
        let status = resolvent_model_encode(random, c"5,9999".as_ptr(), null_mut(), 0, null_mut());
        fails(status, Status::Argument, "9999");
        resolvent_model_free(model);
        resolvent_model_free(random);
    }
}

#[test]
fn invalid_arguments_are_refused() {
    let (model, mut opened) = (open_named(c"random:7"), null_mut());
    let (run, mut out, mut value) = (run_of(model, &CLEAN, &[]), null_mut(), 0.0);
    let mut result = null_mut();
    let with = |device: &CStr, size: usize| COptions { device: device.as_ptr(), size, ..options() };
    let size = size_of::<COptions>();
    // SAFETY: pointers are null or valid, as each case needs.
    unsafe {
        let mut open = |name: *const c_char, options: COptions| {
            resolvent_model_open(name, &raw const options, null(), &raw mut opened)
        };
        fails(open(null(), options()), Status::Argument, "`name` is null");
        fails(open(c"\xff".as_ptr(), options()), Status::Argument, "`name` is not UTF-8");
        fails(open(c"no/such/model".as_ptr(), options()), Status::Model, "no model `no/such/model`");
        fails(open(c"random".as_ptr(), with(c"", size)), Status::Argument, "invalid device");
        fails(open(c"random".as_ptr(), with(c"no-such-adapter", size)), Status::Device, "no-such-adapter");
        for wrong in [0, 4, 12, size + 8] {
            fails(open(c"random".as_ptr(), with(c"host", wrong)), Status::Argument, "`options.size` is ");
        }
        let status = resolvent_model_open(c"random".as_ptr(), &options(), null(), null_mut());
        fails(status, Status::Argument, "`model` is null");
        let tokens = CLEAN.as_ptr();
        fails(
            resolvent_model_run(null(), tokens, 5, null(), 0, null(), &raw mut out),
            Status::Argument,
            "`model` is null",
        );
        fails(
            resolvent_model_run(model, null(), 5, null(), 0, null(), &raw mut out),
            Status::Argument,
            "`tokens` is null",
        );
        fails(resolvent_model_run(model, tokens, 0, null(), 0, null(), &raw mut out), Status::Argument, "is empty");
        let status = resolvent_model_run(model, tokens, usize::MAX, null(), 0, null(), &raw mut out);
        fails(status, Status::Argument, "more than any memory");
        fails(
            resolvent_model_run(model, tokens, 5, null(), 1, null(), &raw mut out),
            Status::Argument,
            "`edits` is null",
        );
        fails(resolvent_run_value(run, c"logit(".as_ptr(), null(), &raw mut value), Status::Argument, "logit(");
        fails(resolvent_run_value(run, J.as_ptr(), null(), null_mut()), Status::Argument, "`value` is null");
        let ones = [1.0f32; 31];
        let mut green = |level: i64, count: usize| {
            resolvent_run_green(run, level, 0, ones.as_ptr(), count, null(), &raw mut result)
        };
        fails(green(4, 31), Status::Argument, "level 4 is out of range");
        fails(green(0, 31), Status::Argument, "31");
        passes(resolvent_run_sensitivity(run, J.as_ptr(), null(), &raw mut result));
        let status = resolvent_result_array(result, c"effect".as_ptr(), null_mut(), 0, null_mut());
        fails(status, Status::Argument, "no array `effect`; it has sensitivity,norm,value");
        fails(resolvent_result_write(result, c"x.npy".as_ptr()), Status::File, ".safetensors or .json");
        resolvent_result_free(result);
        resolvent_run_free(run);
        resolvent_model_free(model);
        resolvent_run_free(null_mut());
        resolvent_model_free(null_mut());
        resolvent_result_free(null_mut());
    }
}

/// A program that was built with fewer options, at the beginning of the structure, works with this library.
#[test]
fn options_may_be_shorter() {
    let mut short = [0usize; 2];
    short[0] = size_of_val(&short);
    short[1] = c"host".as_ptr() as usize;
    let mut model = null_mut();
    // SAFETY: the options have the bytes that their size says; the second word is the device.
    unsafe {
        passes(resolvent_model_open(c"random".as_ptr(), short.as_ptr().cast(), null(), &raw mut model));
        assert_eq!(copied_text(|b, c, l| resolvent_model_device(model, b, c, l)), Device::host().info().to_string());
        resolvent_model_free(model);
    }
}

/// What the callbacks of a test see.
#[derive(Default)]
struct Seen {
    steps: Vec<(String, u64, u64)>,
    asked: usize,
    most: usize,
}

unsafe extern "C" fn progress(user: *mut c_void, what: *const c_char, done: u64, all: u64) {
    // SAFETY: the test gives a `Seen`, and the library a text.
    let (seen, what) = unsafe { (&mut *user.cast::<Seen>(), CStr::from_ptr(what)) };
    seen.steps.push((what.to_string_lossy().into_owned(), done, all));
}

unsafe extern "C" fn stop(user: *mut c_void) -> c_int {
    // SAFETY: the test gives a `Seen`.
    let seen = unsafe { &mut *user.cast::<Seen>() };
    seen.asked += 1;
    c_int::from(seen.asked > seen.most)
}

#[test]
fn callbacks_see_progress_and_stop_work() {
    let model = open_named(c"random:7");
    let [clean, corrupted] = [run_of(model, &CLEAN, &[]), run_of(model, &CORRUPTED, &[])];
    let patch = |most: usize| {
        let (mut seen, mut result) = (Seen { most, ..Seen::default() }, null_mut());
        let watch = Watch { progress: Some(progress), stop: Some(stop), user: (&raw mut seen).cast() };
        // SAFETY: the handles are valid, and the callbacks are called during the call only.
        let status = unsafe { resolvent_run_patch(clean, corrupted, J.as_ptr(), &raw const watch, &raw mut result) };
        (status, seen, result)
    };
    let (status, seen, result) = patch(usize::MAX);
    passes(status);
    assert!(!seen.steps.is_empty() && seen.asked > 4, "{:?}", seen.steps);
    assert!(seen.steps.iter().all(|(what, done, all)| !what.is_empty() && done <= all), "{:?}", seen.steps);
    // SAFETY: the handle is freed once.
    unsafe { resolvent_result_free(result) };
    let (status, seen, result) = patch(3);
    fails(status, Status::Stopped, "stopped");
    assert!(result.is_null() && seen.asked >= 4);
    // SAFETY: the handles are freed once.
    unsafe {
        resolvent_run_free(clean);
        resolvent_run_free(corrupted);
        resolvent_model_free(model);
    }
}

#[test]
fn panics_end_at_the_boundary() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let statuses = [guarded(|| panic!("level {}", 3)), guarded(|| Err(Error::argument("x\n y\0z")))];
    std::panic::set_hook(hook);
    assert_eq!(statuses, [Status::Panic, Status::Argument]);
    assert_eq!(message(), "x; y; z");
    fails(guarded(|| panic!("no layer")), Status::Panic, "the library has panicked (no layer)");
}

/// Each thread has its own message, and handles may be used by several threads.
#[test]
fn threads_share_handles_and_not_messages() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<ModelHandle>();
    is_shared::<RunHandle>();
    is_shared::<ResultHandle>();
    _ = guarded(|| Err(Error::argument("mine")));
    assert_eq!(std::thread::spawn(message).join().expect("runs"), "");
    assert_eq!(message(), "mine");
}
