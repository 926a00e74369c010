//! Errors of the library as Python exceptions, with its messages: one line that names the cause and the fix.

use std::io::ErrorKind;

use pyo3::exceptions::{
    PyArithmeticError, PyConnectionError, PyFileNotFoundError, PyOSError, PyPermissionError, PyRuntimeError,
    PyValueError,
};
use pyo3::{PyErr, Python, create_exception};
use resolvent::{Error, Fault, engine, model};

create_exception!(
    resolvent,
    DeviceError,
    PyRuntimeError,
    "A device that is not there, has no memory left, computes wrong numbers or has failed."
);
create_exception!(
    resolvent,
    CertificateError,
    PyArithmeticError,
    "A result that fails its own check: its numbers must not be used."
);

/// An exception that is not raised yet. Every error of the library converts to one.
pub(crate) struct Failure(PyErr);

/// The result of the fallible functions of this crate.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Returns the error of an argument that cannot be used.
pub(crate) fn value_error(message: impl Into<String>) -> Failure {
    Failure(PyValueError::new_err(message.into()))
}

impl Failure {
    /// Returns the message.
    pub(crate) fn message(&self, py: Python<'_>) -> String {
        self.0.value(py).to_string()
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<std::convert::Infallible> for Failure {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        Self(match error {
            // The caller's arguments cause these errors, not the state of the device.
            engine::Error::TooLarge { .. } | engine::Error::Choice { .. } => PyValueError::new_err(message(&error)),
            _ => DeviceError::new_err(message(&error)),
        })
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Engine(error) => error.into(),
            other => Self(DeviceError::new_err(message(&other))),
        }
    }
}

impl From<model::Error> for Failure {
    fn from(error: model::Error) -> Self {
        let message = message(&error);
        Self(match error {
            model::Error::Engine(inner) => return inner.into(),
            model::Error::Io { source, .. } | model::Error::Cache { source, .. } => io_error(source.kind(), message),
            model::Error::NotAModel { .. } | model::Error::NoModel { .. } => PyFileNotFoundError::new_err(message),
            model::Error::Hub { .. } => PyConnectionError::new_err(message),
            _ => PyValueError::new_err(message),
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = message(&error);
        Self(match error {
            Error::Model(inner) => return inner.into(),
            Error::Certificate { .. } | Error::Rounded { .. } => CertificateError::new_err(message),
            Error::File { path, .. } => match path.try_exists() {
                Ok(false) => PyFileNotFoundError::new_err(message),
                _ => PyOSError::new_err(message),
            },
            _ => PyValueError::new_err(message),
        })
    }
}

impl From<resolvent_report::Error> for Failure {
    fn from(error: resolvent_report::Error) -> Self {
        match error {
            resolvent_report::Error::File(inner) => inner.into(),
            other => value_error(message(&other)),
        }
    }
}

fn io_error(kind: ErrorKind, message: String) -> PyErr {
    match kind {
        ErrorKind::NotFound => PyFileNotFoundError::new_err(message),
        ErrorKind::PermissionDenied => PyPermissionError::new_err(message),
        _ => PyOSError::new_err(message),
    }
}

/// Returns the message of an error on one line, in the terms of Python: `donor=` for the option `--donor`.
fn message(error: &dyn std::fmt::Display) -> String {
    let mut text = one_line(&error.to_string());
    for (ours, of_python) in TERMS {
        text = text.replace(ours, of_python);
    }
    let mut told = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("--") {
        let (before, option) = (&rest[..at], &rest[at + 2..]);
        let starts = before.chars().next_back().is_none_or(|c| c == ' ' || c == '(' || c == '`');
        let end = option.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(option.len());
        told += before;
        match starts && option.starts_with(|c: char| c.is_ascii_lowercase()) {
            true => told += &format!("{}=", option[..end].replace('-', "_")),
            false => told += &rest[at..at + 2 + end],
        }
        rest = &option[end..];
    }
    told + rest
}

/// Words of messages that name parts of the Rust library or the command line, and those of Python for them.
const TERMS: [(&str, &str); 16] = [
    ("in Mode::FrozenNorm", "in the mode frozen_norm"),
    ("in Mode::FrozenAttention", "in the mode frozen_attention"),
    ("in Mode::Frozen", "in the mode frozen"),
    ("in Mode::RelP", "in the mode relp"),
    ("use Mode::Exact", "use the mode exact"),
    ("name it in RunOptions::sites", "name it in `sites=` of Model.run"),
    ("`--device host`", "`device=\"host\"`"),
    ("without --f16-inputs", "without f16_inputs=True"),
    ("start again with --fresh", "start again with fresh=True"),
    ("an index of `resolvent devices`", "an index of devices()"),
    ("give --prompts FILE", "give a prompt file"),
    ("--tokens 5,9,12", "[5, 9, 12]"),
    ("with commas between them: 5,9,12", "in a list: [5, 9, 12]"),
    ("an observable (--target)", "an observable (observable=)"),
    ("report this with the command and the model", "report this with the call and the model"),
    ("see Architecture::tensors for the names", "the names are those of its weight files"),
];

/// Joins the lines of a message, because messages of libraries may have several.
fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
