//! Which device to open, and how.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};

/// Which device to open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// A real GPU if there is one, else the host executor. A software Vulkan is never chosen unasked.
    #[default]
    Auto,
    /// Any GPU adapter, real ones first; an error if there is none.
    Gpu,
    /// The host executor.
    Host,
    /// The adapter at this place of [`crate::adapters`].
    Index(usize),
    /// The first adapter whose name or driver contains this text, without regard to case.
    Name(String),
}

impl FromStr for Choice {
    type Err = Error;

    /// Reads a choice without regard to case; an empty name would match every adapter, so it is an error.
    fn from_str(text: &str) -> Result<Self> {
        let name = text.trim();
        Ok(match name.to_lowercase().as_str() {
            "" => return Err(Error::Choice { text: text.to_owned() }),
            "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            "host" | "cpu" => Self::Host,
            other => other.parse().map_or_else(|_| Self::Name(name.to_owned()), Self::Index),
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::Host => f.write_str("host"),
            Self::Index(i) => write!(f, "{i}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Memory of a batch's intermediate values, unless [`Options::batch_bytes`] says otherwise.
pub const BATCH_BYTES: u64 = 512 << 20;

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which device.
    pub choice: Choice,
    /// Ask for the adapter's own binding sizes instead of WebGPU's default limits (128 MiB a binding).
    pub adapter_limits: bool,
    /// Bind at most this many bytes at once, where that is less than the device offers: how a smaller device behaves.
    pub max_binding: Option<u64>,
    /// Fill fresh buffers with NaN, so that a kernel that does not write shows. For tests.
    pub poison: bool,
    /// Time every launch; see [`crate::Device::take_profile`].
    pub profile: bool,
    /// Run each launch of a GPU by itself, and compare it with its host body; see [`crate::Device::take_comparisons`].
    /// For tests of kernels, with `poison`: it waits twice for each launch.
    pub compare: bool,
    /// Threads of the host executor; 0 is one for each core.
    pub threads: usize,
    /// Memory that the intermediate values of one batch may take, in bytes; 0 is [`BATCH_BYTES`]. Larger work is cut.
    pub batch_bytes: u64,
    /// Text variants to use instead of what an op would choose: (shader, variant), for tuning and for tests.
    pub variants: Vec<(&'static str, &'static str)>,
    /// Keep the weights of products and the vocabulary as 16-bit floats, in half the memory; sums stay f32. What it
    /// costs in accuracy is found when a model is loaded, and is in its results; of a checkpoint in 16-bit floats,
    /// nothing.
    pub f16_weights: bool,
    /// Round the inputs of forward products to 16-bit floats as well, for devices that multiply those faster
    /// (cooperative matrices); sums stay f32, and so do all derivatives. Implies `f16_weights`. All devices round
    /// alike, and those without such matrices gain nothing by it; what it costs in accuracy is found when a model is
    /// loaded, and is in its results.
    pub f16_inputs: bool,
    /// Folder in which compiled kernels wait for the next process. `None`, or an empty path, keeps nothing.
    pub cache: Option<PathBuf>,
}

impl Options {
    /// Default options for `choice`.
    pub fn new(choice: Choice) -> Self {
        Self { choice, ..Self::default() }
    }

    /// Memory of one batch, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        if self.batch_bytes == 0 { BATCH_BYTES } else { self.batch_bytes }
    }

    /// Selects where files are cached between processes.
    pub fn cache_folder(&self) -> Option<&Path> {
        self.cache.as_deref().filter(|folder| !folder.as_os_str().is_empty())
    }

    /// Memory that may wait to be used again: what two batches take, one being prepared while the other runs.
    pub(crate) fn idle_bytes(&self) -> u64 {
        self.memory().saturating_mul(2)
    }
}
