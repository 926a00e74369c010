//! Names of writers, readers and edges.

use std::fmt;
use std::str::FromStr;

use crate::arch::{Architecture, Sizes};
use crate::error::{Error, Result};
use crate::site::Site;

/// A node that adds a vector of length d to the residual stream at each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writer {
    /// `input`: the embedding, h\[0\].
    Embedding,
    /// `a{l}.h{h}`: a head of block l, through its part of the output projection, without the bias.
    Head(usize, usize),
    /// `m{l}`: the MLP of block l, with its bias.
    Mlp(usize),
}

impl Writer {
    /// Returns all writers of a model, in the order in which they write.
    pub fn all(sizes: &Sizes) -> Vec<Self> {
        let block = |l| (0..sizes.heads).map(move |h| Self::Head(l, h)).chain([Self::Mlp(l)]);
        [Self::Embedding].into_iter().chain((0..sizes.layers).flat_map(block)).collect()
    }

    /// Returns its index in [`Writer::all`].
    pub fn index(self, sizes: &Sizes) -> usize {
        let block = |l: usize| 1 + l * (sizes.heads + 1);
        match self {
            Self::Embedding => 0,
            Self::Head(l, h) => block(l) + h,
            Self::Mlp(l) => block(l) + sizes.heads,
        }
    }

    /// Returns the site where its output is added to the stream. All heads of a block share one.
    pub fn site(self) -> Site {
        match self {
            Self::Embedding => Site::ResidPre(0),
            Self::Head(l, _) => Site::AttnOut(l),
            Self::Mlp(l) => Site::MlpOut(l),
        }
    }

    /// Checks that the model has this block and head.
    fn check(self, sizes: &Sizes) -> Result<()> {
        match self {
            Self::Embedding => Ok(()),
            Self::Head(l, h) => Site::Z(l, h).check(sizes).map(|_| ()),
            Self::Mlp(l) => Site::MlpOut(l).check(sizes).map(|_| ()),
        }
    }
}

/// A node that reads the residual stream at each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reader {
    /// `a{l}.h{h}<q>`: the queries of head h of block l.
    Query(usize, usize),
    /// `a{l}.h{h}<k>`: the keys of key and value head h, which several heads may share.
    Key(usize, usize),
    /// `a{l}.h{h}<v>`: the values of key and value head h.
    Value(usize, usize),
    /// `m{l}`: the MLP of block l.
    Mlp(usize),
    /// `logits`: the final norm.
    Logits,
}

impl Reader {
    /// Returns all readers of a model: for each block the queries, keys and values of all heads and the MLP; then the
    /// logits.
    pub fn all(sizes: &Sizes) -> Vec<Self> {
        let block = |l| {
            let queries = (0..sizes.heads).map(move |h| Self::Query(l, h));
            let keys = (0..sizes.kv_heads).map(move |h| Self::Key(l, h));
            let values = (0..sizes.kv_heads).map(move |h| Self::Value(l, h));
            queries.chain(keys).chain(values).chain([Self::Mlp(l)])
        };
        (0..sizes.layers).flat_map(block).chain([Self::Logits]).collect()
    }

    /// Returns its index in [`Reader::all`].
    pub fn index(self, sizes: &Sizes) -> usize {
        let (heads, kv_heads) = (sizes.heads, sizes.kv_heads);
        let block = |l: usize| l * (heads + 2 * kv_heads + 1);
        match self {
            Self::Query(l, h) => block(l) + h,
            Self::Key(l, h) => block(l) + heads + h,
            Self::Value(l, h) => block(l) + heads + kv_heads + h,
            Self::Mlp(l) => block(l) + heads + 2 * kv_heads,
            Self::Logits => block(sizes.layers),
        }
    }

    /// Returns how many writers write before it: these are the first ones of [`Writer::all`].
    pub fn writers(self, model: &Architecture) -> usize {
        let sizes = &model.sizes;
        match self {
            Self::Query(l, _) | Self::Key(l, _) | Self::Value(l, _) => Writer::Head(l, 0).index(sizes),
            Self::Mlp(l) if model.parallel => Writer::Head(l, 0).index(sizes),
            Self::Mlp(l) => Writer::Mlp(l).index(sizes),
            Self::Logits => 1 + sizes.layers * (sizes.heads + 1),
        }
    }

    /// Returns the site that it reads.
    pub fn input(self, model: &Architecture) -> Site {
        match self {
            Self::Query(l, _) | Self::Key(l, _) | Self::Value(l, _) => Site::ResidPre(l),
            Self::Mlp(l) if model.parallel => Site::ResidPre(l),
            Self::Mlp(l) => Site::ResidMid(l),
            Self::Logits => Site::level(model.sizes.layers, &model.sizes),
        }
    }

    /// Returns the site that has what the reader computes of its input; `None` for the logits.
    pub fn output(self) -> Option<Site> {
        match self {
            Self::Query(l, h) => Some(Site::Q(l, h)),
            Self::Key(l, h) => Some(Site::K(l, h)),
            Self::Value(l, h) => Some(Site::V(l, h)),
            Self::Mlp(l) => Some(Site::MlpOut(l)),
            Self::Logits => None,
        }
    }
}

/// The direct path from a writer to a reader, at every token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Where the path starts.
    pub writer: Writer,
    /// Where it ends.
    pub reader: Reader,
}

impl Edge {
    /// Returns all edges of a model: reader by reader, as [`Reader::all`] lists them, each with all writers before it.
    pub fn all(model: &Architecture) -> Vec<Self> {
        let writers = Writer::all(&model.sizes);
        let of = |reader: Reader| {
            let before = writers[..reader.writers(model)].iter();
            before.map(move |&writer| Self { writer, reader }).collect::<Vec<Self>>()
        };
        Reader::all(&model.sizes).into_iter().flat_map(of).collect()
    }

    /// Checks that the model has this edge.
    ///
    /// # Errors
    /// A block or a head that the model lacks, or a writer that writes after the reader.
    pub fn check(self, model: &Architecture) -> Result<()> {
        self.writer.check(&model.sizes)?;
        self.reader.output().map_or(Ok(()), |site| site.check(&model.sizes).map(|_| ()))?;
        match self.writer.index(&model.sizes) < self.reader.writers(model) {
            true => Ok(()),
            false => Err(Error::Place(format!("{self}: {} does not write before {} reads", self.writer, self.reader))),
        }
    }
}

/// Returns the sites that runs need for everything in this module: the outputs of attention and of the MLPs.
pub fn path_sites(sizes: &Sizes) -> Vec<Site> {
    (0..sizes.layers).flat_map(|l| [Site::AttnOut(l), Site::MlpOut(l)]).collect()
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedding => f.write_str("input"),
            Self::Head(l, h) => write!(f, "a{l}.h{h}"),
            Self::Mlp(l) => write!(f, "m{l}"),
        }
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(l, h) => write!(f, "a{l}.h{h}<q>"),
            Self::Key(l, h) => write!(f, "a{l}.h{h}<k>"),
            Self::Value(l, h) => write!(f, "a{l}.h{h}<v>"),
            Self::Mlp(l) => write!(f, "m{l}"),
            Self::Logits => f.write_str("logits"),
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.writer, self.reader)
    }
}

/// Parses `a{l}.h{h}`.
fn head(text: &str) -> Option<(usize, usize)> {
    let (block, head) = text.strip_prefix('a')?.split_once(".h")?;
    Some((block.parse().ok()?, head.parse().ok()?))
}

/// Parses `m{l}`.
fn mlp(text: &str) -> Option<usize> {
    text.strip_prefix('m')?.parse().ok()
}

impl FromStr for Writer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let node = || match text {
            "input" => Some(Self::Embedding),
            _ => head(text).map(|(l, h)| Self::Head(l, h)).or_else(|| mlp(text).map(Self::Mlp)),
        };
        let invalid = || Error::Place(format!("invalid writer `{text}`: expected input, aL.hH or mL"));
        node().ok_or_else(invalid)
    }
}

impl FromStr for Reader {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let of_head = || {
            let (name, part) = text.strip_suffix('>')?.split_once('<')?;
            let (l, h) = head(name)?;
            match part {
                "q" => Some(Self::Query(l, h)),
                "k" => Some(Self::Key(l, h)),
                "v" => Some(Self::Value(l, h)),
                _ => None,
            }
        };
        let node = || match text {
            "logits" => Some(Self::Logits),
            _ => of_head().or_else(|| mlp(text).map(Self::Mlp)),
        };
        let expected = "expected aL.hH<q>, aL.hH<k>, aL.hH<v>, mL or logits";
        node().ok_or_else(|| Error::Place(format!("invalid reader `{text}`: {expected}")))
    }
}

impl FromStr for Edge {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid =
            || Error::Place(format!("invalid edge `{text}`: expected WRITER->READER, such as a0.h1->a2.h3<q>"));
        let (writer, reader) = text.split_once("->").ok_or_else(invalid)?;
        Ok(Self { writer: writer.trim().parse()?, reader: reader.trim().parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{gpt2_small, tiny};

    /// GPT-2 small has the 32 491 edges that papers on its circuits count.
    #[test]
    fn edges_of_gpt2_small() {
        assert_eq!(Edge::all(&gpt2_small().into()).len(), 32_491);
    }

    #[test]
    fn lists_and_indices_agree_and_names_round_trip() {
        let model: Architecture = tiny().into();
        let sizes = &model.sizes;
        for (i, writer) in Writer::all(sizes).into_iter().enumerate() {
            assert_eq!((writer.index(sizes), writer.to_string().parse().ok()), (i, Some(writer)));
        }
        for (i, reader) in Reader::all(sizes).into_iter().enumerate() {
            assert_eq!((reader.index(sizes), reader.to_string().parse().ok()), (i, Some(reader)));
        }
        for edge in Edge::all(&model) {
            assert!(edge.check(&model).is_ok(), "{edge}");
            assert_eq!(edge.to_string().parse().ok(), Some(edge));
        }
        for wrong in ["a0.h0->a0.h1<q>", "m0->m0", "a0.h9->logits", "m9->logits", "a0.h0->a9.h0<v>"] {
            assert!(wrong.parse::<Edge>().expect(wrong).check(&model).is_err(), "{wrong}");
        }
        for wrong in ["", "input", "a0.h0->", "x->logits", "a0->m1", "a0.h0->a1.h0<z>", "logits->m0"] {
            assert!(wrong.parse::<Edge>().is_err(), "{wrong}");
        }
    }
}
