//! Bases: small sets of directions between which blocks of a Green operator are computed.
//!
//! A basis gives every place (l, t) of the field k vectors of width d. Computed bases are orthonormal. Where a place
//! has fewer than k independent directions, the missing vectors are zero. Bases from files are used unchanged.

mod curvature;
mod frames;
mod krylov;

use std::fmt;
use std::path::PathBuf;

use resolvent_model::{Linearization, Model, Observable, Run, Seed, Site, gaussian};

use crate::certificate::narrow;
use crate::dense::{orthonormal, svd, wide};
use crate::direction::parse_seed;
use crate::distinct::distinct;
use crate::error::{Error, Result};
use crate::input::{Input, file_argument};
use crate::place::{Place, inside, shape};
use crate::store::fits;

pub(crate) use curvature::products;
pub use frames::Frames;

/// A basis of the field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Basis {
    /// The arrays `source [d, k]` and `readout [d, m]` of a safetensors file. Without `readout`, `source` serves as
    /// both.
    File(PathBuf),
    /// Principal components of h\[l\], one set for each level. They are computed from the rows of all tokens, less
    /// their mean, over the run and the other runs.
    Pca,
    /// Unembedding rows of these tokens; if the list is empty, those of the most likely next tokens.
    Unembed(Vec<u32>),
    /// Embeddings of these tokens; if the list is empty, those of the prompt, in order of first appearance.
    Embed(Vec<u32>),
    /// Gradients of the observables at the place; without observables, those of the logits of the most likely next
    /// tokens.
    Sensitivity,
    /// The fields of the other runs minus the field of this run, at the place.
    Displacement,
    /// A Krylov space of `A^T A`, where A is the response of the whole last level to a source at the place. It starts
    /// from the sensitivities of the observables; without observables, from a random vector of this seed.
    Krylov(u64),
    /// The sensitivity of the observable at the place, then the directions along which the observable has the largest
    /// curvature there: the eigenvectors of its Hessian at the place with the eigenvalues of largest size. They are
    /// found from random vectors of this seed.
    Curvature(u64),
    /// Random directions from a seed, the same at every place.
    Random(u64),
}

/// The side of `readout^T G source` that a basis is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where sources act.
    Source,
    /// Where responses are read.
    Readout,
}

/// The inputs that some bases need besides the run.
#[derive(Clone, Copy, Default)]
pub struct BasisContext<'a> {
    /// Observables, for [`Basis::Sensitivity`] and [`Basis::Krylov`].
    pub observables: &'a [Observable],
    /// Other runs, for [`Basis::Pca`] and [`Basis::Displacement`]. A displacement needs runs of equally many tokens.
    pub others: &'a [Run],
    /// Position at which the most likely next tokens are taken. `None` selects the position of the first observable, or
    /// the last token if there are no observables.
    pub position: Option<usize>,
    /// Number of vectors. `None` selects [`RANK`], or all vectors if there are fewer.
    pub rank: Option<usize>,
}

/// Default of [`BasisContext::rank`].
pub const RANK: usize = 8;

/// Principal components below this share of the largest one are zero to the accuracy of f32.
const NEGLIGIBLE: f64 = 1e-6;

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name, ids: &[u32]| {
            let ids: Vec<String> = ids.iter().map(|id| format!("#{id}")).collect();
            if ids.is_empty() { f.write_str(name) } else { write!(f, "{name}:{}", ids.join(",")) }
        };
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Pca => f.write_str("pca"),
            Self::Unembed(ids) => list(f, "unembed", ids),
            Self::Embed(ids) => list(f, "embed", ids),
            Self::Sensitivity => f.write_str("sensitivity"),
            Self::Displacement => f.write_str("displacement"),
            Self::Krylov(seed) => write!(f, "krylov:{seed}"),
            Self::Curvature(seed) => write!(f, "curvature:{seed}"),
            Self::Random(seed) => write!(f, "random:{seed}"),
        }
    }
}

/// The names of bases, other than files.
const NAMES: [&str; 8] = ["pca", "unembed", "embed", "sensitivity", "displacement", "krylov", "curvature", "random"];

impl Basis {
    /// Returns whether the vectors mean the same in every prompt, so that blocks of several prompts can be averaged:
    /// given vectors, those of named tokens, random ones, and single directions that the prompt's own case defines.
    pub fn is_shared(&self) -> bool {
        match self {
            Self::File(_) | Self::Random(_) | Self::Sensitivity | Self::Displacement => true,
            Self::Unembed(tokens) | Self::Embed(tokens) => !tokens.is_empty(),
            Self::Pca | Self::Krylov(_) | Self::Curvature(_) => false,
        }
    }

    /// Returns whether the vectors come from other runs, [`BasisContext::others`].
    pub fn needs_other(&self) -> bool {
        matches!(self, Self::Pca | Self::Displacement)
    }

    /// Parses a basis: `pca`, `unembed[:TOKEN,...]`, `embed[:TOKEN,...]`, `sensitivity`, `displacement`,
    /// `krylov[:SEED]`, `curvature[:SEED]` or `random[:SEED]`. Any other text is the path of a file. A repeated token
    /// counts once.
    ///
    /// # Errors
    /// An invalid token, a seed that is not a whole number, or a mistyped name where there is no such file.
    pub fn parse(text: &str, model: &Model) -> Result<Self> {
        let ids = |list: &str| -> Result<Vec<u32>> {
            let id = |arg: &str| Ok(model.token(arg)?);
            if list.is_empty() {
                return Ok(Vec::new());
            }
            Ok(distinct(list.split(',').map(id).collect::<Result<Vec<u32>>>()?))
        };
        Ok(match text.split_once(':').unwrap_or((text, "")) {
            ("pca", "") => Self::Pca,
            ("unembed", list) => Self::Unembed(ids(list)?),
            ("embed", list) => Self::Embed(ids(list)?),
            ("sensitivity", "") => Self::Sensitivity,
            ("displacement", "") => Self::Displacement,
            ("krylov", seed) => Self::Krylov(parse_seed("krylov", seed)?),
            ("curvature", seed) => Self::Curvature(parse_seed("curvature", seed)?),
            ("random", seed) => Self::Random(parse_seed("random", seed)?),
            _ => Self::File(file_argument("basis", text, &NAMES)?),
        })
    }

    /// Computes the vectors at `places`, which are in ascending order.
    ///
    /// # Errors
    /// A file that cannot be read or has another width, a missing input of the basis, a basis with fewer vectors than
    /// requested, a place outside of the field, or a device error.
    pub fn frames(
        &self,
        linear: &Linearization<'_>,
        places: &[Place],
        end: End,
        context: BasisContext<'_>,
    ) -> Result<Frames> {
        let run = linear.run();
        let d = shape(run).2;
        places.iter().try_for_each(|place| inside(*place, run))?;
        if context.others.iter().any(|other| other.model().hash() != run.model().hash()) {
            return Err(Error::Input("the prompts of a basis belong to different models".to_owned()));
        }
        if let Self::File(path) = self {
            return self.file(path, d, end, context);
        }
        let rank = self.rank(run, context)?;
        if matches!(self, Self::Sensitivity | Self::Displacement | Self::Krylov(_) | Self::Curvature(_)) {
            // 12 bytes an element: f64 while the vectors are made orthonormal, and f32 as they are stored.
            fits(run, 12 * (places.len() * rank * d) as u64, "the vectors of the basis take", "")?;
        }
        let model = run.model();
        let rows = |ids: &[u32], row: &dyn Fn(u32) -> resolvent_model::Result<Vec<f32>>| -> Result<Frames> {
            let rows: Result<Vec<Vec<f64>>> = ids[..rank].iter().map(|&id| Ok(wide(&row(id)?))).collect();
            Ok(everywhere(rows?))
        };
        match self {
            Self::File(_) | Self::Pca => {
                let runs: Vec<&Run> = std::iter::once(run).chain(context.others).collect();
                pca(&runs, rank)
            }
            Self::Unembed(ids) if ids.is_empty() => rows(&likely(run, context, rank)?, &|id| model.unembedding(id)),
            Self::Unembed(ids) => rows(ids, &|id| model.unembedding(id)),
            Self::Embed(ids) if ids.is_empty() => rows(&appearing(run), &|id| model.embedding(id)),
            Self::Embed(ids) => rows(ids, &|id| model.embedding(id)),
            Self::Random(seed) => Ok(everywhere(gaussian(*seed, rank * d).chunks(d).map(wide).collect::<Vec<_>>())),
            Self::Displacement => {
                let ours = run.field()?;
                let others: Result<Vec<Vec<f32>>> =
                    context.others[..rank].iter().map(|other| Ok(other.field()?)).collect();
                let others = others?;
                let at = |&(level, token): &Place| {
                    let here = (level * run.tokens().len() + token) * d;
                    let minus_ours = |other: &Vec<f32>| {
                        let pairs = other[here..here + d].iter().zip(&ours[here..here + d]);
                        pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()
                    };
                    others.iter().map(minus_ours).collect()
                };
                Ok(placed(places, places.iter().map(at).collect(), d))
            }
            Self::Sensitivity => {
                let observables = match context.observables {
                    [] => {
                        let position = position(run, context);
                        let ids = likely(run, context, rank)?;
                        ids.into_iter().map(|id| Observable::logit(id, position)).collect()
                    }
                    given => given[..rank].to_vec(),
                };
                Ok(placed(places, gradients(linear, &observables, places)?, d))
            }
            Self::Krylov(seed) => {
                let starts = match context.observables {
                    [] => vec![vec![wide(&gaussian(*seed, d))]; places.len()],
                    given => gradients(linear, &given[..given.len().min(rank)], places)?,
                };
                Ok(placed(places, krylov::krylov(linear, places, starts, rank)?, d))
            }
            Self::Curvature(seed) => {
                let [observable] = context.observables else {
                    let given = context.observables.len();
                    return Err(Error::Input(format!(
                        "the basis `{self}` is that of one observable, and {given} are given; give one (--target)"
                    )));
                };
                let mut sets = gradients(linear, context.observables, places)?;
                let curved = curvature::curved(linear, observable, (places, rank - 1), *seed)?;
                sets.iter_mut().zip(curved).for_each(|(set, more)| set.extend(more));
                Ok(placed(places, sets, d))
            }
        }
    }

    /// Returns the number of vectors to compute, or an error if the basis has fewer than requested.
    fn rank(&self, run: &Run, context: BasisContext<'_>) -> Result<usize> {
        let d = shape(run).2;
        let tokens = || run.tokens().len() + context.others.iter().map(|o| o.tokens().len()).sum::<usize>();
        let (most, fix) = match self {
            Self::Pca => ((tokens() - 1).min(d), "more prompts (--donor)"),
            Self::Unembed(ids) if ids.is_empty() => (run.model().sizes().vocab.min(d), ""),
            Self::Embed(ids) if ids.is_empty() => (appearing(run).len(), "tokens (embed:TOKEN,TOKEN)"),
            Self::Unembed(ids) | Self::Embed(ids) => (ids.len(), "more tokens"),
            Self::Sensitivity => match context.observables.len() {
                0 => (run.model().sizes().vocab.min(d), ""),
                given => (given, "no observable, for the most likely tokens"),
            },
            Self::Displacement => (context.others.len(), "other prompts (--donor)"),
            Self::File(_) | Self::Krylov(_) | Self::Curvature(_) | Self::Random(_) => (d, ""),
        };
        if matches!(self, Self::Displacement) {
            check_lengths(run, context.others)?;
        }
        let wanted = context.rank.unwrap_or(RANK.min(most));
        if (1..=most).contains(&wanted) {
            return Ok(wanted);
        }
        let smaller = if most > 0 { format!("a rank of 1 to {most}") } else { String::new() };
        let fixes = [smaller.as_str(), fix].into_iter().filter(|f| !f.is_empty()).collect::<Vec<_>>();
        Err(Error::Input(format!(
            "the basis `{self}` has {most} vectors here and cannot have {}; give it {}",
            wanted.max(usize::from(context.rank.is_none())),
            fixes.join(", or ")
        )))
    }

    fn file(&self, path: &std::path::Path, d: usize, end: End, context: BasisContext<'_>) -> Result<Frames> {
        let fail = |reason: &str| Error::File { path: path.to_owned(), reason: reason.to_owned() };
        if context.rank.is_some() {
            return Err(fail("a basis from a file is used as it is; leave --rank out"));
        }
        let (file, wanted) = (Input::open(path)?, [Some(d), None]);
        let source = file.needed("source", &wanted)?;
        let (shape, columns) = match end {
            End::Source => source,
            End::Readout => file.array("readout", &wanted)?.unwrap_or(source),
        };
        let rank = shape[1];
        let vectors = (0..rank).flat_map(|i| columns.iter().skip(i).step_by(rank).copied()).collect();
        Ok(Frames::everywhere(rank, vectors))
    }
}

/// Checks that all other runs have as many tokens as this one.
pub(crate) fn check_lengths(run: &Run, others: &[Run]) -> Result<()> {
    let n = run.tokens().len();
    match others.iter().find(|other| other.tokens().len() != n) {
        Some(other) => {
            let other = other.tokens().len();
            Err(Error::Input(format!(
                "the second prompt has {other} tokens and the first {n}; give prompts of the same length"
            )))
        }
        None => Ok(()),
    }
}

fn position(run: &Run, context: BasisContext<'_>) -> usize {
    let observed = context.observables.first().map(Observable::position);
    context.position.or(observed).unwrap_or(run.tokens().len() - 1)
}

/// Returns the `count` tokens with the largest logits, largest first.
fn likely(run: &Run, context: BasisContext<'_>, count: usize) -> Result<Vec<u32>> {
    let logits = run.logits_at(position(run, context))?;
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    ids.truncate(count);
    Ok(ids)
}

/// Returns the distinct tokens of the prompt, in order of first appearance.
fn appearing(run: &Run) -> Vec<u32> {
    let mut ids = Vec::new();
    for id in run.tokens() {
        if !ids.contains(id) {
            ids.push(*id);
        }
    }
    ids
}

fn everywhere(mut vectors: Vec<Vec<f64>>) -> Frames {
    orthonormal(&mut vectors);
    Frames::everywhere(vectors.len(), narrow(&vectors.concat()))
}

fn placed(places: &[Place], mut sets: Vec<Vec<Vec<f64>>>, d: usize) -> Frames {
    sets.iter_mut().for_each(|set| orthonormal(set));
    let rank = sets.first().map_or(0, Vec::len);
    Frames::by_place(rank, d, places, sets.iter().flat_map(|set| narrow(&set.concat())).collect())
}

/// Returns the sensitivities of `observables` at each place, not yet orthonormal.
fn gradients(linear: &Linearization<'_>, observables: &[Observable], places: &[Place]) -> Result<Vec<Vec<Vec<f64>>>> {
    let (run, d) = (linear.run(), shape(linear.run()).2);
    let seeds: Result<Vec<Vec<Seed>>> = observables.iter().map(|j| Ok(run.seeds(j)?)).collect();
    let mut levels: Vec<usize> = places.iter().map(|place| place.0).collect();
    levels.dedup();
    let sites: Vec<Site> = levels.iter().map(|&level| Site::level(level, run.model().sizes())).collect();
    let mut sets = vec![vec![vec![0.0; d]; observables.len()]; places.len()];
    linear.vjp_at(&seeds?, &sites, &mut |chunk| {
        for (set, &(level, token)) in sets.iter_mut().zip(places) {
            if let Some(row) = chunk.row(token, d).filter(|_| level == levels[chunk.site]) {
                set[chunk.sequence] = wide(row);
            }
        }
    })?;
    Ok(sets)
}

/// Computes the principal components of each level.
fn pca(runs: &[&Run], rank: usize) -> Result<Frames> {
    let (levels, _, d) = shape(runs[0]);
    let mut vectors = Vec::with_capacity(levels * rank * d);
    for level in 0..levels {
        let mut rows = Vec::new();
        for run in runs {
            rows.extend(wide(&run.capture(Site::level(level, run.model().sizes()))?));
        }
        let count = (rows.len() / d) as f64;
        let mean: Vec<f64> = (0..d).map(|i| rows.iter().skip(i).step_by(d).sum::<f64>() / count).collect();
        rows.chunks_mut(d).for_each(|row| row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean));
        let found = svd(&rows, d)?;
        for (value, mut v) in found.values.iter().zip(found.right).take(rank) {
            // The sign is arbitrary; we choose it so that the largest component is positive.
            let largest = v.iter().fold(0.0f64, |m, x| if x.abs() > m.abs() { *x } else { m });
            let factor = if *value > NEGLIGIBLE * found.values[0] { largest.signum() } else { 0.0 };
            v.iter_mut().for_each(|x| *x *= factor);
            vectors.extend(narrow(&v));
        }
    }
    Ok(Frames::by_level(rank, d, vectors))
}
