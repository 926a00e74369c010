//! Green operators between chosen places, as linear maps: `G(to; from)`, stacked over places of the field.

use resolvent_model::{Linearization, Seed, Site, Source};

use crate::error::Result;
use crate::linear_map::LinearMap;
use crate::place::{Place, inside, shape};

/// The Green operator from some places of the field to others: `[from d] -> [to d]`, vectors of the places side by
/// side.
///
/// With one place on each side it is a block `G(l', t'; l, t)`. With all tokens of level L as `to` it is the operator
/// to the end of the stream.
pub struct Operator<'a> {
    linear: &'a Linearization<'a>,
    from: Vec<Place>,
    to: Vec<Place>,
}

impl<'a> Operator<'a> {
    /// Creates the operator from `from` to `to`.
    ///
    /// # Errors
    /// A place outside of the field.
    pub fn new(linear: &'a Linearization<'a>, from: &[Place], to: &[Place]) -> Result<Self> {
        for place in from.iter().chain(to) {
            inside(*place, linear.run())?;
        }
        Ok(Self { linear, from: from.to_vec(), to: to.to_vec() })
    }

    /// Returns the places of all tokens of a level.
    pub fn level(linear: &Linearization<'_>, level: usize) -> Vec<Place> {
        (0..linear.run().tokens().len()).map(|token| (level, token)).collect()
    }

    /// Returns the places of the sources.
    pub fn from(&self) -> &[Place] {
        &self.from
    }

    /// Returns the places at which responses are read.
    pub fn to(&self) -> &[Place] {
        &self.to
    }

    fn d(&self) -> usize {
        self.linear.run().model().sizes().d
    }

    fn site(&self, level: usize) -> Site {
        Site::level(level, self.linear.run().model().sizes())
    }

    /// Runs a pass and gathers its chunks at `places` into vectors of the places side by side.
    fn gather(
        &self,
        places: &[Place],
        count: usize,
        pass: impl FnOnce(&[Site], &mut dyn FnMut(resolvent_model::Chunk<'_>)) -> resolvent_model::Result<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let d = self.d();
        let mut levels: Vec<usize> = places.iter().map(|p| p.0).collect();
        levels.sort_unstable();
        levels.dedup();
        let sites: Vec<Site> = levels.iter().map(|&l| self.site(l)).collect();
        let mut out = vec![vec![0.0; places.len() * d]; count];
        pass(&sites, &mut |chunk| {
            for (i, &(level, token)) in places.iter().enumerate() {
                if let Some(row) = chunk.row(token, d).filter(|_| level == levels[chunk.site]) {
                    out[chunk.sequence][i * d..(i + 1) * d].copy_from_slice(row);
                }
            }
        })?;
        Ok(out)
    }
}

impl LinearMap for Operator<'_> {
    fn rows(&self) -> usize {
        self.to.len() * self.d()
    }

    fn columns(&self) -> usize {
        self.from.len() * self.d()
    }

    fn apply(&self, x: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let d = self.d();
        let source =
            |(&(level, token), s): (&Place, &[f32])| Source { site: self.site(level), token, vector: s.to_vec() };
        let sources: Vec<Vec<Source>> =
            x.iter().map(|x| self.from.iter().zip(x.chunks(d)).map(source).collect()).collect();
        self.gather(&self.to, x.len(), |sites, visit| self.linear.jvp_at(&sources, sites, visit))
    }

    fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let d = self.d();
        let seed = |(&(level, token), u): (&Place, &[f32])| Seed::Field { level, token, vector: u.to_vec() };
        let seeds: Vec<Vec<Seed>> = y.iter().map(|y| self.to.iter().zip(y.chunks(d)).map(seed).collect()).collect();
        self.gather(&self.from, y.len(), |sites, visit| self.linear.vjp_at(&seeds, sites, visit))
    }

    fn scratch(&self, count: usize) -> usize {
        let (_, tokens, d) = shape(self.linear.run());
        // Sources or seeds, and one level of a batch that is read back.
        4 * count * d * (self.from.len().max(self.to.len()) + tokens)
    }
}
