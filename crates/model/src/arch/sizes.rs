//! The sizes of a model.

use super::MAX_D_HEAD;

/// Most layers accepted, so that a damaged file cannot ask for a list of tensors without end.
pub const MAX_LAYERS: usize = 4096;

/// Largest single size. A hidden layer may be four times as wide, and that still fits the u32 with which kernels index.
pub(super) const MAX_SIZE: usize = (u32::MAX / 4) as usize;

/// Returns the message about weights that a pointer cannot address.
pub(super) fn too_large(bytes: u128) -> String {
    format!("the sizes ask for {bytes} bytes of weights, and {} can be addressed; use a smaller model", usize::MAX)
}

/// Sizes of a model, whatever its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Blocks, `L`.
    pub layers: usize,
    /// Width of the residual stream.
    pub d: usize,
    /// Query heads of a block.
    pub heads: usize,
    /// Key and value heads of a block; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head. `heads * d_head` may differ from `d`.
    pub d_head: usize,
    /// Neurons of an MLP.
    pub inner: usize,
    /// Vocabulary, `V`.
    pub vocab: usize,
    /// Longest prompt in tokens.
    pub n_ctx: usize,
}

impl Sizes {
    /// Checks that the sizes are in range and fit together. The error says which one is not.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { layers, d, heads, kv_heads, d_head, inner, vocab, n_ctx } = *self;
        let sizes = [
            ("number of layers", layers, MAX_LAYERS),
            ("width of the residual stream", d, MAX_SIZE),
            ("number of heads", heads, MAX_SIZE),
            ("number of key and value heads", kv_heads, MAX_SIZE),
            ("width of a head", d_head, MAX_D_HEAD),
            ("width of the MLP", inner, MAX_SIZE),
            ("size of the vocabulary", vocab, MAX_SIZE),
            ("longest prompt", n_ctx, MAX_SIZE),
        ];
        if let Some((name, value, most)) = sizes.into_iter().find(|(_, value, most)| *value == 0 || value > most) {
            return Err(format!("the {name} is {value}; it must be 1 to {most}"));
        }
        match heads.is_multiple_of(kv_heads) {
            true => Ok(()),
            false => Err(format!("{kv_heads} key and value heads do not divide {heads} query heads")),
        }
    }

    /// Returns the width of the queries of all heads, which is also that of z.
    pub fn q_width(&self) -> usize {
        self.heads * self.d_head
    }

    /// Returns the width of the keys of all heads, which is also that of the values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.d_head
    }

    /// Returns the length of a row of queries, keys and values.
    pub(crate) fn qkv_width(&self) -> usize {
        self.q_width() + 2 * self.kv_width()
    }
}
