//! Names of one site or of several: all heads of a block, or all keys of a head.

use std::fmt;
use std::str::FromStr;

use crate::arch::Sizes;
use crate::error::{Error, Result};
use crate::site::Site;

/// A site, the sites of all heads of a block, or those of all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sites {
    /// One site.
    One(Site),
    /// All heads, such as `blocks.3.attn.hook_z`: the site of head 0.
    Heads(Site),
    /// All keys of one head, such as `blocks.3.attn.hook_pattern[5]`: the site of its key 0.
    Keys(Site),
    /// All keys of all heads, such as `blocks.3.attn.hook_pattern`: the site of key 0 of head 0.
    HeadKeys(Site),
}

impl Sites {
    /// Returns the sites in a model: one for each head, of which keys have that of key 0.
    pub fn all(self, sizes: &Sizes) -> Vec<Site> {
        let of_heads = |of: &dyn Fn(usize) -> Site| (0..sizes.heads).map(of).collect();
        let of_keys = |of: &dyn Fn(usize) -> Site| (0..sizes.kv_heads).map(of).collect();
        match self {
            Self::One(site) | Self::Keys(site) => vec![site],
            Self::HeadKeys(Site::AttnScores(l, ..)) => of_heads(&|h| Site::AttnScores(l, h, 0)),
            Self::HeadKeys(first) => of_heads(&|h| Site::Pattern(first.layer(), h, 0)),
            Self::Heads(first) => match first {
                Site::Q(l, _) => of_heads(&|h| Site::Q(l, h)),
                Site::RotQ(l, _) => of_heads(&|h| Site::RotQ(l, h)),
                Site::K(l, _) => of_keys(&|h| Site::K(l, h)),
                Site::RotK(l, _) => of_keys(&|h| Site::RotK(l, h)),
                Site::V(l, _) => of_keys(&|h| Site::V(l, h)),
                Site::Result(l, _) => of_heads(&|h| Site::Result(l, h)),
                _ => of_heads(&|h| Site::Z(first.layer(), h)),
            },
        }
    }

    /// Returns whether each site is all keys of a head.
    pub fn has_keys(self) -> bool {
        matches!(self, Self::Keys(_) | Self::HeadKeys(_))
    }
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(site) => site.fmt(f),
            Self::Heads(first) => f.write_str(first.to_string().trim_end_matches("[0]")),
            Self::Keys(first) => f.write_str(&first.to_string().replace(",0]", "]")),
            Self::HeadKeys(first) => f.write_str(first.to_string().trim_end_matches("[0,0]")),
        }
    }
}

impl FromStr for Sites {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let failure = match text.parse::<Site>() {
            Ok(site) => return Ok(Self::One(site)),
            Err(failure) => failure,
        };
        let with = |name: String, of: fn(Site) -> Self| name.parse().ok().map(of);
        let heads = with(format!("{text}[0]"), Self::Heads).or_else(|| with(format!("{text}[0,0]"), Self::HeadKeys));
        let keys = || with(format!("{},0]", text.strip_suffix(']')?), Self::Keys);
        heads.or_else(keys).ok_or(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Architecture;
    use crate::random::tiny;

    #[test]
    fn names_round_trip_and_have_their_sites() {
        let sizes = *Architecture::from(tiny()).sizes();
        for (name, first, many) in [
            ("blocks.1.hook_mlp_out", "blocks.1.hook_mlp_out", 1),
            ("blocks.1.attn.hook_z[1]", "blocks.1.attn.hook_z[1]", 1),
            ("blocks.1.attn.hook_rot_q", "blocks.1.attn.hook_rot_q[0]", sizes.heads),
            ("blocks.0.attn.hook_result", "blocks.0.attn.hook_result[0]", sizes.heads),
            ("hook_embed", "hook_embed", 1),
            ("blocks.0.attn.hook_v", "blocks.0.attn.hook_v[0]", sizes.kv_heads),
            ("blocks.2.attn.hook_pattern[1,7]", "blocks.2.attn.hook_pattern[1,7]", 1),
            ("blocks.2.attn.hook_pattern[1]", "blocks.2.attn.hook_pattern[1,0]", 1),
            ("blocks.2.attn.hook_attn_scores", "blocks.2.attn.hook_attn_scores[0,0]", sizes.heads),
        ] {
            let sites: Sites = name.parse().unwrap_or_else(|e| panic!("{e}"));
            let all = sites.all(&sizes);
            assert_eq!((sites.to_string(), all[0].to_string(), all.len()), (name.to_owned(), first.to_owned(), many));
            assert_eq!(sites.has_keys(), first != name && first.contains(','), "{name}");
        }
        assert!("blocks.1.hook_zz".parse::<Sites>().is_err() && "blocks.1.attn.hook_z[x]".parse::<Sites>().is_err());
    }
}
