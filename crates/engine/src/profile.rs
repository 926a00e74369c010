//! What each launch took.

use crate::recording::Work;

/// One executed launch: its place, its cost bound and its time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Kernel name.
    pub kernel: &'static str,
    /// Place in the model.
    pub label: String,
    /// Shape of what it writes, such as `[rows: 16, n: 768]`.
    pub shape: String,
    /// Cost bound.
    pub work: Work,
    /// Seconds on the device: GPU timestamps, or the host's clock on the host executor.
    pub seconds: f64,
}

impl Sample {
    /// Achieved GFLOP/s.
    pub fn gflops(&self) -> f64 {
        self.work.flops / self.seconds / 1e9
    }

    /// Achieved GB/s.
    pub fn gbytes(&self) -> f64 {
        self.work.bytes / self.seconds / 1e9
    }
}
