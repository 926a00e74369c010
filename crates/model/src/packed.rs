//! Tensors that are stored in f16 pairs, and their rounding error.

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::*;
use resolvent_engine::{Device, Tensor};

use crate::error::{Error, Result};
use crate::floats::first_non_finite;

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

/// Elements that a thread rounds at a time.
const PIECE: usize = 1 << 15;

/// Elements whose rounded values are widened at a time.
const BLOCK: usize = 256;

/// Independent partial sums, which the processor adds at once.
const LANES: usize = 8;

/// Rounds values to f16, and returns their sums; the first value that is too large for f16 is the error.
fn round(values: &[f32], rounded: &mut [f16]) -> Result<Rounding, f32> {
    rounded.convert_from_f32_slice(values);
    let (mut elements, mut errors) = ([0.0f64; LANES], [0.0f64; LANES]);
    for (values, rounded) in values.chunks(BLOCK).zip(rounded.chunks(BLOCK)) {
        // Zeros fill the last block: they change no sum.
        let (mut exact, mut wide) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
        exact[..values.len()].copy_from_slice(values);
        rounded.convert_to_f32_slice(&mut wide[..rounded.len()]);
        if let Some(at) = first_non_finite(&wide) {
            return Err(values[at]);
        }
        for (exact, wide) in exact.as_chunks::<LANES>().0.iter().zip(wide.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                let (exact, wide) = (f64::from(exact[lane]), f64::from(wide[lane]));
                elements[lane] += exact * exact;
                errors[lane] += (exact - wide) * (exact - wide);
            }
        }
    }
    Ok(Rounding { elements: elements.iter().sum(), errors: errors.iter().sum() })
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
        let pieces = elements.par_chunks(PIECE).zip(self.rounded.par_chunks_mut(PIECE));
        let pieces: Vec<Result<Rounding, f32>> = pieces.map(|(values, rounded)| round(values, rounded)).collect();
        for rounding in pieces {
            self.rounding.add(rounding.map_err(|value| Error::NoHalf { name: self.name.to_owned(), value })?);
        }
        Ok(self.device.write(&self.words, before / 2, bytemuck::cast_slice(&self.rounded))?)
    }

    /// Returns the words of the tensor, and its rounding error.
    pub(crate) fn finish(self) -> (Tensor, Rounding) {
        (self.words, self.rounding)
    }
}
