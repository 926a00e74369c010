//! Frames: the vectors of a basis at each place of the field.

use crate::error::{Error, Result};
use crate::place::Place;

/// `rank` vectors of width d at every place: one set for the whole field, one for each level, or one for each place.
#[derive(Clone, Debug, PartialEq)]
pub struct Frames {
    rank: usize,
    d: usize,
    by: By,
    /// Sets one after another, `[sets, rank, d]`.
    vectors: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq)]
enum By {
    Field,
    Level,
    /// Places in ascending order.
    Place(Vec<Place>),
}

impl Frames {
    /// Creates frames with the same vectors `[rank, d]` at every place.
    pub fn everywhere(rank: usize, vectors: Vec<f32>) -> Self {
        Self { rank, d: vectors.len() / rank.max(1), by: By::Field, vectors }
    }

    /// Creates frames from vectors `[L+1, rank, d]`, one set for each level.
    pub(crate) fn by_level(rank: usize, d: usize, vectors: Vec<f32>) -> Self {
        Self { rank, d, by: By::Level, vectors }
    }

    /// Creates frames from vectors `[places, rank, d]`, one set for each of `places`, which are in ascending order.
    pub(crate) fn by_place(rank: usize, d: usize, places: &[Place], vectors: Vec<f32>) -> Self {
        debug_assert!(places.is_sorted(), "places are looked up by their order");
        Self { rank, d, by: By::Place(places.to_vec()), vectors }
    }

    /// Returns the number of vectors at each place.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the width of each vector.
    pub fn width(&self) -> usize {
        self.d
    }

    /// Returns whether all places of a level have the same vectors.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self.by, By::Place(_))
    }

    /// Returns the vectors `[rank, d]` at a place.
    ///
    /// # Errors
    /// The basis has no vectors at this place.
    pub fn at(&self, (level, token): Place) -> Result<&[f32]> {
        let set = match &self.by {
            By::Field => Some(0),
            By::Level => Some(level),
            By::Place(places) => places.binary_search(&(level, token)).ok(),
        };
        let size = self.rank * self.d;
        set.and_then(|set| self.vectors.get(set * size..(set + 1) * size))
            .ok_or_else(|| Error::Input(format!("the basis has no vectors at {level},{token}")))
    }

    /// Returns the size of all vectors in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        4 * self.vectors.len() as u64
    }

    /// Returns the BLAKE3 hash of all vectors and of their places, in 64 hexadecimal digits.
    pub(crate) fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{} {} {:?}", self.rank, self.d, self.by).as_bytes());
        hasher.update(bytemuck::cast_slice(&self.vectors));
        hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_own_vectors() {
        let range = |n: usize| (0..n).map(|i| i as f32).collect::<Vec<f32>>();
        let everywhere = Frames::everywhere(2, range(6));
        assert_eq!((everywhere.width(), everywhere.at((7, 9)).expect("everywhere")), (3, &range(6)[..]));
        let level = Frames::by_level(2, 1, range(6));
        assert_eq!(level.at((2, 5)).expect("a level"), [4.0, 5.0]);
        assert!(level.at((3, 0)).is_err() && level.is_shared());
        let place = Frames::by_place(1, 2, &[(0, 3), (1, 0)], range(4));
        assert_eq!(place.at((1, 0)).expect("a place"), [2.0, 3.0]);
        assert!(place.at((0, 0)).is_err() && !place.is_shared());
        assert_ne!(everywhere.hash(), Frames::everywhere(3, range(6)).hash());
    }
}
