//! Subspace patches: what a patch along a few directions of a site does, and which part of them any reader sees.
//!
//! A patch along orthonormal directions U moves `y` to `y + U U^T (y_clean - y)` at one token. Linear readers see `R
//! y`, with R the matrix of all of them. So every vector has a part in the row space of R, and a part in its kernel
//! that they do not see.
//!
//! A direction with both parts can have a large effect that says nothing about the model (arXiv 2311.17030): its kernel
//! part, which differs between the prompts, sets how far the patch moves, and its row space part, which is the same in
//! both, moves what is read. Patches along each part alone show this: then neither has the effect.

use std::fmt;
use std::path::PathBuf;

use resolvent_model::{Edit, Mode, ReaderSet, Run, Site, gaussian};

use crate::case::Case;
use crate::certificate::{Certificate, alone, dot, narrow, norm};
use crate::dense::{inner, orthonormal, size, wide};
use crate::derivatives::derivatives;
use crate::direction::parse_seed;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::labelled::Labelled;
use crate::noise;
use crate::row_space::{RowSpace, difference};

/// The directions of a subspace patch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Subspace {
    /// The array `source [width, k]` of a safetensors file.
    File(PathBuf),
    /// These vectors.
    Vectors(Vec<Vec<f32>>),
    /// The clean minus the corrupted value: the patch of the whole site.
    Displacement,
    /// The derivative of the observable by the site, in the corrupted run.
    Sensitivity,
    /// The direction whose patch has the largest effect to first order: half-way between displacement and sensitivity.
    Best,
    /// One random direction from a seed.
    Random(u64),
}

impl Subspace {
    /// Parses `displacement`, `sensitivity`, `best` or `random[:SEED]`. Any other text is the path of a file.
    ///
    /// # Errors
    /// A seed that is not a whole number.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text.split_once(':').unwrap_or((text, "")) {
            ("displacement", "") => Self::Displacement,
            ("sensitivity", "") => Self::Sensitivity,
            ("best", "") => Self::Best,
            ("random", seed) => Self::Random(parse_seed("random", seed)?),
            _ => Self::File(text.into()),
        })
    }

    /// Returns the vectors, given displacement and sensitivity.
    fn vectors(&self, [moved, g]: [&[f32]; 2]) -> Result<Vec<Vec<f64>>> {
        let width = moved.len();
        let unit = |x: &[f32]| {
            let x = wide(x);
            let all = size(&x);
            x.into_iter().map(|x| if all > 0.0 { x / all } else { 0.0 }).collect::<Vec<f64>>()
        };
        Ok(match self {
            Self::Displacement => vec![wide(moved)],
            Self::Sensitivity => vec![wide(g)],
            Self::Best => vec![unit(moved).iter().zip(unit(g)).map(|(a, b)| a + b).collect()],
            Self::Random(seed) => vec![wide(&gaussian(*seed, width))],
            Self::Vectors(vectors) => {
                if let Some(other) = vectors.iter().find(|v| v.len() != width) {
                    let found = other.len();
                    return Err(Error::Input(format!("a direction has {found} elements; the site has width {width}")));
                }
                if vectors.iter().flatten().any(|x| !x.is_finite()) {
                    return Err(Error::Input("a direction has an element that is not finite; give numbers".to_owned()));
                }
                vectors.iter().map(|v| wide(v)).collect()
            }
            Self::File(path) => {
                let (shape, columns) = Input::open(path)?.needed("source", &[Some(width), None])?;
                let k = shape[1];
                (0..k).map(|j| (0..width).map(|i| f64::from(columns[i * k + j])).collect()).collect()
            }
        })
    }
}

impl fmt::Display for Subspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Vectors(vectors) => write!(f, "{} given", vectors.len()),
            Self::Displacement => f.write_str("displacement"),
            Self::Sensitivity => f.write_str("sensitivity"),
            Self::Best => f.write_str("best"),
            Self::Random(seed) => write!(f, "random:{seed}"),
        }
    }
}

/// Options of [`subspace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubspaceOptions {
    /// Which readers count.
    pub readers: ReaderSet,
    /// Number of random displacements that are a control.
    pub random: usize,
    /// Their seed.
    pub seed: u64,
}

impl Default for SubspaceOptions {
    fn default() -> Self {
        Self { readers: ReaderSet::Next, random: 16, seed: 0 }
    }
}

/// A part of a unit vector below this length is rounding.
const NOTHING: f64 = 1e-4;

/// Tolerance of the derivative's part in the kernel, relative to the derivative.
const UNSEEN: f64 = 1e-4;

/// Patches a site at one token along a few directions, and along the parts of these that readers see and do not see.
///
/// Both runs must have been prepared for the site.
///
/// Arrays, J(patched) - J(corrupted) where they are effects: `effect [1]` of the patch, and `first_order [1]`;
/// `row_effect` and `kernel_effect [1]` of the patches along the row space parts and along the kernel parts of the
/// directions alone; `moved_row_effect` and `moved_kernel_effect [1]` of both parts of what the patch moves;
/// `whole_effect [1]` of the patch of the whole site; `random [1]`, the root mean square over random displacements as
/// long as what the patch moves.
///
/// `kernel [k]`, `moved_kernel [1]` and `whole_kernel [1]` are the shares of length in the kernel: of each direction,
/// of what the patch moves, and of the whole displacement. `by_kernel [k]` is the share of each coefficient `<u,
/// y_clean - y>` that the kernel part of u contributes. `gain [1]` is how strongly readers see what the patch moves,
/// over the mean of all directions. `rank [1]` is that of R, and `source [width, k]` has the directions.
///
/// Certificates: three patches agree with single runs (`alone`); where readers are all that uses the site, the
/// derivative lies in their row space (`derivative_read`).
///
/// # Errors
/// Runs that do not pair or were not prepared, a site that nothing reads linearly, directions that are zero or of
/// another width, an observable that does not fit, a device error, or a check that fails.
pub fn subspace(
    case: &Case<'_>,
    (site, token): (Site, usize),
    of: &Subspace,
    options: SubspaceOptions,
) -> Result<Labelled> {
    case.check()?;
    let run = case.corrupted;
    let space = RowSpace::of(run, (&[site], token), options.readers)?;
    let width = site.width(run.model().sizes());
    let row = |all: &[f32]| all[token * width..(token + 1) * width].to_vec();
    let at = |run: &Run| run.capture(site).map(|all| row(&all));
    let moved: Vec<f32> = at(case.clean)?.iter().zip(at(run)?).map(|(a, b)| a - b).collect();
    let g = row(&derivatives(run, case.observable, Mode::Exact, &[site])?.remove(0));
    let floor = noise::floor(run, &run.linearize(Mode::Exact).gradient(case.observable)?)?;
    let directions = unit(of.vectors([&moved, &g])?, 0.0);
    if directions.is_empty() {
        return Err(Error::Input(format!("the directions are zero at {site}, token {token}; choose another place")));
    }
    let (whole, rows): (Vec<f64>, Vec<Vec<f64>>) = (wide(&moved), directions.iter().map(|u| space.part(u)).collect());
    let rests: Vec<Vec<f64>> = directions.iter().zip(&rows).map(|(u, row)| difference(u, row)).collect();
    let patched = along(&directions, &whole);
    let seen = space.part(&patched);
    let parts = [
        whole.clone(),
        patched.clone(),
        along(&unit(rows, NOTHING), &whole),
        along(&unit(rests.clone(), NOTHING), &whole),
        seen.clone(),
        difference(&patched, &seen),
    ];
    let random = (0..options.random).map(|n| {
        let random = wide(&gaussian(options.seed.wrapping_add(n as u64), width));
        let share = size(&patched) / size(&random);
        random.into_iter().map(|x| share * x).collect::<Vec<f64>>()
    });
    let edits: Vec<[Edit; 1]> =
        parts.iter().cloned().chain(random).map(|moved| [Edit::add(site, token, narrow(&moved))]).collect();
    let (values, value) = (run.values_under(&edits, case.observable)?, run.value(case.observable)?);
    let check = alone(run, case.observable, &edits, &values)?;
    let effects: Vec<f64> = values.iter().map(|v| v - value).collect();
    let (effects, controls) = effects.split_at(parts.len());
    let mean = controls.iter().map(|x| x * x).sum::<f64>() / controls.len().max(1) as f64;
    let by_kernel = directions.iter().zip(&rests).map(|(u, rest)| {
        let all = inner(u, &whole);
        if all == 0.0 { 0.0 } else { inner(rest, &whole) / all }
    });
    let (k, one) = ([("direction", directions.len())], [("value", 1)]);
    let names = ["whole_effect", "effect", "row_effect", "kernel_effect", "moved_row_effect", "moved_kernel_effect"];
    let mut result = case
        .named("subspace")
        .note("site", site.to_string())
        .note("token", token.to_string())
        .note("directions", of.to_string())
        .note("readers", options.readers.to_string())
        .note(noise::NAME, format!("{floor:e}"));
    for (name, effect) in names.into_iter().zip(effects) {
        result = result.with(name, &one, vec![*effect as f32]);
    }
    if options.random > 0 {
        result = result.with("random", &one, vec![mean.sqrt() as f32]);
    }
    let columns = (0..width).flat_map(|i| directions.iter().map(move |u| u[i] as f32)).collect();
    let result = result
        .with("first_order", &one, vec![dot(&g, &narrow(&patched)) as f32])
        .with("kernel", &k, rests.iter().map(|rest| size(rest) as f32).collect())
        .with("by_kernel", &k, narrow(&by_kernel.collect::<Vec<f64>>()))
        .with("moved_kernel", &one, vec![space.kernel(&patched) as f32])
        .with("whole_kernel", &one, vec![space.kernel(&whole) as f32])
        .with("gain", &one, vec![space.gain(&patched) as f32])
        .with("rank", &one, vec![space.rank() as f32])
        .with("source", &[("d", width), k[0]], columns)
        .certify(check)?;
    match derivative_read(&space, site, &g) {
        Some(check) => result.certify(check),
        None => Ok(result),
    }
}

/// Checks that the derivative by a site that only these readers use lies in their row space: heads and neurons.
fn derivative_read(space: &RowSpace, site: Site, g: &[f32]) -> Option<Certificate> {
    let only = matches!(site, Site::Z(..) | Site::MlpPost(_)) && norm(g) > 0.0;
    only.then(|| Certificate::new("derivative_read", space.kernel(&wide(g)), UNSEEN))
}

/// Returns orthonormal vectors with the span of those that are longer than `least`.
fn unit(mut vectors: Vec<Vec<f64>>, least: f64) -> Vec<Vec<f64>> {
    vectors.retain(|v| size(v) > least);
    orthonormal(&mut vectors);
    vectors.retain(|v| size(v) > 0.0);
    vectors
}

/// Returns the projection of a vector onto orthonormal directions.
fn along(directions: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; x.len()];
    for u in directions {
        let factor = inner(u, x);
        sum.iter_mut().zip(u).for_each(|(sum, u)| *sum += factor * u);
    }
    sum
}
