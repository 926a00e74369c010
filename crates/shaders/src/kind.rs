//! The small vocabulary that the build script and the library share.

/// What a kernel may do with a storage binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
}

/// What one element of a storage binding is: every binding is a run-time sized array of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// `f32`
    F32,
    /// `u32`, also used for packed half floats
    U32,
    /// `i32`
    I32,
    /// `f16`; only in variants that ask for the feature
    F16,
    /// `vec2<f32>`
    Vec2F32,
    /// `vec4<f32>`
    Vec4F32,
    /// `vec2<u32>`
    Vec2U32,
    /// `vec4<u32>`
    Vec4U32,
    /// `vec2<f16>`; only in variants that ask for the feature
    Vec2F16,
    /// `vec4<f16>`; only in variants that ask for the feature
    Vec4F16,
    /// `atomic<u32>`
    AtomicU32,
}

impl Element {
    /// The scalar of which an element is one or several: variants of a shader may read the same memory in vectors.
    #[must_use]
    pub const fn component(self) -> Self {
        match self {
            Self::F32 | Self::Vec2F32 | Self::Vec4F32 => Self::F32,
            Self::U32 | Self::Vec2U32 | Self::Vec4U32 => Self::U32,
            Self::F16 | Self::Vec2F16 | Self::Vec4F16 => Self::F16,
            Self::I32 => Self::I32,
            Self::AtomicU32 => Self::AtomicU32,
        }
    }

    /// Bytes from one element to the next.
    #[must_use]
    pub const fn stride(self) -> u32 {
        match self {
            Self::F16 => 2,
            Self::F32 | Self::U32 | Self::I32 | Self::AtomicU32 | Self::Vec2F16 => 4,
            Self::Vec2F32 | Self::Vec2U32 | Self::Vec4F16 => 8,
            Self::Vec4F32 | Self::Vec4U32 => 16,
        }
    }
}

/// The type of an `override`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `bool`; 0 and 1 as a pipeline constant
    Bool,
    /// `u32`
    U32,
    /// `i32`
    I32,
    /// `f32`
    F32,
}
