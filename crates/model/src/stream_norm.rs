//! The norms that read the residual stream, by their TransformerLens names.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A norm that reads the residual stream, with its TransformerLens name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamNorm {
    /// `blocks.{l}.ln1`: before the queries, keys and values of block l.
    Attention(usize),
    /// `blocks.{l}.ln2`: before the MLP of block l.
    Mlp(usize),
    /// `ln_final`: before the unembedding.
    Final,
}

impl StreamNorm {
    /// Returns the block; `None` for the final norm.
    pub fn block(self) -> Option<usize> {
        match self {
            Self::Attention(l) | Self::Mlp(l) => Some(l),
            Self::Final => None,
        }
    }
}

impl fmt::Display for StreamNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attention(l) => write!(f, "blocks.{l}.ln1"),
            Self::Mlp(l) => write!(f, "blocks.{l}.ln2"),
            Self::Final => f.write_str("ln_final"),
        }
    }
}

impl FromStr for StreamNorm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let of_block = || {
            let (block, name) = text.strip_prefix("blocks.")?.split_once('.')?;
            let block = block.parse().ok()?;
            match name {
                "ln1" => Some(Self::Attention(block)),
                "ln2" => Some(Self::Mlp(block)),
                _ => None,
            }
        };
        let found = if text == "ln_final" { Some(Self::Final) } else { of_block() };
        found.ok_or_else(|| {
            Error::Place(format!("invalid norm `{text}`: expected blocks.L.ln1, blocks.L.ln2 or ln_final"))
        })
    }
}
