//! Places of patches that mean the same in every prompt: a site of a kind, and a token from the end or by its role.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use resolvent_model::{Sizes, from_end};

use crate::distinct::distinct;
use crate::error::{Error, Result};
use crate::site_kind::SiteKind;

/// Which patches at sites of one kind interact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interacting {
    /// At most so many, those with the largest first-order effects; they differ from prompt to prompt.
    Strongest(usize),
    /// Those at these places, in this order.
    At(Vec<PatchPlace>),
}

/// A place of a patch as text: `LEVEL,TOKEN` or `BLOCK,TOKEN`, and of heads `BLOCK,HEAD,TOKEN`.
///
/// Numbers may count from the end: -1 is the last. In place of the number of a token, there may be the name of a role,
/// whose last token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchPlace {
    /// Level or block, and head.
    site: Vec<i64>,
    token: Token,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Position(i64),
    Role(String),
}

impl Interacting {
    /// Returns places from their texts; a repeated one counts once.
    ///
    /// # Errors
    /// No text, or one that names none.
    pub fn at<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self> {
        let places = texts.into_iter().map(|text| text.as_ref().parse()).collect::<Result<Vec<PatchPlace>>>()?;
        match places.is_empty() {
            true => Err(Error::Input("interactions need one place or more".to_owned())),
            false => Ok(Self::At(distinct(places))),
        }
    }
}

impl PatchPlace {
    /// Returns the number of the patch among those of a kind, in a prompt of `tokens` tokens that has these roles.
    ///
    /// # Errors
    /// A place with another number of parts than the kind has, one outside of the model or the prompt, or a role that
    /// the prompt lacks.
    pub(super) fn patch(
        &self,
        (kind, sizes): (SiteKind, &Sizes),
        tokens: usize,
        roles: &BTreeMap<String, Range<usize>>,
    ) -> Result<usize> {
        let axes = kind.axes(sizes, tokens);
        if self.site.len() + 1 != axes.len() {
            let parts: Vec<String> = axes.iter().map(|axis| axis.0.to_uppercase()).collect();
            return Err(Error::Input(format!("invalid place `{self}`: a patch of {kind} is at {}", parts.join(","))));
        }
        let mut patch = 0;
        for (&(name, length), &at) in axes.iter().zip(&self.site) {
            patch = patch * length + from_end(name, at, length)?;
        }
        Ok(patch * tokens + self.token.position(tokens, roles)?)
    }
}

impl Token {
    fn position(&self, tokens: usize, roles: &BTreeMap<String, Range<usize>>) -> Result<usize> {
        let name = match self {
            Self::Position(at) => return Ok(from_end("token position", *at, tokens)?),
            Self::Role(name) => name,
        };
        match roles.get(name).filter(|range| !range.is_empty() && range.end <= tokens) {
            Some(range) => Ok(range.end - 1),
            None if roles.is_empty() => Err(Error::Input(format!(
                "no token has the role `{name}`: the prompt names no roles; give a position, or rows with roles"
            ))),
            None => {
                let known: Vec<&str> = roles.keys().map(String::as_str).collect();
                Err(Error::Input(format!("no token has the role `{name}`; the row's roles are {}", known.join(", "))))
            }
        }
    }
}

impl FromStr for PatchPlace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = || {
            let parts: Vec<&str> = text.split(',').map(str::trim).collect();
            let (token, site) = parts.split_last().filter(|(token, site)| !token.is_empty() && !site.is_empty())?;
            let site = site.iter().map(|part| part.parse().ok()).collect::<Option<Vec<i64>>>()?;
            let token = token.parse().map_or_else(|_| Token::Role((*token).to_owned()), Token::Position);
            Some(Self { site, token })
        };
        parsed().ok_or_else(|| {
            Error::Input(format!(
                "invalid place `{text}`: expected LEVEL,TOKEN such as 3,-1 or 3,subject, or BLOCK,HEAD,TOKEN of heads"
            ))
        })
    }
}

impl fmt::Display for PatchPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for at in &self.site {
            write!(f, "{at},")?;
        }
        match &self.token {
            Token::Position(at) => write!(f, "{at}"),
            Token::Role(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> PatchPlace {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn places_are_levels_or_heads_and_tokens() {
        let sizes = Sizes { layers: 3, d: 4, heads: 2, kv_heads: 2, d_head: 2, inner: 8, vocab: 9, n_ctx: 6 };
        let roles = BTreeMap::from([("subject".to_owned(), 1..4)]);
        let at = |text: &str, kind| place(text).patch((kind, &sizes), 6, &roles).map_err(|e| e.to_string());
        assert_eq!(at("2,-1", SiteKind::Resid), Ok(2 * 6 + 5));
        assert_eq!(at("-1, subject", SiteKind::Resid), Ok(3 * 6 + 3));
        assert_eq!(at("-1,1,0", SiteKind::Z), Ok((2 * 2 + 1) * 6));
        assert_eq!(place("-1, subject").to_string(), "-1,subject");
        assert_eq!(
            at("1,2", SiteKind::Z).expect_err("no head"),
            "invalid place `1,2`: a patch of z is at BLOCK,HEAD,TOKEN"
        );
        assert_eq!(
            at("1,object", SiteKind::Mid).expect_err("no role"),
            "no token has the role `object`; the row's roles are subject"
        );
        assert!(at("4,0", SiteKind::Resid).expect_err("no level").contains("level 4 is out of range"));
        assert!(at("0,6", SiteKind::Resid).expect_err("no token").contains("token position 6 is out of range"));
        for text in ["", "3", "3,", ",3", "x,3"] {
            let error = text.parse::<PatchPlace>().map(|_| ()).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("invalid place `{text}`: expected LEVEL,TOKEN")), "{error}");
        }
    }

    #[test]
    fn repeated_places_count_once() {
        let of = |texts: &[&str]| Interacting::at(texts.iter().copied());
        assert_eq!(of(&["1,2", "1, 2", "0,2"]).ok(), Some(Interacting::At(vec![place("1,2"), place("0,2")])));
        assert!(of(&[]).is_err());
    }
}
