//! Parts of numbered work, each for one process.

use crate::error::{Error, Result};

/// The part of one process of several in numbered work, such as shards: numbers with the remainder `index`, divided by
/// `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which process, from 0.
    pub index: usize,
    /// How many processes.
    pub of: usize,
}

impl Part {
    /// All work, for the only process.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Returns the numbers of its shards or steps, of `shards` in all.
    pub fn shards(self, shards: usize) -> impl ExactSizeIterator<Item = usize> {
        (self.index..shards).step_by(self.of)
    }
}

impl std::str::FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            Some((_, of)) if of > 0 => Err(Error::Input(format!(
                "invalid part `{text}`: parts count from 0, so the last of {of} is {}/{of}",
                of - 1
            ))),
            _ => Err(Error::Input(format!("invalid part `{text}`: expected I/N, such as 0/4"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_all_shards() {
        let part = |text: &str| text.parse::<Part>().map_err(|e| e.to_string());
        assert_eq!(part("0/1"), Ok(Part::WHOLE));
        assert_eq!(part("1/3").expect("a part").shards(8).collect::<Vec<_>>(), [1, 4, 7]);
        let mut all: Vec<usize> = (0..3).flat_map(|index| Part { index, of: 3 }.shards(8)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..8).collect::<Vec<_>>());
        // More processes than shards: the last ones have nothing to do.
        assert_eq!(Part { index: 8, of: 9 }.shards(8).len(), 0);
        assert!(part("3/3").is_err_and(|e| e.contains("the last of 3 is 2/3")));
        for text in ["1", "a/2", "1/0", "-1/2", "1/2/3"] {
            assert!(part(text).is_err_and(|e| e.contains("expected I/N")), "{text}");
        }
    }
}
