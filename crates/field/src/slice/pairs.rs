//! Causal pairs of places: the blocks of the Green operator that need computing, and their order.
//!
//! A pair is a source place (l, t) and a target place (l', t') with l' > l and t' >= t. All other blocks are known: G
//! is the identity at l' = l, t' = t, and zero otherwise. Pairs are sorted by source, level first, and then by target.

use std::ops::Range;

use resolvent_model::Run;

use crate::error::{Error, Result};
use crate::place::{Place, inside, shape};

/// Causal pairs between sources and targets.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacePairs {
    from: Vec<Place>,
    to: Vec<Place>,
    /// Index of the first pair of each source, then the number of all pairs.
    first: Vec<usize>,
    /// The selected sources and targets, as written to result files.
    chosen: [String; 2],
}

/// Returns whether G between two places is neither zero nor the identity.
fn reaches((level, token): Place, (to_level, to_token): Place) -> bool {
    to_level > level && to_token >= token
}

impl PlacePairs {
    /// Returns all causal pairs of a run's field, or those with source and target among the given places.
    ///
    /// # Errors
    /// A place outside of the field, or no causal pair.
    pub fn new(run: &Run, sources: Option<&[Place]>, targets: Option<&[Place]>) -> Result<Self> {
        let (levels, tokens, _) = shape(run);
        let chosen = |places: Option<&[Place]>| -> Result<Vec<Place>> {
            let mut places = match places {
                Some(places) => places.to_vec(),
                None => (0..levels).flat_map(|l| (0..tokens).map(move |t| (l, t))).collect(),
            };
            places.iter().try_for_each(|place| inside(*place, run))?;
            places.sort_unstable();
            places.dedup();
            Ok(places)
        };
        let (mut from, mut to) = (chosen(sources)?, chosen(targets)?);
        from.retain(|&source| to.iter().any(|&target| reaches(source, target)));
        to.retain(|&target| from.iter().any(|&source| reaches(source, target)));
        if from.is_empty() {
            return Err(Error::Input(
                "no source reaches a target: a pair needs a later level and the same or a later token; see --from, --to"
                    .to_owned(),
            ));
        }
        let mut first = vec![0];
        for &source in &from {
            let targets = to.iter().filter(|&&target| reaches(source, target)).count();
            first.push(first[first.len() - 1] + targets);
        }
        let listed = |places: Option<&[Place]>, of: &[Place]| match places {
            Some(_) => of.iter().map(|(l, t)| format!("{l},{t}")).collect::<Vec<_>>().join(" "),
            None => "all".to_owned(),
        };
        let chosen = [listed(sources, &from), listed(targets, &to)];
        Ok(Self { from, to, first, chosen })
    }

    /// Returns the sources of the pairs, in order.
    pub fn from(&self) -> &[Place] {
        &self.from
    }

    /// Returns the targets of the pairs, in order.
    pub fn to(&self) -> &[Place] {
        &self.to
    }

    /// Returns the selected sources and targets: places such as `3,4 3,5`, or `all`.
    pub(crate) fn chosen(&self) -> &[String; 2] {
        &self.chosen
    }

    /// Returns the number of pairs.
    pub fn len(&self) -> usize {
        self.first[self.from.len()]
    }

    /// Returns whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the pairs of some sources.
    pub(crate) fn of(&self, sources: &Range<usize>) -> Range<usize> {
        self.first[sources.start]..self.first[sources.end]
    }

    /// Returns the targets of a source as indices into [`PlacePairs::to`], in the order of its pairs.
    pub(crate) fn targets(&self, source: usize) -> impl Iterator<Item = usize> + '_ {
        let place = self.from[source];
        (0..self.to.len()).filter(move |&i| reaches(place, self.to[i]))
    }

    /// Returns source and target of a pair.
    pub fn get(&self, pair: usize) -> Option<(Place, Place)> {
        let source = self.first.partition_point(|&first| first <= pair).checked_sub(1)?;
        let from = *self.from.get(source)?;
        let target = self.targets(source).nth(pair - self.first[source])?;
        Some((from, self.to[target]))
    }

    /// Returns `(l', t', l, t)` for the pairs of some sources, one after another.
    pub(crate) fn rows(&self, sources: &Range<usize>) -> Vec<f32> {
        let each = sources.clone().flat_map(|i| self.targets(i).map(move |j| (self.from[i], self.to[j])));
        each.flat_map(|((l, t), (to_l, to_t))| [to_l as f32, to_t as f32, l as f32, t as f32]).collect()
    }
}
