//! Computes blocks of the Green operator by a tangent pass or by a backward pass.
//!
//! Tangents of the sources are projected on the readout; cotangents of the readout are projected on the sources. Both
//! give the same blocks, and one of the two is cheaper.

use std::ops::Range;

use resolvent_engine::host::{Elements, Weights, matmul};
use resolvent_model::{Linearization, Seed, Site, Source};

use super::pairs::PlacePairs;
use crate::bases::Frames;
use crate::error::Result;
use crate::place::{Place, shape};

/// Selects the pass that computes the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// A tangent pass: k tangents from every source.
    Forward,
    /// A backward pass: m cotangents from every target.
    Adjoint,
}

impl Pass {
    /// Returns its name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Adjoint => "adjoint",
        }
    }
}

/// The inputs of the passes: the operator, its pairs and both bases.
pub(super) struct Passes<'a> {
    pub(super) linear: &'a Linearization<'a>,
    pub(super) pairs: PlacePairs,
    pub(super) source: Frames,
    pub(super) readout: Frames,
}

/// Blocks `[n, m, k]` of consecutive pairs, the index of the first pair, and the pairs `[n, 4]`.
pub(super) struct Piece {
    pub(super) first: usize,
    pub(super) pairs: Vec<f32>,
    pub(super) blocks: Vec<f32>,
    /// Of secant blocks, the rows of [`super::secants::ARRAYS`].
    pub(super) secants: Vec<[f32; 4]>,
}

impl Passes<'_> {
    /// Returns the places at which a pass starts, in its order.
    pub(super) fn starts(&self, pass: Pass) -> &[Place] {
        match pass {
            Pass::Forward => self.pairs.from(),
            Pass::Adjoint => self.pairs.to(),
        }
    }

    /// Returns how many batch rows a starting place needs, and how many blocks of the model these rows pass.
    pub(super) fn cost(&self, pass: Pass, (level, token): Place) -> (usize, usize) {
        let tokens = shape(self.linear.run()).1;
        match pass {
            Pass::Forward => {
                let last = self.pairs.to().last().map_or(0, |place| place.0);
                (self.source.rank() * (tokens - token), last.saturating_sub(level))
            }
            Pass::Adjoint => {
                let first = self.pairs.from().first().map_or(0, |place| place.0);
                (self.readout.rank() * (token + 1), level.saturating_sub(first))
            }
        }
    }

    /// Returns the pass with the smaller sum of rows times blocks.
    pub(super) fn cheaper(&self) -> Pass {
        let all = |pass| {
            let each = self.starts(pass).iter().map(|&place| self.cost(pass, place));
            each.map(|(rows, blocks)| (rows * blocks) as u64).sum::<u64>()
        };
        if all(Pass::Adjoint) < all(Pass::Forward) { Pass::Adjoint } else { Pass::Forward }
    }

    /// Returns the number of elements of a block.
    pub(super) fn block(&self) -> usize {
        self.source.rank() * self.readout.rank()
    }

    /// Computes the blocks of the pairs that start at some places of the pass.
    pub(super) fn pieces(&self, pass: Pass, starts: Range<usize>) -> Result<Vec<Piece>> {
        match pass {
            Pass::Forward => self.forward(starts),
            Pass::Adjoint => self.adjoint(starts),
        }
    }

    pub(super) fn site(&self, level: usize) -> Site {
        Site::level(level, self.linear.run().model().sizes())
    }

    fn forward(&self, sources: Range<usize>) -> Result<Vec<Piece>> {
        let (d, [m, k]) = (self.source.width(), [self.readout.rank(), self.source.rank()]);
        let mut vectors = Vec::with_capacity(sources.len() * k);
        for &(level, token) in &self.pairs.from()[sources.clone()] {
            for v in self.source.at((level, token))?.chunks(d) {
                vectors.push(start(v, || Source { site: self.site(level), token, vector: v.to_vec() }));
            }
        }
        let levels = levels(sources.clone().flat_map(|i| self.pairs.targets(i)).map(|j| self.pairs.to()[j]));
        let sites: Vec<Site> = levels.iter().map(|&level| self.site(level)).collect();
        let Range { start: first, end } = self.pairs.of(&sources);
        let mut blocks = vec![0.0; (end - first) * m * k];
        // By source and level: the index of the first pair, and the tokens of the targets.
        let rows = self.rows_by_level(&sources, &levels);
        let mut failed = Ok(());
        self.linear.jvp_at(&vectors, &sites, &mut |chunk| {
            let (i, column) = (chunk.sequence / k, chunk.sequence % k);
            let (at, tokens) = &rows[i * levels.len() + chunk.site];
            // Beyond a window, there is no response.
            let end = chunk.token + chunk.rows.len() / d;
            let within = &tokens[..tokens.partition_point(|&token| token < end)];
            let read = self.read(&self.readout, levels[chunk.site], within, (chunk.rows, chunk.token));
            match read {
                Ok(read) => {
                    let here = &mut blocks[(at - first) * m * k..][..tokens.len() * m * k];
                    for (into, x) in here.iter_mut().skip(column).step_by(k).zip(read) {
                        *into = x;
                    }
                }
                Err(e) => failed = Err(e),
            }
        })?;
        failed?;
        Ok(vec![Piece { first, pairs: self.pairs.rows(&sources), blocks, secants: Vec::new() }])
    }

    /// Returns, for each source and each of `levels`, the first pair there and the tokens of its targets.
    pub(super) fn rows_by_level(&self, sources: &Range<usize>, levels: &[usize]) -> Vec<(usize, Vec<usize>)> {
        let mut rows = Vec::with_capacity(sources.len() * levels.len());
        let mut pair = self.pairs.of(sources).start;
        for i in sources.clone() {
            let mut targets = self.pairs.targets(i).map(|j| self.pairs.to()[j]).peekable();
            for &level in levels {
                let (at, mut tokens) = (pair, Vec::new());
                while let Some((_, token)) = targets.next_if(|place| place.0 == level) {
                    tokens.push(token);
                    pair += 1;
                }
                rows.push((at, tokens));
            }
        }
        rows
    }

    fn adjoint(&self, targets: Range<usize>) -> Result<Vec<Piece>> {
        let (d, [m, k]) = (self.source.width(), [self.readout.rank(), self.source.rank()]);
        let mut vectors = Vec::with_capacity(targets.len() * m);
        for &(level, token) in &self.pairs.to()[targets.clone()] {
            for u in self.readout.at((level, token))?.chunks(d) {
                vectors.push(start(u, || Seed::Field { level, token, vector: u.to_vec() }));
            }
        }
        let (mut pieces, mut homes) = (Vec::new(), vec![Vec::new(); targets.len()]);
        for (i, &(level, token)) in self.pairs.from().iter().enumerate() {
            let first = self.pairs.of(&(i..i + 1)).start;
            let (mut piece, mut n) = (None, 0);
            let mut pairs = Vec::new();
            for (place, j) in self.pairs.targets(i).enumerate().filter(|(_, j)| targets.contains(j)) {
                piece.get_or_insert(first + place);
                homes[j - targets.start].push((i, pieces.len(), n));
                n += 1;
                let (to_level, to_token) = self.pairs.to()[j];
                pairs.extend([to_level, to_token, level, token].map(|x| x as f32));
            }
            if let Some(first) = piece {
                pieces.push(Piece { first, pairs, blocks: vec![0.0; n * m * k], secants: Vec::new() });
            }
        }
        let levels = levels(homes.iter().flatten().map(|home| self.pairs.from()[home.0]));
        let sites: Vec<Site> = levels.iter().map(|&level| self.site(level)).collect();
        let mut failed = Ok(());
        self.linear.vjp_at(&vectors, &sites, &mut |chunk| {
            let (level, row) = (levels[chunk.site], chunk.sequence % m);
            let here = homes[chunk.sequence / m].iter().map(|home| (self.pairs.from()[home.0], home));
            let here: Vec<_> = here.filter(|(place, _)| place.0 == level).collect();
            let tokens: Vec<usize> = here.iter().map(|(place, _)| place.1).collect();
            match self.read(&self.source, level, &tokens, (chunk.rows, chunk.token)) {
                Ok(read) => {
                    for ((_, &(_, piece, n)), x) in here.into_iter().zip(read.chunks(k)) {
                        pieces[piece].blocks[(n * m + row) * k..][..k].copy_from_slice(x);
                    }
                }
                Err(e) => failed = Err(e),
            }
        })?;
        failed?;
        Ok(pieces)
    }

    /// Returns `<row, v>` for the rows of some tokens of a level and the vectors of a basis there: `[tokens, rank]`.
    pub(super) fn read(
        &self,
        frames: &Frames,
        level: usize,
        tokens: &[usize],
        (rows, from): (&[f32], usize),
    ) -> Result<Vec<f32>> {
        let (d, rank) = (frames.width(), frames.rank());
        let mut read = Vec::with_capacity(tokens.len() * rank);
        let (Some(&first), Some(&last)) = (tokens.first(), tokens.last()) else { return Ok(read) };
        if frames.is_shared() {
            let all = products(&rows[(first - from) * d..(last + 1 - from) * d], frames.at((level, first))?, d);
            tokens.iter().for_each(|token| read.extend(&all[(token - first) * rank..][..rank]));
        } else {
            for &token in tokens {
                let row = &rows[(token - from) * d..][..d];
                read.extend(products(row, frames.at((level, token))?, d));
            }
        }
        Ok(read)
    }
}

/// Returns the start of a pass, or nothing if the vector is zero: then all its results are zero too.
fn start<T>(vector: &[f32], made: impl FnOnce() -> T) -> Vec<T> {
    if vector.iter().all(|x| *x == 0.0) { Vec::new() } else { vec![made()] }
}

/// Returns the distinct levels of some places, in order.
pub(super) fn levels(places: impl Iterator<Item = Place>) -> Vec<usize> {
    let mut levels: Vec<usize> = places.map(|place| place.0).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

/// Returns `<a_i, b_j>` of rows `a [n, d]` and `b [m, d]`: `[n, m]`.
fn products(a: &[f32], b: &[f32], d: usize) -> Vec<f32> {
    let (n, m) = (a.len() / d, b.len() / d);
    let mut out = vec![0.0; n * m];
    matmul([n, d, m], a, Weights { elements: Elements::F32(b), transposed: true }, false, &mut out);
    out
}
