//! Matrices by which linear readers read a site, with the scales of norms frozen.
//!
//! The queries, keys, values and MLPs of blocks and the unembedding read the residual stream through a norm and a
//! matrix. With the scale of the norm frozen in a run, each is linear. So are the output projection of a head, which
//! reads the head, and that of an MLP, which reads its neurons.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use resolvent_engine::Tensor;
use resolvent_ops::{Frozen, Rows, Span};

use super::edited::batch_of;
use super::responses::{Chain, adjoint, chain, whole_final_norm};
use crate::arch::{Architecture, Sizes};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::program::ValueId;
use crate::run::Run;
use crate::site::Site;

/// Which linear readers of a site count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReaderSet {
    /// Those that read it first: queries, keys, values and MLP of the next block; after the last block, the
    /// unembedding.
    #[default]
    Next,
    /// Those of all later blocks too, and the unembedding.
    All,
}

impl ReaderSet {
    const ALL: [Self; 2] = [Self::Next, Self::All];

    /// Returns the name on the command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::All => "all",
        }
    }
}

impl fmt::Display for ReaderSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ReaderSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|set| set.name() == text);
        found.ok_or_else(|| Error::Place(format!("invalid readers `{text}`: expected next or all")))
    }
}

/// One group of readers, which read through one matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Queries, keys and values of a block.
    Attention(usize),
    /// The hidden layer of an MLP.
    Hidden(usize),
    Unembedding,
    /// The output projection of a head.
    Projection(usize, usize),
    /// The output projection of an MLP.
    Down(usize),
}

/// Cotangents that pass through a matrix at a time, which bounds the memory.
const ROWS: usize = 512;

/// Returns the groups of readers of a site.
fn groups(model: &Architecture, site: Site, set: ReaderSet) -> Result<Vec<Group>> {
    let sizes = site.check(&model.sizes).map(|_| model.sizes)?;
    // The first block that reads the site, and whether its attention does.
    let (first, attention) = match site {
        Site::ResidPre(l) => (l, true),
        Site::ResidMid(l) => (l, false),
        Site::AttnOut(l) if !model.parallel => (l, false),
        Site::AttnOut(l) | Site::MlpOut(l) | Site::ResidPost(l) => (l + 1, true),
        Site::Z(l, h) => return Ok(vec![Group::Projection(l, h)]),
        Site::MlpPost(l) => return Ok(vec![Group::Down(l)]),
        other => {
            return Err(Error::Place(format!(
                "{other}: nothing reads it linearly; give a site of the residual stream, hook_z or mlp.hook_post"
            )));
        }
    };
    let last = if set == ReaderSet::All { sizes.layers } else { (first + 1).min(sizes.layers) };
    let block = |l: usize| [Group::Attention(l), Group::Hidden(l)];
    let mut groups: Vec<Group> = (first..last).flat_map(block).collect();
    if !attention {
        groups.remove(0);
    }
    if set == ReaderSet::All || first == sizes.layers {
        groups.push(Group::Unembedding);
    }
    Ok(groups)
}

/// Returns the sites that a run needs for [`reader_rows`].
///
/// # Errors
/// A site that the model lacks, or that nothing reads linearly.
pub fn reader_sites(model: &Architecture, site: Site, set: ReaderSet) -> Result<Vec<Site>> {
    let of = |group: Group| match group {
        Group::Attention(_) | Group::Unembedding => None,
        Group::Hidden(l) => Some(Site::MlpPre(l)),
        Group::Projection(l, _) => Some(Site::AttnOut(l)),
        Group::Down(l) => Some(Site::MlpOut(l)),
    };
    Ok(std::iter::once(site).chain(groups(model, site, set)?.into_iter().filter_map(of)).collect())
}

/// Passes all rows `[n, width of the site]` of the matrix by which the readers read a site at a token to `visit`, in
/// parts.
///
/// The scales of norms are those of the run. A reader after attention reads the site directly, beside what attention
/// makes of it.
///
/// # Errors
/// A site that nothing reads linearly, a token outside of the run, a run that was not prepared for [`reader_sites`], a
/// value that is not finite, or a device error.
pub fn reader_rows(
    run: &Run,
    (site, token): (Site, usize),
    set: ReaderSet,
    visit: &mut dyn FnMut(&[f32]),
) -> Result<()> {
    let (model, tokens) = (run.model().architecture(), run.tokens().len());
    if token >= tokens {
        return Err(Error::Place(format!("token {token}: the prompt has tokens 0 to {}", tokens - 1)));
    }
    let (span, width) = (run.span(token, token + 1), site.width(run.sizes()));
    let mut checked = |rows: &[f32]| -> Result<()> {
        rows.chunks(width).try_for_each(|row| run.finite("a reader", site, token, row))?;
        visit(rows);
        Ok(())
    };
    for group in groups(model, site, set)? {
        match path(run, group)? {
            Some(path) => block_rows(run, span, &path, &mut checked)?,
            None => unembedding_rows(run, span, &mut checked)?,
        }
    }
    Ok(())
}

/// The ops from a value to what reads it.
struct Path {
    nodes: Chain,
    /// Width of what the readers compute.
    outputs: usize,
    /// Columns of the first value that belong to the site.
    columns: Range<usize>,
}

/// Returns the ops of a group; `None` for the unembedding.
fn path(run: &Run, group: Group) -> Result<Option<Path>> {
    let (model, sizes, program) = (run.model().architecture(), *run.sizes(), run.program());
    let value = |site: Site| run.value_of(site);
    let stream = |from: ValueId, to: ValueId, outputs: usize| {
        Ok(Some(Path { nodes: chain(program, from, to)?, outputs, columns: 0..sizes.d }))
    };
    match group {
        Group::Attention(l) => stream(program.field[l], value(Site::Q(l, 0))?, sizes.qkv_width()),
        Group::Hidden(l) => {
            let from = if model.parallel { program.field[l] } else { value(Site::ResidMid(l))? };
            stream(from, value(Site::MlpPre(l))?, hidden_width(model))
        }
        Group::Projection(l, h) => {
            let nodes = chain(program, value(Site::Z(l, h))?, value(Site::AttnOut(l))?)?;
            Ok(Some(Path { nodes, outputs: sizes.d, columns: Site::Z(l, h).columns(&sizes) }))
        }
        Group::Down(l) => {
            let nodes = chain(program, value(Site::MlpPost(l))?, value(Site::MlpOut(l))?)?;
            Ok(Some(Path { nodes, outputs: sizes.d, columns: 0..sizes.inner }))
        }
        Group::Unembedding => Ok(None),
    }
}

/// Returns the width of the value into the activation: of a gated MLP, the gate and what it multiplies.
fn hidden_width(model: &Architecture) -> usize {
    let Sizes { inner, .. } = model.sizes;
    if model.gated { 2 * inner } else { inner }
}

/// Passes the rows of a path to `visit`: the transposed path of one unit vector for each output.
fn block_rows(run: &Run, span: Span, path: &Path, visit: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
    let (device, program) = (run.device(), run.program().freeze(norms()));
    for first in (0..path.outputs).step_by(ROWS) {
        let n = ROWS.min(path.outputs - first);
        let mut rec = device.record();
        let units = units(n, first, path.outputs);
        let bars = device.upload("units", &[("rows", n), ("n", path.outputs)], &units)?;
        let rows = batch_of(device, &vec![span; n], &[], 0..=0)?;
        let read: Tensor = adjoint(&program, &mut rec, (&rows, &run.base.trace), &path.nodes, bars)?;
        device.submit(rec)?;
        let read = device.read(&read)?;
        let width = read.len() / n;
        match path.columns.len() == width {
            true => visit(&read)?,
            false => {
                let own = read.chunks(width).flat_map(|row| &row[path.columns.clone()]);
                visit(&own.copied().collect::<Vec<f32>>())?;
            }
        }
    }
    Ok(())
}

/// Passes the rows of the unembedding, through the final norm, to `visit`.
fn unembedding_rows(run: &Run, span: Span, visit: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
    let (device, weights, vocab) = (run.device(), &run.model().0.weights, run.sizes().vocab);
    whole_final_norm(run.program())?;
    let norm = weights.final_norm.freeze(norms()).unwrap_or_else(|| weights.final_norm.clone());
    for first in (0..vocab).step_by(ROWS) {
        let n = ROWS.min(vocab - first);
        let mut rec = device.record();
        let ids: Vec<u32> = (first as u32..(first + n) as u32).collect();
        let ids = device.upload("ids", &[("wanted", n)], &ids)?;
        let units = device.upload("units", &[("rows", n), ("wanted", n)], &units(n, 0, n))?;
        let rows = Rows::new(device, &vec![span; n])?;
        let bars = weights.unembed.vjp(&mut rec, &units, &ids)?;
        let read = norm.vjp(&mut rec, &rows, &run.base.head_residuals, &bars, &[None])?.swap_remove(0);
        device.submit(rec)?;
        visit(&device.read(&read)?)?;
    }
    Ok(())
}

/// What is frozen: the scales of norms.
fn norms() -> Frozen {
    Mode::FrozenNorm.frozen()
}

/// Returns rows `[n, width]` of unit vectors, from the one along `first` on.
fn units(n: usize, first: usize, width: usize) -> Vec<f32> {
    let mut units = vec![0.0; n * width];
    (0..n).for_each(|i| units[i * width + first + i] = 1.0);
    units
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::tiny;

    #[test]
    fn groups_of_sites() {
        let model: Architecture = tiny().into();
        let last = model.sizes.layers - 1;
        let of = |site, set| groups(&model, site, set).expect("is read");
        assert_eq!(of(Site::ResidPre(0), ReaderSet::Next), [Group::Attention(0), Group::Hidden(0)]);
        assert_eq!(of(Site::ResidMid(0), ReaderSet::Next), [Group::Hidden(0)]);
        assert_eq!(of(Site::MlpOut(0), ReaderSet::Next), of(Site::ResidPre(1), ReaderSet::Next));
        assert_eq!(of(Site::ResidPost(last), ReaderSet::Next), [Group::Unembedding]);
        assert_eq!(of(Site::MlpOut(last), ReaderSet::All), [Group::Unembedding]);
        assert_eq!(of(Site::AttnOut(last), ReaderSet::All), [Group::Hidden(last), Group::Unembedding]);
        assert_eq!(of(Site::ResidPre(0), ReaderSet::All).len(), 2 * model.sizes.layers + 1);
        let parallel = Architecture { parallel: true, ..model.clone() };
        assert_eq!(groups(&parallel, Site::AttnOut(0), ReaderSet::Next).expect("is read")[0], Group::Attention(1));
        assert!(groups(&model, Site::Q(0, 0), ReaderSet::Next).is_err());
        assert!(groups(&model, Site::ResidPre(9), ReaderSet::Next).is_err());
        assert!("some".parse::<ReaderSet>().is_err() && "all".parse::<ReaderSet>().is_ok());
    }
}
