//! Null models of a study: what the same analyses find where training, or the pairing of prompts, has been undone.

use std::path::{Path, PathBuf};

use resolvent_model::{Replacement, TokenPair};

/// A null, in which one thing is undone and all others stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Null {
    /// A model of the same shape with weights as before training.
    Random,
    /// The model with the elements of each of its matrices in random order.
    Permuted,
    /// The model itself, on pairs of prompts that do not belong together.
    Shuffled,
}

impl Null {
    /// All nulls, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Random, Self::Permuted, Self::Shuffled];

    /// Returns the name, which is also that of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Permuted => "permuted",
            Self::Shuffled => "shuffled",
        }
    }

    /// Returns its folder below that of the study.
    pub(super) fn folder(self, study: &Path) -> PathBuf {
        study.join("nulls").join(self.name())
    }

    /// Returns the null in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Random => "random weights",
            Self::Permuted => "permuted weights",
            Self::Shuffled => "shuffled pairs",
        }
    }

    /// Returns the replacement of the weights; `None` if the null has the weights of the model.
    pub fn replacement(self, seed: u64) -> Option<Replacement> {
        match self {
            Self::Random => Some(Replacement::Random { seed }),
            Self::Permuted => Some(Replacement::Permuted { seed }),
            Self::Shuffled => None,
        }
    }
}

/// Returns the pairs with the corrupted prompts moved on: each clean prompt gets the corrupted prompt of the next pair
/// of the same length, in a cycle. J stays that of the clean prompt. Pairs without such a partner are left out.
pub(super) fn shuffled(pairs: &[TokenPair]) -> Vec<TokenPair> {
    let partner = |i: usize| {
        let own = &pairs[i];
        let later = (1..pairs.len()).map(|step| &pairs[(i + step) % pairs.len()].corrupted);
        later.filter(|c| c.len() == own.clean.len()).find(|&c| *c != own.clean && *c != own.corrupted)
    };
    let each = pairs.iter().enumerate();
    each.filter_map(|(i, pair)| Some(TokenPair { corrupted: partner(i)?.clone(), ..pair.clone() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use resolvent_model::Observable;

    #[test]
    fn shuffled_pairs_do_not_belong_together() {
        let pair = |clean: &[u32], corrupted: &[u32]| TokenPair {
            clean: clean.to_vec(),
            corrupted: corrupted.to_vec(),
            observable: Observable::logit_diff(clean[0], corrupted[0], clean.len() - 1),
        };
        // The third pair has the length of no other, and the corrupted prompt of the last is the first one's clean
        // prompt.
        let pairs =
            [pair(&[1, 2], &[3, 2]), pair(&[4, 2], &[5, 2]), pair(&[1, 2, 3], &[2, 2, 3]), pair(&[6, 2], &[1, 2])];
        let found = shuffled(&pairs);
        let corrupted: Vec<u32> = found.iter().map(|pair| pair.corrupted[0]).collect();
        assert_eq!(corrupted, [5, 1, 3]);
        assert_eq!(found[0].observable, pairs[0].observable);
        assert!(shuffled(&pairs[..1]).is_empty());
    }

    #[test]
    fn names_are_distinct() {
        let [a, b, c] = Null::ALL;
        assert!(a.name() != b.name() && b.name() != c.name() && a.words() != b.words());
        assert!(a.replacement(3).is_some_and(|r| r.to_string() == "random:3") && c.replacement(0).is_none());
    }
}
