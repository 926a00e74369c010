//! The weight of a product on a device, or a table of rows: f32, or f16 in pairs.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use resolvent_engine::host::{Elements, Weights};
use resolvent_engine::{Device, Error, Result, Shape, Tensor};

/// The fast variants of products read f16 elements eight at a time, along k or along n.
const F16_MULTIPLE: usize = 8;

/// A weight `[k, n]`.
#[derive(Clone, Debug)]
pub struct Weight {
    words: Tensor,
    k: usize,
    n: usize,
    is_f16: bool,
    rounds_inputs: bool,
}

impl Weight {
    /// Creates an f32 weight from a tensor `[k, n]`.
    #[must_use]
    pub fn full(elements: Tensor) -> Self {
        let lengths = elements.shape().lengths();
        let (k, n) = (lengths[0], lengths[1..].iter().product());
        Self { words: elements, k, n, is_f16: false, rounds_inputs: false }
    }

    /// Creates an f16 weight from pairs: words `[k, n / 2]`, each with the earlier element in its low bits. k and n
    /// must be multiples of eight.
    ///
    /// # Errors
    /// k or n is not a multiple of eight.
    pub fn f16s(words: Tensor) -> Result<Self> {
        let Self { words, k, n, .. } = Self::full(words);
        let n = 2 * n;
        if !Self::packs(k, n) {
            let reason = format!("an f16 weight [{k}, {n}] needs multiples of {F16_MULTIPLE} as lengths; use f32");
            return Err(Error::shape("matmul", reason));
        }
        Ok(Self { words, k, n, is_f16: true, rounds_inputs: false })
    }

    /// Creates an f16 table of rows from pairs: words `[rows, n / 2]`, each with the earlier element in its low bits.
    ///
    /// Products take it with any number of rows, in a slower variant where n is not a multiple of eight.
    #[must_use]
    pub fn f16_table(words: Tensor) -> Self {
        let Self { words, k, n, .. } = Self::full(words);
        Self { words, k, n: 2 * n, is_f16: true, rounds_inputs: false }
    }

    /// Sets whether primal products round their inputs to f16. With an f32 weight, and with lengths that are not
    /// multiples of eight, they never do.
    #[must_use]
    pub fn rounding_inputs(self, rounds: bool) -> Self {
        Self { rounds_inputs: rounds && self.is_f16 && Self::packs(self.k, self.n), ..self }
    }

    /// Whether a weight `[k, n]` may be f16.
    #[must_use]
    pub fn packs(k: usize, n: usize) -> bool {
        k.is_multiple_of(F16_MULTIPLE) && n.is_multiple_of(F16_MULTIPLE)
    }

    /// Returns k and n.
    #[must_use]
    pub fn lengths(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    /// Returns whether primal products round their inputs to f16.
    #[must_use]
    pub fn rounds_inputs(&self) -> bool {
        self.rounds_inputs
    }

    /// Reads row `i` back, as `n` f32 elements.
    ///
    /// # Errors
    /// A row outside of the weight, or a device error.
    pub fn read_row(&self, device: &Device, i: usize) -> Result<Vec<f32>> {
        self.read_rows(device, i..i + 1)
    }

    /// Reads some rows back, as f32 elements.
    ///
    /// # Errors
    /// Rows outside of the weight, or a device error.
    pub fn read_rows(&self, device: &Device, rows: Range<usize>) -> Result<Vec<f32>> {
        let width = self.words.shape().elements() / self.k.max(1);
        let (first, shape) = (self.words.range().start + rows.start * width, [("rows", rows.len()), ("n", width)]);
        let words = device.read(&Tensor::view(self.words.buffer().clone(), first, Shape::new(&shape))?)?;
        let mut widened = Vec::new();
        Ok(match read(&words, self.is_f16, false).elements {
            Elements::F32(elements) => elements.to_vec(),
            Elements::F16(packed) => {
                widen(packed, &mut widened);
                widened
            }
        })
    }

    pub(crate) fn words(&self) -> &Tensor {
        &self.words
    }

    pub(crate) fn is_f16(&self) -> bool {
        self.is_f16
    }

    /// Returns the size of an element in bytes.
    pub(crate) fn element_bytes(&self) -> f64 {
        if self.is_f16 { 2.0 } else { 4.0 }
    }

    /// Returns the variant of kernels that read a table and have one variant for each number format.
    pub(crate) fn table_variant(&self) -> &'static str {
        if self.is_f16 { "base_f16" } else { "base" }
    }
}

/// Widens f16 elements into `wide`, which becomes as long as they are.
pub(crate) fn widen(packed: &[f16], wide: &mut Vec<f32>) {
    wide.resize(packed.len(), 0.0);
    packed.convert_to_f32_slice(wide);
}

/// Interprets words as a weight for products on the host.
pub(crate) fn read(words: &[f32], is_f16: bool, transposed: bool) -> Weights<'_> {
    let elements = if is_f16 { Elements::F16(bytemuck::cast_slice(words)) } else { Elements::F32(words) };
    Weights { elements, transposed }
}
