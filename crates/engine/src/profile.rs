//! Profiles: the time of each launch.

use crate::work::Work;

/// One executed launch: its label, its cost bound and its time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Kernel name.
    pub kernel: &'static str,
    /// Scope in the model and kernel, such as `blocks.3:matmul.primal`.
    pub label: String,
    /// Shapes of the outputs, such as `[rows=16, n=768]`.
    pub shape: String,
    /// Cost bound.
    pub work: Work,
    /// Seconds on the device: GPU timestamps, or the host's clock on the host executor.
    pub seconds: f64,
}

impl Sample {
    /// Returns the achieved GFLOP/s.
    pub fn gflops(&self) -> f64 {
        self.work.flops / self.seconds / 1e9
    }

    /// Returns the achieved GB/s.
    pub fn gbytes(&self) -> f64 {
        self.work.bytes / self.seconds / 1e9
    }
}
