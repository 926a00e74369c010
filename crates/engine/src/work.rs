//! The cost of a launch.

/// Least cost of a launch: the two figures that bound its time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations; a fused multiply-add counts two.
    pub flops: f64,
    /// Bytes that must move between memory and the device's cores.
    pub bytes: f64,
}
