//! Tensors that are stored in f16 pairs, and their rounding error.

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use resolvent_engine::{Device, Tensor};

use crate::error::{Error, Result};

/// Sums of squares of the elements that were rounded to f16, and of their rounding errors.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rounding {
    elements: f64,
    errors: f64,
}

impl Rounding {
    /// Adds the sums of other elements.
    pub(crate) fn add(&mut self, other: Self) {
        self.elements += other.elements;
        self.errors += other.errors;
    }

    /// Returns the relative error in L2 norm; `None` if no element but zeros was rounded.
    pub(crate) fn relative(self) -> Option<f64> {
        (self.elements > 0.0).then(|| (self.errors / self.elements).sqrt())
    }
}

/// A tensor of f16 pairs that is written in chunks of f32 elements.
pub(crate) struct Packed<'a> {
    device: &'a Device,
    name: &'a str,
    words: Tensor,
    rounded: Vec<f16>,
    rounding: Rounding,
}

impl<'a> Packed<'a> {
    /// Reserves a tensor of `rows` rows of `width` elements, an even number.
    pub(crate) fn reserve(
        device: &'a Device,
        name: &'a str,
        (dim, rows): (&'static str, usize),
        width: usize,
    ) -> Result<Self> {
        let words = device.reserve(name, &[(dim, rows), ("pairs", width / 2)])?;
        Ok(Self { device, name, words, rounded: Vec::new(), rounding: Rounding::default() })
    }

    /// Writes a chunk, rounded to f16. `before` is the number of elements before the chunk; it is even.
    pub(crate) fn write(&mut self, before: usize, elements: &[f32]) -> Result<()> {
        self.rounded.resize(elements.len(), f16::ZERO);
        self.rounded.convert_from_f32_slice(elements);
        for (&value, rounded) in elements.iter().zip(&self.rounded) {
            if !rounded.is_finite() {
                return Err(Error::NoHalf { name: self.name.to_owned(), value });
            }
            self.rounding.elements += f64::from(value).powi(2);
            self.rounding.errors += (f64::from(value) - rounded.to_f64()).powi(2);
        }
        Ok(self.device.write(&self.words, before / 2, bytemuck::cast_slice(&self.rounded))?)
    }

    /// Returns the words of the tensor, and its rounding error.
    pub(crate) fn finish(self) -> (Tensor, Rounding) {
        (self.words, self.rounding)
    }
}
