//! Statuses and messages: how errors and panics cross the boundary.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use resolvent::{Fault, engine, model};

/// The outcome of a call. Every other value than `RESOLVENT_STATUS_OK` leaves a message: see `resolvent_last_error`.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The call succeeded.
    Ok = 0,
    /// An argument is invalid: null, not UTF-8, out of range, or of the wrong length.
    Argument = 1,
    /// The buffer is too small. The length is set, and nothing is copied.
    Buffer = 2,
    /// The model does not exist, cannot be read, or is not supported.
    Model = 3,
    /// The device does not exist, has no memory left, or has failed.
    Device = 4,
    /// A result fails its own check, so there is none.
    Check = 5,
    /// The callback `stop` has stopped the work.
    Stopped = 6,
    /// A file cannot be written.
    File = 7,
    /// The library has a bug. The handles of the call can only be freed.
    Panic = 8,
}

/// An error of a call. Its text is one line that names the cause and the fix.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An argument that cannot be used.
    #[error("{0}")]
    Argument(String),
    /// A buffer that is too small.
    #[error(
        "the buffer has room for {capacity} elements, and {length} are needed; call with a null buffer to learn this"
    )]
    Buffer {
        /// Elements for which there is room.
        capacity: usize,
        /// Elements that are needed.
        length: usize,
    },
    /// An error of a device, before there is a model.
    #[error(transparent)]
    Device(#[from] Fault),
    /// An error of a model, a run or an analysis.
    #[error(transparent)]
    Analysis(#[from] resolvent::Error),
    /// A panic inside the library.
    #[error("the library has panicked ({0}); report this with the calls and the model")]
    Panic(String),
}

/// `Result` with this crate's [`Error`].
pub(crate) type Result<T = (), E = Error> = std::result::Result<T, E>;

impl From<model::Error> for Error {
    fn from(error: model::Error) -> Self {
        Self::Analysis(error.into())
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::Device(error.into())
    }
}

/// Returns the status of an error of the engine.
fn of_engine(error: &engine::Error) -> Status {
    match error {
        engine::Error::TooLarge { .. } | engine::Error::Choice { .. } => Status::Argument,
        engine::Error::Stopped => Status::Stopped,
        _ => Status::Device,
    }
}

/// Returns the status of an error of the model.
fn of_model(error: &model::Error) -> Status {
    match error {
        model::Error::Engine(inner) => of_engine(inner),
        model::Error::Place(_)
        | model::Error::Prompt { .. }
        | model::Error::Encoding { .. }
        | model::Error::Token { .. }
        | model::Error::Tokens { .. }
        | model::Error::Observable { .. } => Status::Argument,
        model::Error::NotFinite { .. } => Status::Check,
        _ => Status::Model,
    }
}

/// Returns the status of an error of an analysis.
fn of_analysis(error: &resolvent::Error) -> Status {
    match error {
        resolvent::Error::Model(inner) => of_model(inner),
        resolvent::Error::Certificate { .. }
        | resolvent::Error::Rounded { .. }
        | resolvent::Error::NotFinite { .. } => Status::Check,
        resolvent::Error::File { .. } => Status::File,
        _ => Status::Argument,
    }
}

impl Error {
    /// Returns the error of an argument.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::Argument(message.into())
    }

    fn status(&self) -> Status {
        match self {
            Self::Argument(_) => Status::Argument,
            Self::Buffer { .. } => Status::Buffer,
            Self::Device(Fault::Engine(error)) => of_engine(error),
            Self::Device(_) => Status::Device,
            Self::Analysis(error) => of_analysis(error),
            Self::Panic(_) => Status::Panic,
        }
    }
}

/// Words of messages that name options of the command line, and those of this library for them.
const TERMS: [(&str, &str); 5] = [
    ("`--device host`", "the device \"host\""),
    ("another with `--device`", "another device"),
    ("without --f16-inputs", "without f16_inputs"),
    ("--tokens 5,9,12", "5,9,12"),
    ("name it in RunOptions::sites", "edit another site"),
];

/// Returns a message on one line, in the terms of this library.
fn shown(error: &Error) -> CString {
    let text = error.to_string();
    let lines: Vec<&str> = text.split(['\n', '\0']).map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = TERMS.iter().fold(lines.join("; "), |text, (ours, of_c)| text.replace(ours, of_c));
    CString::new(text).unwrap_or_default()
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Returns the message of the last call on this thread that failed: one line of UTF-8 that names the cause and the fix.
///
/// It is empty if no call has failed. The pointer is valid until the next call on this thread fails, or the thread
/// ends.
#[unsafe(no_mangle)]
pub extern "C" fn resolvent_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

/// Runs the body of a call. An error or a panic becomes a status, and its message that of the thread.
pub(crate) fn guarded(body: impl FnOnce() -> Result) -> Status {
    // After a panic, nothing uses what the body has changed: outputs are written last, and handles are only freed.
    let done = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|cause| Err(Error::Panic(said(&*cause))));
    match done {
        Ok(()) => Status::Ok,
        Err(error) => {
            LAST.set(shown(&error));
            error.status()
        }
    }
}

/// Returns the message of a panic.
fn said(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
