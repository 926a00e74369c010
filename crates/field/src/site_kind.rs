//! Kinds of sites that a sweep can patch.

use std::fmt;
use std::str::FromStr;

use resolvent_engine::did_you_mean;
use resolvent_model::{Site, Sizes, StreamNorm};

use crate::error::{Error, Result};

/// One site of every block (or between blocks), at every token, and at every head if it has heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SiteKind {
    /// The field h\[0\] to h\[L\].  `[L+1, T]`
    Resid,
    /// `hook_resid_mid`, between attention and MLP.  `[L, T]`
    Mid,
    /// `hook_attn_out`, what attention adds.  `[L, T]`
    AttnOut,
    /// `hook_mlp_out`, what the MLP adds.  `[L, T]`
    MlpOut,
    /// `ln1.hook_scale`, what the norm before attention divides by.  `[L, T]`
    Ln1Scale,
    /// `ln2.hook_scale`, what the norm before the MLP divides by.  `[L, T]`
    Ln2Scale,
    /// `ln1.hook_normalized`, the row after that division, before gain and bias.  `[L, T]`
    Ln1Normalized,
    /// `ln2.hook_normalized`, the same before the MLP.  `[L, T]`
    Ln2Normalized,
    /// `hook_q` of each head.  `[L, H, T]`
    Q,
    /// `hook_k` of each key and value head.  `[L, H, T]`
    K,
    /// `hook_v` of each key and value head.  `[L, H, T]`
    V,
    /// `hook_rot_q` of each head: its queries after the rotary embedding.  `[L, H, T]`
    RotQ,
    /// `hook_rot_k` of each key and value head: its keys after the rotary embedding.  `[L, H, T]`
    RotK,
    /// `hook_z` of each head: its output before the projection.  `[L, H, T]`
    Z,
    /// `hook_pattern` of each head: the weights of all keys that a query sees.  `[L, H, T]`
    Pattern,
    /// `mlp.hook_pre`, into the activation of the MLP.  `[L, T]`
    MlpPre,
    /// `mlp.hook_pre_linear`, what the activation of a gated MLP multiplies.  `[L, T]`
    MlpPreLinear,
    /// `mlp.hook_post`, the neurons: out of the activation.  `[L, T]`
    MlpPost,
}

impl SiteKind {
    /// All kinds.
    pub const ALL: [Self; 18] = [
        Self::Resid,
        Self::Mid,
        Self::AttnOut,
        Self::MlpOut,
        Self::Ln1Scale,
        Self::Ln2Scale,
        Self::Ln1Normalized,
        Self::Ln2Normalized,
        Self::Q,
        Self::K,
        Self::V,
        Self::RotQ,
        Self::RotK,
        Self::Z,
        Self::Pattern,
        Self::MlpPre,
        Self::MlpPreLinear,
        Self::MlpPost,
    ];

    /// Returns its name on the command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resid => "resid",
            Self::Mid => "mid",
            Self::AttnOut => "attn_out",
            Self::MlpOut => "mlp_out",
            Self::Ln1Scale => "ln1_scale",
            Self::Ln2Scale => "ln2_scale",
            Self::Ln1Normalized => "ln1_normalized",
            Self::Ln2Normalized => "ln2_normalized",
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::RotQ => "rot_q",
            Self::RotK => "rot_k",
            Self::Z => "z",
            Self::Pattern => "pattern",
            Self::MlpPre => "pre",
            Self::MlpPreLinear => "pre_linear",
            Self::MlpPost => "post",
        }
    }

    /// Returns its sites, in the order of its axes without the token. A pattern acts through the output of its head,
    /// whose site it has.
    pub fn sites(self, sizes: &Sizes) -> Vec<Site> {
        let blocks = 0..sizes.layers;
        let heads = |of: fn(usize, usize) -> Site| {
            blocks.clone().flat_map(|l| (0..self.heads(sizes)).map(move |h| of(l, h))).collect()
        };
        match self {
            Self::Resid => (0..=sizes.layers).map(|level| Site::level(level, sizes)).collect(),
            Self::Mid => blocks.map(Site::ResidMid).collect(),
            Self::AttnOut => blocks.map(Site::AttnOut).collect(),
            Self::MlpOut => blocks.map(Site::MlpOut).collect(),
            Self::Ln1Scale => blocks.map(|l| Site::NormScale(StreamNorm::Attention(l))).collect(),
            Self::Ln2Scale => blocks.map(|l| Site::NormScale(StreamNorm::Mlp(l))).collect(),
            Self::Ln1Normalized => blocks.map(|l| Site::Normalized(StreamNorm::Attention(l))).collect(),
            Self::Ln2Normalized => blocks.map(|l| Site::Normalized(StreamNorm::Mlp(l))).collect(),
            Self::MlpPre => blocks.map(Site::MlpPre).collect(),
            Self::MlpPreLinear => blocks.map(Site::MlpPreLinear).collect(),
            Self::MlpPost => blocks.map(Site::MlpPost).collect(),
            Self::Q => heads(Site::Q),
            Self::K => heads(Site::K),
            Self::V => heads(Site::V),
            Self::RotQ => heads(Site::RotQ),
            Self::RotK => heads(Site::RotK),
            Self::Z | Self::Pattern => heads(Site::Z),
        }
    }

    /// Returns the number of heads of a block at this kind of site: several query heads may share keys and values.
    fn heads(self, sizes: &Sizes) -> usize {
        if matches!(self, Self::K | Self::V | Self::RotK) { sizes.kv_heads } else { sizes.heads }
    }

    /// Returns the axes of an array with one value for each site and token.
    pub fn axes(self, sizes: &Sizes, tokens: usize) -> Vec<(&'static str, usize)> {
        match self {
            Self::Resid => vec![("level", sizes.layers + 1), ("token", tokens)],
            Self::Q | Self::K | Self::V | Self::RotQ | Self::RotK | Self::Z | Self::Pattern => {
                vec![("block", sizes.layers), ("head", self.heads(sizes)), ("token", tokens)]
            }
            _ => vec![("block", sizes.layers), ("token", tokens)],
        }
    }

    /// Returns the names of the arrays that a patch sweep writes: effect, and first-order prediction.
    pub fn arrays(self) -> [&'static str; 2] {
        match self {
            Self::Resid => ["effect", "first_order"],
            Self::Mid => ["effect.mid", "first_order.mid"],
            Self::AttnOut => ["effect.attn_out", "first_order.attn_out"],
            Self::MlpOut => ["effect.mlp_out", "first_order.mlp_out"],
            Self::Ln1Scale => ["effect.ln1_scale", "first_order.ln1_scale"],
            Self::Ln2Scale => ["effect.ln2_scale", "first_order.ln2_scale"],
            Self::Ln1Normalized => ["effect.ln1_normalized", "first_order.ln1_normalized"],
            Self::Ln2Normalized => ["effect.ln2_normalized", "first_order.ln2_normalized"],
            Self::Q => ["effect.q", "first_order.q"],
            Self::K => ["effect.k", "first_order.k"],
            Self::V => ["effect.v", "first_order.v"],
            Self::RotQ => ["effect.rot_q", "first_order.rot_q"],
            Self::RotK => ["effect.rot_k", "first_order.rot_k"],
            Self::Z => ["effect.z", "first_order.z"],
            Self::Pattern => ["effect.pattern", "first_order.pattern"],
            Self::MlpPre => ["effect.pre", "first_order.pre"],
            Self::MlpPreLinear => ["effect.pre_linear", "first_order.pre_linear"],
            Self::MlpPost => ["effect.post", "first_order.post"],
        }
    }
}

impl fmt::Display for SiteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Sites that a sweep does not patch because another kind has the same patches, by their names, with what to do.
const SAME_PATCHES: [(&str, &str); 3] = [
    ("embed", "a token has the same position in both prompts, so patch resid, whose level 0 is the same"),
    ("pos_embed", "it is the same in both prompts, so its patches change nothing; leave it out"),
    ("result", "what a head adds follows from its z, so patch z"),
];

impl FromStr for SiteKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let same = SAME_PATCHES.iter().find(|(name, _)| text.strip_prefix("hook_").unwrap_or(text) == *name);
            if let Some((_, instead)) = same {
                return Error::Input(format!("invalid kind of site `{text}`: {instead}"));
            }
            let names = Self::ALL.map(Self::name).join(", ");
            let meant = did_you_mean(text, Self::ALL.map(Self::name));
            Error::Input(format!("invalid kind of site `{text}`: expected one of {names}{meant}"))
        })
    }
}
