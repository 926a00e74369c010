//! Features of a model that symmetries of its derivatives depend on.

use super::{Architecture, BlockLayout, NormKind};

impl Architecture {
    /// Returns whether the norms of the stream subtract the mean, as layer norms do.
    pub fn subtracts_means(&self) -> bool {
        matches!(self.norm, NormKind::Layer(_))
    }

    /// Returns whether every branch reads the stream through a norm.
    pub fn reads_normed(&self) -> bool {
        let normed = |block: &BlockLayout| block.attn_norm.is_some() && (block.mlp_norm.is_some() || self.parallel);
        self.layout.blocks.iter().all(normed)
    }

    /// Returns whether attention and then a gated MLP read the stream, each through an RMS norm.
    pub fn reads_by_rms(&self) -> bool {
        self.reads_normed() && !self.subtracts_means() && !self.parallel && self.gated
    }

    /// Returns whether a norm follows every branch, whose last product has no bias.
    pub fn norms_outputs(&self) -> bool {
        let normed = |block: &BlockLayout| {
            let plain = !block.out.bias && !block.down.bias;
            block.attn_post_norm.is_some() && block.mlp_post_norm.is_some() && plain
        };
        self.layout.blocks.iter().all(normed)
    }

    /// Returns whether queries and keys have a norm.
    pub fn norms_queries(&self) -> bool {
        self.has_qk_norm()
    }

    /// Returns whether a norm of queries spans one head, not all heads of a token together.
    pub fn norms_heads_apart(&self) -> bool {
        let spans = |block: &BlockLayout| block.qk_norm.as_ref().is_some_and(|[q, _]| q.width == self.sizes.d_head);
        self.layout.blocks.first().is_some_and(spans)
    }
}
