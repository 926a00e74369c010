//! The crate's one error type.

use std::fmt;

/// What can go wrong between asking for a device and reading a buffer back.
///
/// Every message is one line that names the cause and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that names no device.
    #[error(
        "invalid device `{text}`: expected auto, gpu, host, an index of `resolvent devices`, or part of an adapter's name"
    )]
    Choice {
        /// The text as the user wrote it.
        text: String,
    },
    /// `RESOLVENT_SIMD` names no instructions.
    #[error("RESOLVENT_SIMD={text} names no instructions: expected {names}; or unset it")]
    Instructions {
        /// Its value.
        text: String,
        /// What it accepts on this kind of processor.
        names: String,
    },
    /// No adapter matches the device that was asked for.
    #[error("no GPU adapter matches `{wanted}` (found: {found}); {fix}")]
    NoAdapter {
        /// The choice as the user wrote it.
        wanted: String,
        /// The adapters there are, by name, or `none`.
        found: String,
        /// What to do: install a driver, name another adapter, or let an environment variable go.
        fix: String,
    },
    /// The device of an embedding program was requested with too small a limit.
    #[error(
        "the device on `{adapter}` was opened with {limit} {found}, and {needed} is needed; request a device with the default limits of WebGPU"
    )]
    Limit {
        /// Adapter name.
        adapter: String,
        /// The limit, as wgpu names it.
        limit: &'static str,
        /// Its value.
        found: u32,
        /// The smallest value that suffices.
        needed: u32,
    },
    /// The adapter exists, but would not give a device.
    #[error("adapter `{adapter}` gave no device: {reason}; try another with `--device`, or `--device host`")]
    NoDevice {
        /// Adapter name.
        adapter: String,
        /// The driver's reason.
        reason: String,
    },
    /// A launch does not fit its kernel: a bug of the caller, found before anything ran.
    #[error("launch `{label}` of kernel `{kernel}`: {reason}")]
    Launch {
        /// Kernel name, such as `layer_norm.primal`.
        kernel: &'static str,
        /// Where in the model the launch stands.
        label: String,
        /// What does not fit.
        reason: String,
    },
    /// Tensors that an operation was given do not fit each other.
    #[error("{op}: {reason}")]
    Shape {
        /// Operation name.
        op: &'static str,
        /// Both names and both shapes.
        reason: String,
    },
    /// A buffer would be larger than the device binds at once.
    #[error(
        "`{label}` needs {bytes} bytes, and this device binds at most {limit}; use a smaller batch or a shorter prompt"
    )]
    TooLarge {
        /// Buffer label.
        label: String,
        /// Bytes asked for.
        bytes: u64,
        /// The device's limit.
        limit: u64,
    },
    /// The device has no memory left.
    #[error("out of device memory while making `{label}` ({bytes} bytes); use a smaller batch, or `--device host`")]
    OutOfMemory {
        /// Buffer label.
        label: String,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The driver refused a kernel or a submission.
    #[error("device rejected {what}: {reason}")]
    Validation {
        /// Kernel name or submission label.
        what: String,
        /// The driver's message, with shader lines as file:line where there are any.
        reason: String,
    },
    /// A kernel computes something else than its host body, or the driver refuses it.
    #[error("{device} fails its self-test ({found}); update its driver, or use `--device host`")]
    WrongKernel {
        /// Adapter and driver.
        device: String,
        /// The kernel, and what its test found.
        found: String,
    },
    /// The device is gone (driver reset, watchdog, unplugged).
    #[error("device lost: {reason}; run again, with `--device host` if it happens twice")]
    DeviceLost {
        /// The driver's reason.
        reason: String,
    },
    /// A buffer was read that nothing has written or that belongs to another device.
    #[error("buffer `{label}` {reason}")]
    Buffer {
        /// Buffer label.
        label: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A forked process cannot compute, or not on this device.
    #[error("{reason}; start processes with the method `spawn`, or compute on the host in the child alone")]
    Forked {
        /// What the process lacks.
        reason: String,
    },
    /// Who ran the work has stopped it; see [`crate::stoppable`].
    #[error("stopped before it was done; run it again to have its result")]
    Stopped,
}

impl Error {
    /// A shape error of operation `op`.
    pub fn shape(op: &'static str, reason: impl fmt::Display) -> Self {
        Self::Shape { op, reason: reason.to_string() }
    }

    /// Buffer `label` is memory of another device than the one that was to use it.
    pub(crate) fn foreign(label: &str) -> Self {
        Self::Buffer { label: label.to_owned(), reason: "belongs to another device".to_owned() }
    }
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
