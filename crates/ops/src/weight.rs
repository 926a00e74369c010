//! The weight of a product on a device: f32, or halves in pairs.

use resolvent_engine::host::{Elements, Weights};
use resolvent_engine::{Error, Result, Tensor};

/// Halves are read eight at a time, along k or along n.
const F16_MULTIPLE: usize = 8;

/// A weight `[k, n]`.
#[derive(Clone, Debug)]
pub struct Weight {
    words: Tensor,
    k: usize,
    n: usize,
    f16s: bool,
    rounds_inputs: bool,
}

impl Weight {
    /// Numbers as they are: a tensor `[k, n]`.
    #[must_use]
    pub fn full(elements: Tensor) -> Self {
        let lengths = elements.shape().lengths();
        let (k, n) = (lengths[0], lengths[1..].iter().product());
        Self { words: elements, k, n, f16s: false, rounds_inputs: false }
    }

    /// Halves in pairs: words `[k, n / 2]`, each with the earlier half in its low bits. k and n must be multiples of
    /// eight.
    ///
    /// # Errors
    /// They are not.
    pub fn f16s(words: Tensor) -> Result<Self> {
        let Self { words, k, n, .. } = Self::full(words);
        let n = 2 * n;
        if !Self::packs(k, n) {
            let reason = format!("a weight [{k}, {n}] of halves: both lengths have to be multiples of {F16_MULTIPLE}");
            return Err(Error::shape("matmul", reason));
        }
        Ok(Self { words, k, n, f16s: true, rounds_inputs: false })
    }

    /// The same weight, whose primal products round their inputs to 16-bit floats or not. One that is not of halves never does.
    #[must_use]
    pub fn rounding_inputs(self, rounds: bool) -> Self {
        Self { rounds_inputs: rounds && self.f16s, ..self }
    }

    /// Whether a weight `[k, n]` may be of halves.
    #[must_use]
    pub fn packs(k: usize, n: usize) -> bool {
        k.is_multiple_of(F16_MULTIPLE) && n.is_multiple_of(F16_MULTIPLE)
    }

    /// k and n.
    #[must_use]
    pub fn lengths(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    pub(crate) fn words(&self) -> &Tensor {
        &self.words
    }

    pub(crate) fn is_f16(&self) -> bool {
        self.f16s
    }

    pub(crate) fn rounds_inputs(&self) -> bool {
        self.rounds_inputs
    }
}

/// The weight that words hold, as the host multiplies with it.
pub(crate) fn read(words: &[f32], f16s: bool, transposed: bool) -> Weights<'_> {
    let elements = if f16s { Elements::F16(bytemuck::cast_slice(words)) } else { Elements::F32(words) };
    Weights { elements, transposed }
}
