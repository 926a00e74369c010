//! The cost of a launch.

/// Operations that a typical device does in the time in which it moves one byte.
const FLOPS_PER_BYTE: f64 = 10.0;

/// Least cost of a launch: the two figures that bound its time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations; a fused multiply-add counts two.
    pub flops: f64,
    /// Bytes that must move between memory and the device's cores.
    pub bytes: f64,
}

impl Work {
    /// Returns both figures as one: the operations that take as long.
    pub(crate) fn cost(self) -> f64 {
        self.flops.max(FLOPS_PER_BYTE * self.bytes)
    }
}
