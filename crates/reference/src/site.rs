//! Sites: values of the run where an edit or a tangent may enter.

/// A norm of the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Norm {
    /// Before attention of a block.
    Attention(usize),
    /// Before its MLP.
    Mlp(usize),
    /// Before the unembedding.
    Final,
}

/// A named value `[T, width]` of the run, with its block. The width is `d`, and that of the MLP's hidden layer at
/// `MlpPre` and `MlpPost`; q, k, v, z and results have all heads side by side.
///
/// `ResidPost(l)` and `ResidPre(l + 1)` are the same rows under two names; `ResidPost(L - 1)` is `h[L]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    /// `hook_embed`: the rows of the tokens, with the model's factor.
    Embed,
    /// `hook_pos_embed`: the rows of the positions, in models that learn positions.
    PosEmbed,
    /// `blocks.{l}.hook_resid_pre`: the stream entering the block, `h[l]`.
    ResidPre(usize),
    /// `hook_scale` of a norm of the stream: what it divides each row by. `[T, 1]`
    NormScale(Norm),
    /// `hook_normalized` of such a norm: the rows before gain and bias.
    Normalized(Norm),
    /// `blocks.{l}.attn.hook_q`: queries before scaling.
    Q(usize),
    /// `blocks.{l}.attn.hook_k`: keys.
    K(usize),
    /// `blocks.{l}.attn.hook_v`: values.
    V(usize),
    /// `blocks.{l}.attn.hook_attn_scores` of a head and a query: its keys `[t + 1]`, minus infinity where it does not
    /// see one.
    Scores(usize, usize, usize),
    /// `blocks.{l}.attn.hook_pattern` of a head and a query: its keys `[t + 1]`.
    Pattern(usize, usize, usize),
    /// `blocks.{l}.attn.hook_z`: the heads' mixed values, before the output projection.
    Z(usize),
    /// `blocks.{l}.attn.hook_result`: what each head adds to the stream, without the bias and before a norm that
    /// follows. `[T, heads d]`
    Result(usize),
    /// `blocks.{l}.hook_attn_out`: what attention adds to the stream.
    AttnOut(usize),
    /// `blocks.{l}.hook_resid_mid`: the stream between attention and MLP.
    ResidMid(usize),
    /// `blocks.{l}.mlp.hook_pre`: into the activation.
    MlpPre(usize),
    /// `blocks.{l}.mlp.hook_post`: out of the activation.
    MlpPost(usize),
    /// `blocks.{l}.hook_mlp_out`: what the MLP adds to the stream.
    MlpOut(usize),
    /// `blocks.{l}.hook_resid_post`: the stream leaving the block, `h[l + 1]`.
    ResidPost(usize),
}

impl Site {
    /// Returns the block that the site belongs to; of embeddings and of the final norm, the first.
    pub const fn block(self) -> usize {
        match self {
            Self::Embed | Self::PosEmbed | Self::NormScale(Norm::Final) | Self::Normalized(Norm::Final) => 0,
            Self::NormScale(Norm::Attention(l) | Norm::Mlp(l)) => l,
            Self::Normalized(Norm::Attention(l) | Norm::Mlp(l)) => l,
            Self::ResidPre(l) | Self::Q(l) | Self::K(l) | Self::V(l) | Self::Z(l) | Self::Result(l) => l,
            Self::AttnOut(l) | Self::ResidMid(l) | Self::MlpOut(l) | Self::ResidPost(l) => l,
            Self::MlpPre(l) | Self::MlpPost(l) | Self::Scores(l, ..) | Self::Pattern(l, ..) => l,
        }
    }
}

/// A hook: called with a site and its values `[T, width]` right after they are computed; it may change them.
pub type Hook<'a, S> = dyn FnMut(Site, &mut [S]) + 'a;
