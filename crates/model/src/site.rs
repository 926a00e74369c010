//! Sites: named values that can be edited, captured or given a source, with TransformerLens names.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use resolvent_engine::did_you_mean;

use crate::arch::Sizes;
use crate::error::{Error, Result};
use crate::stream_norm::StreamNorm;

/// A named value of the model, with one vector of length [`Site::width`] for each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// `hook_embed`: the row of the token, with the model's factor. Without learned positions it is h\[0\].  `[d]`
    Embed,
    /// `hook_pos_embed`: the row of the position, in models that learn positions.  `[d]`
    PosEmbed,
    /// `blocks.{l}.hook_resid_pre`: the field h\[l\], before block l.  `[d]`
    ResidPre(usize),
    /// `blocks.{l}.ln1.hook_scale`, `ln2` or `ln_final`: what a norm divides a row by, the root of the mean square plus
    /// epsilon, of a layer norm after its mean is subtracted.  `[1]`
    NormScale(StreamNorm),
    /// `blocks.{l}.ln1.hook_normalized`, `ln2` or `ln_final`: the row after that division, before gain and bias.  `[d]`
    Normalized(StreamNorm),
    /// `blocks.{l}.hook_resid_mid`: between attention and MLP of block l.  `[d]`
    ResidMid(usize),
    /// `blocks.{l}.hook_resid_post`: the field h\[l + 1\], after block l.  `[d]`
    ResidPost(usize),
    /// `blocks.{l}.hook_attn_out`: what attention adds to the residual stream.  `[d]`
    AttnOut(usize),
    /// `blocks.{l}.hook_mlp_out`: what the MLP adds to the residual stream.  `[d]`
    MlpOut(usize),
    /// `blocks.{l}.attn.hook_q[h]`: the queries of head h.  `[d_head]`
    Q(usize, usize),
    /// `blocks.{l}.attn.hook_k[h]`: its keys.  `[d_head]`
    K(usize, usize),
    /// `blocks.{l}.attn.hook_v[h]`: its values.  `[d_head]`
    V(usize, usize),
    /// `blocks.{l}.attn.hook_z[h]`: its output before the projection.  `[d_head]`
    Z(usize, usize),
    /// `blocks.{l}.attn.hook_result[h]`: what head h adds to the stream, without the bias and before a norm that
    /// follows.  `[d]`
    Result(usize, usize),
    /// `blocks.{l}.attn.hook_rot_q[h]`: the queries of head h after the rotary embedding.  `[d_head]`
    RotQ(usize, usize),
    /// `blocks.{l}.attn.hook_rot_k[h]`: the keys of head h after the rotary embedding.  `[d_head]`
    RotK(usize, usize),
    /// `blocks.{l}.attn.hook_attn_scores[h,k]`: the score that the query of head h gives to the key of token k, before
    /// the softmax. It takes edits only.  `[1]`
    AttnScores(usize, usize, usize),
    /// `blocks.{l}.attn.hook_pattern[h,k]`: the weight of that key, after the softmax. It takes edits only.  `[1]`
    Pattern(usize, usize, usize),
    /// `blocks.{l}.mlp.hook_pre`: into the activation of the MLP.  `[inner]`
    MlpPre(usize),
    /// `blocks.{l}.mlp.hook_pre_linear`: what the activation of a gated MLP multiplies.  `[inner]`
    MlpPreLinear(usize),
    /// `blocks.{l}.mlp.hook_post`: the neurons, out of the activation.  `[inner]`
    MlpPost(usize),
}

impl Site {
    /// Returns the block; of embeddings and of the final norm, the first.
    pub fn layer(self) -> usize {
        match self {
            Self::Embed | Self::PosEmbed => 0,
            Self::NormScale(norm) | Self::Normalized(norm) => norm.block().unwrap_or(0),
            Self::ResidPre(l) | Self::ResidMid(l) | Self::ResidPost(l) | Self::AttnOut(l) | Self::MlpOut(l) => l,
            Self::Q(l, _) | Self::K(l, _) | Self::V(l, _) | Self::Z(l, _) | Self::Result(l, _) => l,
            Self::RotQ(l, _) | Self::RotK(l, _) | Self::AttnScores(l, ..) | Self::Pattern(l, ..) => l,
            Self::MlpPre(l) | Self::MlpPreLinear(l) | Self::MlpPost(l) => l,
        }
    }

    /// Returns the head, at sites that have one.
    pub fn head(self) -> Option<usize> {
        match self {
            Self::Q(_, h) | Self::K(_, h) | Self::V(_, h) | Self::Z(_, h) | Self::Result(_, h) => Some(h),
            Self::RotQ(_, h) | Self::RotK(_, h) | Self::AttnScores(_, h, _) | Self::Pattern(_, h, _) => Some(h),
            _ => None,
        }
    }

    /// Returns the token of the key, at attention scores and patterns.
    pub fn key(self) -> Option<usize> {
        match self {
            Self::AttnScores(_, _, k) | Self::Pattern(_, _, k) => Some(k),
            _ => None,
        }
    }

    /// Returns the norm, at scales and normalized rows.
    pub fn norm(self) -> Option<StreamNorm> {
        match self {
            Self::NormScale(norm) | Self::Normalized(norm) => Some(norm),
            _ => None,
        }
    }

    /// Returns the site of the field h\[level\], for level 0 to L.
    pub fn level(level: usize, sizes: &Sizes) -> Self {
        if level == sizes.layers { Self::ResidPost(level - 1) } else { Self::ResidPre(level) }
    }

    /// Returns the length of the site's vector at one token.
    pub fn width(self, sizes: &Sizes) -> usize {
        match self {
            Self::MlpPre(_) | Self::MlpPreLinear(_) | Self::MlpPost(_) => sizes.inner,
            Self::AttnScores(..) | Self::Pattern(..) | Self::NormScale(_) => 1,
            Self::Result(..) => sizes.d,
            _ if self.head().is_some() => sizes.d_head,
            _ => sizes.d,
        }
    }

    /// Returns the site's columns in the value that contains it: heads lie side by side, and so do q, k, v.
    pub(crate) fn columns(self, sizes: &Sizes) -> Range<usize> {
        let d_head = sizes.d_head;
        let from = match self {
            Self::Q(_, h) | Self::RotQ(_, h) | Self::Z(_, h) => h * d_head,
            Self::K(_, h) | Self::RotK(_, h) => sizes.q_width() + h * d_head,
            Self::V(_, h) => sizes.q_width() + sizes.kv_width() + h * d_head,
            // Where positions are learned, the rows of tokens and of positions lie side by side.
            Self::PosEmbed => sizes.d,
            // The scale lies behind the centred row.
            Self::NormScale(_) => sizes.d,
            // Gate and up projection lie side by side.
            Self::MlpPreLinear(_) => sizes.inner,
            _ => 0,
        };
        from..from + self.width(sizes)
    }

    /// Checks that the model has this block and head.
    pub fn check(self, sizes: &Sizes) -> Result<Self> {
        let (layers, heads) = match self {
            Self::K(..) | Self::V(..) | Self::RotK(..) => (sizes.layers, sizes.kv_heads),
            _ => (sizes.layers, sizes.heads),
        };
        if self.layer() >= layers {
            return Err(Error::Place(format!("{self}: the model has blocks 0 to {}", layers - 1)));
        }
        if self.head().is_some_and(|h| h >= heads) {
            let kind = if heads == sizes.heads { "heads" } else { "key and value heads" };
            return Err(Error::Place(format!("{self}: the model has {kind} 0 to {}", heads - 1)));
        }
        Ok(self)
    }
}

impl Site {
    /// Returns why some models lack a site of this kind.
    pub(crate) fn missing(self) -> &'static str {
        match self {
            Self::ResidMid(_) => "attention and MLP of a block both read its input, so nothing lies between them",
            Self::RotQ(..) | Self::RotK(..) => "its attention there has no rotary embedding",
            Self::MlpPreLinear(_) => "its MLPs have no gate",
            Self::PosEmbed => "it learns no positions",
            Self::NormScale(_) | Self::Normalized(_) => "it has no norm there",
            _ => "its blocks have no such value",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("hook_embed"),
            Self::NormScale(norm) => write!(f, "{norm}.hook_scale"),
            Self::Normalized(norm) => write!(f, "{norm}.hook_normalized"),
            Self::PosEmbed => f.write_str("hook_pos_embed"),
            Self::ResidPre(l) => write!(f, "blocks.{l}.hook_resid_pre"),
            Self::ResidMid(l) => write!(f, "blocks.{l}.hook_resid_mid"),
            Self::ResidPost(l) => write!(f, "blocks.{l}.hook_resid_post"),
            Self::AttnOut(l) => write!(f, "blocks.{l}.hook_attn_out"),
            Self::MlpOut(l) => write!(f, "blocks.{l}.hook_mlp_out"),
            Self::Q(l, h) => write!(f, "blocks.{l}.attn.hook_q[{h}]"),
            Self::K(l, h) => write!(f, "blocks.{l}.attn.hook_k[{h}]"),
            Self::V(l, h) => write!(f, "blocks.{l}.attn.hook_v[{h}]"),
            Self::Z(l, h) => write!(f, "blocks.{l}.attn.hook_z[{h}]"),
            Self::Result(l, h) => write!(f, "blocks.{l}.attn.hook_result[{h}]"),
            Self::RotQ(l, h) => write!(f, "blocks.{l}.attn.hook_rot_q[{h}]"),
            Self::RotK(l, h) => write!(f, "blocks.{l}.attn.hook_rot_k[{h}]"),
            Self::AttnScores(l, h, k) => write!(f, "blocks.{l}.attn.hook_attn_scores[{h},{k}]"),
            Self::Pattern(l, h, k) => write!(f, "blocks.{l}.attn.hook_pattern[{h},{k}]"),
            Self::MlpPreLinear(l) => write!(f, "blocks.{l}.mlp.hook_pre_linear"),
            Self::MlpPre(l) => write!(f, "blocks.{l}.mlp.hook_pre"),
            Self::MlpPost(l) => write!(f, "blocks.{l}.mlp.hook_post"),
        }
    }
}

/// Returns the names of all sites of the block and of the head that a mistyped name contains.
fn alike(text: &str) -> Vec<String> {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    let numbers: Vec<usize> = numbers.take(3).collect();
    let [l, h, k] = [0, 1, 2].map(|i| numbers.get(i).copied().unwrap_or(0));
    let all = [
        Site::Embed,
        Site::PosEmbed,
        Site::NormScale(StreamNorm::Attention(l)),
        Site::Normalized(StreamNorm::Attention(l)),
        Site::NormScale(StreamNorm::Mlp(l)),
        Site::Normalized(StreamNorm::Mlp(l)),
        Site::NormScale(StreamNorm::Final),
        Site::Normalized(StreamNorm::Final),
        Site::ResidPre(l),
        Site::ResidMid(l),
        Site::ResidPost(l),
        Site::AttnOut(l),
        Site::MlpOut(l),
        Site::Q(l, h),
        Site::K(l, h),
        Site::V(l, h),
        Site::Z(l, h),
        Site::Result(l, h),
        Site::RotQ(l, h),
        Site::RotK(l, h),
        Site::AttnScores(l, h, k),
        Site::Pattern(l, h, k),
        Site::MlpPreLinear(l),
        Site::MlpPre(l),
        Site::MlpPost(l),
    ];
    all.map(|site| site.to_string()).into()
}

impl FromStr for Site {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            let known = alike(text);
            let meant = did_you_mean(text, known.iter().map(String::as_str));
            Error::Place(format!(
                "invalid site `{text}`: expected blocks.L.hook_resid_pre (or _mid, _post, hook_attn_out, hook_mlp_out), \
                 blocks.L.attn.hook_z[H] (or q, k, v, rot_q, rot_k, result), blocks.L.attn.hook_pattern[H,KEY] (or attn_scores), \
                 blocks.L.mlp.hook_post (or _pre, _pre_linear), blocks.L.ln1.hook_scale (or ln2, hook_normalized), \
                 ln_final.hook_scale (or hook_normalized), hook_embed or hook_pos_embed{meant}"
            ))
        };
        match text {
            "hook_embed" => return Ok(Self::Embed),
            "hook_pos_embed" => return Ok(Self::PosEmbed),
            _ => {}
        }
        for (hook, of) in
            [(".hook_scale", Self::NormScale as fn(StreamNorm) -> Self), (".hook_normalized", Self::Normalized)]
        {
            if let Some(norm) = text.strip_suffix(hook) {
                return norm.parse().map(of).map_err(|_| unknown());
            }
        }
        let rest = text.strip_prefix("blocks.").ok_or_else(unknown)?;
        let (layer, name) = rest.split_once('.').ok_or_else(unknown)?;
        let layer = layer.parse().map_err(|_| unknown())?;
        let head = || -> Option<(&str, usize)> {
            let (name, head) = name.strip_prefix("attn.")?.strip_suffix(']')?.split_once('[')?;
            Some((name, head.parse().ok()?))
        };
        let key = || -> Option<(&str, usize, usize)> {
            let (name, both) = name.strip_prefix("attn.")?.strip_suffix(']')?.split_once('[')?;
            let (head, key) = both.split_once(',')?;
            Some((name, head.parse().ok()?, key.trim_start().parse().ok()?))
        };
        match key() {
            Some(("hook_attn_scores", h, k)) => return Ok(Self::AttnScores(layer, h, k)),
            Some(("hook_pattern", h, k)) => return Ok(Self::Pattern(layer, h, k)),
            _ => {}
        }
        match (name, head()) {
            ("hook_resid_pre", _) => Ok(Self::ResidPre(layer)),
            ("hook_resid_mid", _) => Ok(Self::ResidMid(layer)),
            ("hook_resid_post", _) => Ok(Self::ResidPost(layer)),
            ("hook_attn_out", _) => Ok(Self::AttnOut(layer)),
            ("hook_mlp_out", _) => Ok(Self::MlpOut(layer)),
            (_, Some(("hook_rot_q", h))) => Ok(Self::RotQ(layer, h)),
            (_, Some(("hook_rot_k", h))) => Ok(Self::RotK(layer, h)),
            ("mlp.hook_pre_linear", _) => Ok(Self::MlpPreLinear(layer)),
            ("mlp.hook_pre", _) => Ok(Self::MlpPre(layer)),
            ("mlp.hook_post", _) => Ok(Self::MlpPost(layer)),
            (_, Some(("hook_q", h))) => Ok(Self::Q(layer, h)),
            (_, Some(("hook_k", h))) => Ok(Self::K(layer, h)),
            (_, Some(("hook_v", h))) => Ok(Self::V(layer, h)),
            (_, Some(("hook_z", h))) => Ok(Self::Z(layer, h)),
            (_, Some(("hook_result", h))) => Ok(Self::Result(layer, h)),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let sites = [Site::ResidPre(0), Site::ResidMid(11), Site::ResidPost(3), Site::AttnOut(1), Site::MlpOut(2)];
        for site in
            sites.into_iter().chain([Site::Q(0, 1), Site::K(1, 0), Site::V(2, 7), Site::Z(10, 11)].into_iter().chain([
                Site::MlpPre(3),
                Site::MlpPost(4),
                Site::MlpPreLinear(0),
                Site::RotQ(1, 2),
                Site::RotK(3, 0),
                Site::AttnScores(0, 3, 12),
                Site::Pattern(11, 0, 7),
                Site::Result(2, 5),
                Site::Embed,
                Site::PosEmbed,
                Site::NormScale(StreamNorm::Attention(2)),
                Site::NormScale(StreamNorm::Final),
                Site::Normalized(StreamNorm::Mlp(11)),
            ]))
        {
            assert_eq!(site.to_string().parse::<Site>().ok(), Some(site));
        }
        for wrong in [
            "blocks.x.hook_resid_pre",
            "blocks.1.attn.hook_z",
            "hook_embeds",
            "blocks.1.attn.hook_result",
            "blocks.1.attn.hook_z[x]",
            "blocks.1.attn.hook_pattern[2]",
        ] {
            assert!(wrong.parse::<Site>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn mistyped_sites_are_recognised() {
        for (typed, meant) in [
            ("blocks.3.hook_residpre", "blocks.3.hook_resid_pre"),
            ("block.7.hook_mlp_out", "blocks.7.hook_mlp_out"),
            ("blocks.1.attn.hook_z", "blocks.1.attn.hook_z[0]"),
            ("blocks.2.atn.hook_q[11]", "blocks.2.attn.hook_q[11]"),
            ("blocks.1.ln_2.hook_scale", "blocks.1.ln2.hook_scale"),
            ("ln_f.hook_normalized", "ln_final.hook_normalized"),
        ] {
            let error = typed.parse::<Site>().expect_err("misspelt").to_string();
            assert!(error.ends_with(&format!("; did you mean `{meant}`?")), "{error}");
        }
        let error = "attention".parse::<Site>().expect_err("no site").to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }
}
