//! The weight of a product on a device: f32, or f16 in pairs.

use resolvent_engine::host::{Elements, Weights};
use resolvent_engine::{Error, Result, Tensor};

/// f16 elements are read eight at a time, along k or along n.
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

    /// Sets whether primal products round their inputs to f16. With an f32 weight they never do.
    #[must_use]
    pub fn rounding_inputs(self, rounds: bool) -> Self {
        Self { rounds_inputs: rounds && self.is_f16, ..self }
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

    pub(crate) fn words(&self) -> &Tensor {
        &self.words
    }

    pub(crate) fn is_f16(&self) -> bool {
        self.is_f16
    }

    pub(crate) fn rounds_inputs(&self) -> bool {
        self.rounds_inputs
    }
}

/// Interprets words as a weight for products on the host.
pub(crate) fn read(words: &[f32], is_f16: bool, transposed: bool) -> Weights<'_> {
    let elements = if is_f16 { Elements::F16(bytemuck::cast_slice(words)) } else { Elements::F32(words) };
    Weights { elements, transposed }
}
