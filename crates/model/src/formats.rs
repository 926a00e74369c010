//! Number formats in which weights are uploaded: f32, and f16 with its rounding error.

use std::ops::Range;

use bytemuck::Pod;
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::floats::first_non_finite;
use crate::source::WeightSource;

/// Elements that are read and converted at a time: few enough to stay in a processor's cache.
pub(crate) const STAGE: usize = 1 << 19;

/// Rows of a stored tensor.
pub(crate) struct Stored<'a> {
    pub(crate) source: &'a dyn WeightSource,
    pub(crate) name: &'a str,
    pub(crate) rows: Range<usize>,
}

/// A number format in which weights are uploaded.
pub(crate) trait Format: Pod + Default + Send + Sync {
    /// Reads rows into `to`, which has exactly their elements. `stage` is memory for f32 elements.
    fn read(from: Stored<'_>, to: &mut [Self], stage: &mut Vec<f32>) -> Result<Rounding>;
}

impl Format for f32 {
    fn read(Stored { source, name, rows }: Stored<'_>, to: &mut [Self], _: &mut Vec<f32>) -> Result<Rounding> {
        source.read(name, rows, to)?;
        Ok(Rounding::default())
    }
}

impl Format for f16 {
    fn read(Stored { source, name, rows }: Stored<'_>, to: &mut [Self], stage: &mut Vec<f32>) -> Result<Rounding> {
        let mut sums = Rounding::default();
        let width = (to.len() / rows.len().max(1)).max(1);
        let together = (STAGE / width).max(1);
        stage.resize(stage.len().max(to.len().min(together * width)), 0.0);
        for (i, to) in to.chunks_mut(together * width).enumerate() {
            let (first, stage) = (rows.start + i * together, &mut stage[..to.len()]);
            source.read(name, first..first + to.len() / width, stage)?;
            let pieces = stage.par_chunks(PIECE).zip(to.par_chunks_mut(PIECE));
            let pieces: Vec<Result<Rounding, f32>> = pieces.map(|(values, rounded)| round(values, rounded)).collect();
            for rounding in pieces {
                sums.add(rounding.map_err(|value| Error::NoHalf { name: name.to_owned(), value })?);
            }
        }
        Ok(sums)
    }
}

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

/// Elements whose rounded values are widened at a time, and whose squares are summed in f32.
const BLOCK: usize = 256;

/// Independent partial sums, which the processor adds at once.
const LANES: usize = 16;

/// Rounds values to f16, and returns their sums; the first value that is too large for f16 is the error.
fn round(values: &[f32], rounded: &mut [f16]) -> Result<Rounding, f32> {
    rounded.convert_from_f32_slice(values);
    let (mut sums, mut wide) = (Rounding::default(), [0.0f32; BLOCK]);
    for (values, rounded) in values.chunks(BLOCK).zip(rounded.chunks(BLOCK)) {
        let wide = &mut wide[..values.len()];
        rounded.convert_to_f32_slice(wide);
        if let Some(at) = first_non_finite(wide) {
            return Err(values[at]);
        }
        let (mut elements, mut errors) = ([0.0f32; LANES], [0.0f32; LANES]);
        let mut add = |lane: usize, exact: f32, wide: f32| {
            // Both are within a factor of two, or the second is 0, so that the difference is exact.
            let error = exact - wide;
            elements[lane] += exact * exact;
            errors[lane] += error * error;
        };
        let ((exact, last), (wide, wide_last)) = (values.as_chunks::<LANES>(), wide.as_chunks::<LANES>());
        for (exact, wide) in exact.iter().zip(wide) {
            for lane in 0..LANES {
                add(lane, exact[lane], wide[lane]);
            }
        }
        last.iter().zip(wide_last).for_each(|(exact, wide)| add(0, *exact, *wide));
        let of_block = |lanes: [f32; LANES]| lanes.iter().map(|&sum| f64::from(sum)).sum();
        sums.add(Rounding { elements: of_block(elements), errors: of_block(errors) });
    }
    Ok(sums)
}
