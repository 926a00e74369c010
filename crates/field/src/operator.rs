//! Green operators between chosen places, as linear maps: `G(to; from)`, stacked over places of the field.

use std::collections::BTreeSet;

use resolvent_model::{Chunk, Linearization, Mode, Seed, SeededRun, Site, Source, SourcedRun, jvp_of, vjp_of};

use crate::distinct::distinct;
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

    /// Returns sources at the places `from` for each x.
    fn sources(&self, x: &[Vec<f32>]) -> Vec<Vec<Source>> {
        let source =
            |(&(level, token), s): (&Place, &[f32])| Source { site: self.site(level), token, vector: s.to_vec() };
        x.iter().map(|x| self.from.iter().zip(x.chunks(self.d())).map(source).collect()).collect()
    }

    /// Returns seeds at the places `to` for each y.
    fn seeds(&self, y: &[Vec<f32>]) -> Vec<Vec<Seed>> {
        let seed = |(&(level, token), u): (&Place, &[f32])| Seed::Field { level, token, vector: u.to_vec() };
        y.iter().map(|y| self.to.iter().zip(y.chunks(self.d())).map(seed).collect()).collect()
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
        Ok(apply_all(&[(self, x)])?.remove(0))
    }

    fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        Ok(apply_transpose_all(&[(self, y)])?.remove(0))
    }

    fn scratch(&self, count: usize) -> usize {
        let (_, tokens, d) = shape(self.linear.run());
        // Sources or seeds, and one level of a batch that is read back.
        4 * count * d * (self.from.len().max(self.to.len()) + tokens)
    }
}

/// Vectors that an operator takes.
pub(crate) type Applied<'a, 'b> = (&'a Operator<'b>, &'a [Vec<f32>]);

/// Applies each operator to its vectors. Operators of one mode, whose runs are of one batch, share passes.
pub(crate) fn apply_all(applied: &[Applied<'_, '_>]) -> Result<Vec<Vec<Vec<f32>>>> {
    let all: Vec<Vec<Vec<Source>>> = applied.iter().map(|(operator, x)| operator.sources(x)).collect();
    let places: Vec<&[Place]> = applied.iter().map(|(operator, _)| operator.to()).collect();
    gather(applied, &places, |mode, some, sites, visit| {
        let of = |&n: &usize| all[n].iter().map(move |sources| SourcedRun { run: applied[n].0.linear.run(), sources });
        jvp_of(mode, &some.iter().flat_map(of).collect::<Vec<_>>(), sites, visit)
    })
}

/// As [`apply_all`], for the transposes.
pub(crate) fn apply_transpose_all(applied: &[Applied<'_, '_>]) -> Result<Vec<Vec<Vec<f32>>>> {
    let all: Vec<Vec<Vec<Seed>>> = applied.iter().map(|(operator, y)| operator.seeds(y)).collect();
    let places: Vec<&[Place]> = applied.iter().map(|(operator, _)| operator.from()).collect();
    gather(applied, &places, |mode, some, sites, visit| {
        let of = |&n: &usize| all[n].iter().map(move |seeds| SeededRun { run: applied[n].0.linear.run(), seeds });
        vjp_of(mode, &some.iter().flat_map(of).collect::<Vec<_>>(), sites, visit)
    })
}

/// Runs a pass for the operators of each mode, and gathers its chunks at the `places` of each operator into vectors of
/// the places side by side.
fn gather(
    applied: &[Applied<'_, '_>],
    places: &[&[Place]],
    pass: impl Fn(Mode, &[usize], &[Site], &mut dyn FnMut(Chunk<'_>)) -> resolvent_model::Result<()>,
) -> Result<Vec<Vec<Vec<f32>>>> {
    let zeros = |((operator, vectors), places): (&Applied<'_, '_>, &&[Place])| {
        vec![vec![0.0; places.len() * operator.d()]; vectors.len()]
    };
    let mut out: Vec<Vec<Vec<f32>>> = applied.iter().zip(places).map(zeros).collect();
    for mode in distinct(applied.iter().map(|(operator, _)| operator.linear.mode())) {
        let some: Vec<usize> = (0..applied.len()).filter(|&n| applied[n].0.linear.mode() == mode).collect();
        let levels: BTreeSet<usize> = some.iter().flat_map(|&n| places[n]).map(|place| place.0).collect();
        let levels: Vec<usize> = levels.into_iter().collect();
        let one = applied[some[0]].0;
        let (d, sites) = (one.d(), levels.iter().map(|&level| one.site(level)).collect::<Vec<Site>>());
        // The operator and the vector of each sequence.
        let of = some.iter().flat_map(|&n| (0..applied[n].1.len()).map(move |i| (n, i)));
        let of: Vec<(usize, usize)> = of.collect();
        pass(mode, &some, &sites, &mut |chunk| {
            let (n, i) = of[chunk.sequence];
            for (at, &(level, token)) in places[n].iter().enumerate() {
                if let Some(row) = chunk.row(token, d).filter(|_| level == levels[chunk.site]) {
                    out[n][i][at * d..(at + 1) * d].copy_from_slice(row);
                }
            }
        })?;
    }
    Ok(out)
}
