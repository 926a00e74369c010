//! Computes blocks of the Green operator by a tangent pass or by a backward pass.
//!
//! Tangents of the sources are projected on the readout; cotangents of the readout are projected on the sources. Both
//! give the same blocks, and one of the two is cheaper.

use std::ops::Range;

use resolvent_engine::host::{Elements, Weights, matmul};
use resolvent_model::{Chunk, Linearization, Mode, Seed, SeededRun, Site, Source, SourcedRun, jvp_of, vjp_of};

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

    pub(super) fn site(&self, level: usize) -> Site {
        Site::level(level, self.linear.run().model().sizes())
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

/// Some places of a slice at which a pass starts.
pub(super) struct Starts<'a> {
    pub(super) passes: &'a Passes<'a>,
    pub(super) range: Range<usize>,
}

/// Computes the blocks of the pairs that start at some places of the pass, for each of several slices. Runs of one
/// batch share the pass.
pub(super) fn pieces(pass: Pass, mode: Mode, starts: &[Starts<'_>]) -> Result<Vec<Vec<Piece>>> {
    match pass {
        Pass::Forward => forward(mode, starts),
        Pass::Adjoint => adjoint(mode, starts),
    }
}

/// Blocks of some sources of one slice, while the pass computes them.
struct Tangents<'a> {
    passes: &'a Passes<'a>,
    /// Index of the first pair.
    first: usize,
    blocks: Vec<f32>,
    /// By source and level: the index of the first pair, and the tokens of the targets.
    rows: Vec<(usize, Vec<usize>)>,
}

fn forward(mode: Mode, starts: &[Starts<'_>]) -> Result<Vec<Vec<Piece>>> {
    let targets = |Starts { passes, range }: &Starts<'_>| {
        let targets = range.clone().flat_map(|i| passes.pairs.targets(i));
        targets.map(|j| passes.pairs.to()[j]).collect::<Vec<Place>>()
    };
    let levels = levels(starts.iter().flat_map(targets));
    let (mut vectors, mut of, mut parts) = (Vec::new(), Vec::new(), Vec::with_capacity(starts.len()));
    for (n, Starts { passes, range }) in starts.iter().enumerate() {
        for (i, &(level, token)) in passes.pairs.from()[range.clone()].iter().enumerate() {
            let frame = passes.source.at((level, token))?.chunks(passes.source.width());
            for (column, v) in frame.enumerate() {
                vectors.push(start(v, || Source { site: passes.site(level), token, vector: v.to_vec() }));
                of.push((n, i, column));
            }
        }
        let Range { start: first, end } = passes.pairs.of(range);
        let blocks = vec![0.0; (end - first) * passes.block()];
        parts.push(Tangents { passes, first, blocks, rows: passes.rows_by_level(range, &levels) });
    }
    let sourced = of.iter().zip(&vectors);
    let sourced = sourced.map(|((n, ..), sources)| SourcedRun { run: starts[*n].passes.linear.run(), sources });
    let mut failed = Ok(());
    jvp_of(mode, &sourced.collect::<Vec<_>>(), &sites(starts, &levels), &mut |chunk| {
        let (n, i, column) = of[chunk.sequence];
        let taken = parts[n].take((i * levels.len() + chunk.site, levels[chunk.site]), column, &chunk);
        if let Err(e) = taken {
            failed = Err(e);
        }
    })?;
    failed?;
    let pieces = parts.into_iter().zip(starts).map(|(part, Starts { passes, range })| {
        vec![Piece { first: part.first, pairs: passes.pairs.rows(range), blocks: part.blocks, secants: Vec::new() }]
    });
    Ok(pieces.collect())
}

impl Tangents<'_> {
    /// Projects a chunk on the readout of its level: one column of the blocks there.
    fn take(&mut self, (at, level): (usize, usize), column: usize, chunk: &Chunk<'_>) -> Result<()> {
        let (passes, (d, block, k)) =
            (self.passes, (self.passes.source.width(), self.passes.block(), self.passes.source.rank()));
        let (at, tokens) = &self.rows[at];
        // Beyond a window, there is no response.
        let end = chunk.token + chunk.rows.len() / d;
        let within = &tokens[..tokens.partition_point(|&token| token < end)];
        let read = passes.read(&passes.readout, level, within, (chunk.rows, chunk.token))?;
        let here = &mut self.blocks[(at - self.first) * block..][..tokens.len() * block];
        for (into, x) in here.iter_mut().skip(column).step_by(k).zip(read) {
            *into = x;
        }
        Ok(())
    }
}

/// Pieces of some targets of one slice, while the pass computes them.
struct Cotangents<'a> {
    passes: &'a Passes<'a>,
    pieces: Vec<Piece>,
    /// By target: the source, the piece and the place in it of each pair.
    homes: Vec<Vec<(usize, usize, usize)>>,
}

impl<'a> Cotangents<'a> {
    fn new(Starts { passes, range: targets }: &Starts<'a>) -> Self {
        let (mut pieces, mut homes) = (Vec::new(), vec![Vec::new(); targets.len()]);
        for (i, &(level, token)) in passes.pairs.from().iter().enumerate() {
            let first = passes.pairs.of(&(i..i + 1)).start;
            let (mut piece, mut n) = (None, 0);
            let mut pairs = Vec::new();
            for (place, j) in passes.pairs.targets(i).enumerate().filter(|(_, j)| targets.contains(j)) {
                piece.get_or_insert(first + place);
                homes[j - targets.start].push((i, pieces.len(), n));
                n += 1;
                let (to_level, to_token) = passes.pairs.to()[j];
                pairs.extend([to_level, to_token, level, token].map(|x| x as f32));
            }
            if let Some(first) = piece {
                pieces.push(Piece { first, pairs, blocks: vec![0.0; n * passes.block()], secants: Vec::new() });
            }
        }
        Self { passes, pieces, homes }
    }

    /// Returns the sources of all pairs.
    fn sources(&self) -> impl Iterator<Item = Place> + '_ {
        self.homes.iter().flatten().map(|home| self.passes.pairs.from()[home.0])
    }

    /// Projects a chunk of a target on the sources of its level: one row of the blocks there.
    fn take(&mut self, (target, row): (usize, usize), level: usize, chunk: &Chunk<'_>) -> Result<()> {
        let (passes, [m, k]) = (self.passes, [self.passes.readout.rank(), self.passes.source.rank()]);
        let here = self.homes[target].iter().map(|home| (passes.pairs.from()[home.0], home));
        let here: Vec<_> = here.filter(|(place, _)| place.0 == level).collect();
        let tokens: Vec<usize> = here.iter().map(|(place, _)| place.1).collect();
        let read = passes.read(&passes.source, level, &tokens, (chunk.rows, chunk.token))?;
        for ((_, &(_, piece, n)), x) in here.into_iter().zip(read.chunks(k)) {
            self.pieces[piece].blocks[(n * m + row) * k..][..k].copy_from_slice(x);
        }
        Ok(())
    }
}

fn adjoint(mode: Mode, starts: &[Starts<'_>]) -> Result<Vec<Vec<Piece>>> {
    let mut parts: Vec<Cotangents<'_>> = starts.iter().map(Cotangents::new).collect();
    let levels = levels(parts.iter().flat_map(Cotangents::sources));
    let (mut vectors, mut of) = (Vec::new(), Vec::new());
    for (n, Starts { passes, range }) in starts.iter().enumerate() {
        for (j, &(level, token)) in passes.pairs.to()[range.clone()].iter().enumerate() {
            for (row, u) in passes.readout.at((level, token))?.chunks(passes.source.width()).enumerate() {
                vectors.push(start(u, || Seed::Field { level, token, vector: u.to_vec() }));
                of.push((n, j, row));
            }
        }
    }
    let seeded = of.iter().zip(&vectors);
    let seeded = seeded.map(|((n, ..), seeds)| SeededRun { run: starts[*n].passes.linear.run(), seeds });
    let mut failed = Ok(());
    vjp_of(mode, &seeded.collect::<Vec<_>>(), &sites(starts, &levels), &mut |chunk| {
        let (n, target, row) = of[chunk.sequence];
        if let Err(e) = parts[n].take((target, row), levels[chunk.site], &chunk) {
            failed = Err(e);
        }
    })?;
    failed?;
    Ok(parts.into_iter().map(|part| part.pieces).collect())
}

/// Returns levels as sites.
fn sites(starts: &[Starts<'_>], levels: &[usize]) -> Vec<Site> {
    starts.first().map_or_else(Vec::new, |one| levels.iter().map(|&level| one.passes.site(level)).collect())
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
