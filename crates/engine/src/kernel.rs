//! Kernels: a WGSL entry and its host body, declared together or not at all.

use std::fmt;

use bytemuck::AnyBitPattern;
use resolvent_shaders as shaders;

/// A kernel: one computation in WGSL and on the host, over the same bindings and parameters.
pub struct Kernel {
    /// The reflected WGSL entry, with its variants.
    pub shader: &'static shaders::Kernel,
    /// The host body.
    pub host: fn(Bound<'_>),
}

impl Kernel {
    /// Returns `shader.entry`, such as `layer_norm.primal`.
    pub fn name(&self) -> &'static str {
        self.shader.name
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({})", self.name())
    }
}

/// Values for a kernel's `override` constants, sorted by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constants(Vec<(&'static str, f64)>);

impl Constants {
    /// Collects constants by name, in any order.
    pub fn new(values: &[(&'static str, f64)]) -> Self {
        let mut values = values.to_vec();
        values.sort_by_key(|&(name, _)| name);
        Self(values)
    }

    /// Returns the constants as pairs, sorted by name.
    pub fn pairs(&self) -> &[(&'static str, f64)] {
        &self.0
    }

    /// Returns the value of `name`, if set.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| *n == name).map(|&(_, v)| v)
    }

    /// Returns a part of a pipeline's key: names with the values' bits.
    pub(crate) fn key(&self) -> Vec<(&'static str, u64)> {
        self.0.iter().map(|&(name, value)| (name, value.to_bits())).collect()
    }
}

/// Arguments of a host body: parameters, and bindings as slices in slot order.
pub struct Bound<'a> {
    pub(crate) params: &'a [u8],
    pub(crate) constants: &'a Constants,
    pub(crate) reads: Vec<&'a [f32]>,
    pub(crate) writes: Vec<&'a mut [f32]>,
}

impl<'a> Bound<'a> {
    /// Reads the uniform, as the kernel's `Params` struct.
    pub fn params<P: AnyBitPattern>(&self) -> P {
        bytemuck::pod_read_unaligned(self.params)
    }

    /// Whether the boolean override `name` is set.
    pub fn flag(&self, name: &str) -> bool {
        self.constants.get(name).is_some_and(|v| v != 0.0)
    }

    /// Returns the bindings in slot order: first those that are read, then those that are written.
    ///
    /// The counts were checked against the shader before the launch was recorded, so a mismatch is a bug of the host
    /// body.
    pub fn slices<const R: usize, const W: usize>(self) -> ([&'a [f32]; R], [&'a mut [f32]; W]) {
        let reads = self.reads.try_into().expect("host body asks for the shader's read bindings");
        let writes = self.writes.try_into();
        (reads, writes.unwrap_or_else(|_| panic!("host body asks for the shader's written bindings")))
    }
}

/// Reinterprets words as u32: buffers of f32 words also contain index tables.
pub fn as_u32(words: &[f32]) -> &[u32] {
    bytemuck::cast_slice(words)
}
