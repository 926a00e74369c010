//! Why a device cannot be used, and how far it may differ from the host.

/// The largest relative difference with which the self-test passes.
///
/// Two f32 executors that sum in different orders differ by a few times 1e-7 on a model of this size. A broken kernel
/// is off by far more than this bound.
pub(crate) const BOUND: f64 = 2e-5;

/// The reason why a device cannot be opened, or not timed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The engine cannot open the device.
    Engine(resolvent_engine::Error),
    /// The driver computes wrong results, or fails to compute.
    Driver {
        /// Adapter and driver.
        device: String,
        /// What the self-test found.
        found: String,
    },
    /// The analysis to be timed fails.
    Analysis(resolvent_field::Error),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Engine(e) => e.fmt(f),
            Self::Analysis(e) => e.fmt(f),
            Self::Driver { device, found } => {
                write!(f, "{device} fails its self-test ({found}); update its driver, or use `--device host`")
            }
        }
    }
}

impl std::error::Error for Fault {}

impl From<resolvent_field::Error> for Fault {
    fn from(error: resolvent_field::Error) -> Self {
        Self::Analysis(error)
    }
}

impl From<resolvent_model::Error> for Fault {
    fn from(error: resolvent_model::Error) -> Self {
        Self::Analysis(error.into())
    }
}

impl From<resolvent_engine::Error> for Fault {
    fn from(error: resolvent_engine::Error) -> Self {
        Self::Engine(error)
    }
}
