//! Slices of the Green operator.

use std::path::PathBuf;

use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;
use pyo3::types::PyString;
use resolvent::field::{Basis, BasisContext, End, Frames, PlacePairs, Result as Found, Slice};
use resolvent::model::{Linearization, Mode, Model, Run, from_end};
use resolvent::{Labelled, Place};

use crate::analyses::observables;
use crate::arguments::{place, run_of};
use crate::arrays::{contiguous, floats};
use crate::failure::{Failure, Result, value_error};
use crate::lists::{Many, Pair};
use crate::observable::PyObservable;
use crate::result::PyResultOf;
use crate::work::{Bar, detached};

/// Arguments of a slice, besides its bases and what they refer to.
pub(crate) struct SliceArguments {
    pub(crate) rank: Option<usize>,
    pub(crate) sources: Option<Many<Pair>>,
    pub(crate) targets: Option<Many<Pair>>,
    pub(crate) position: i64,
    pub(crate) nodes: usize,
    pub(crate) amplitude: f64,
    pub(crate) out: Option<PathBuf>,
    pub(crate) fresh: bool,
    pub(crate) progress: bool,
}

/// A named basis, or vectors `[d, k]`.
#[derive(Clone)]
pub(crate) enum Vectors {
    Named(Basis),
    Given(Frames),
}

impl Vectors {
    pub(crate) fn new(model: &Model, argument: Option<&Bound<'_, PyAny>>) -> Result<Self> {
        let Some(argument) = argument else { return Ok(Self::Named(Basis::Pca)) };
        if let Ok(text) = argument.cast::<PyString>() {
            return Ok(Self::Named(Basis::parse(&text.to_cow()?, model)?));
        }
        let (array, width) = (floats(argument)?, model.sizes().d);
        let [d, k] = *array.shape() else {
            return Err(value_error(format!("invalid shape {:?} of a basis: expected vectors [d, k]", array.shape())));
        };
        if d != width || k == 0 {
            return Err(value_error(format!("invalid shape [{d}, {k}] of a basis: expected [{width}, k] with k > 0")));
        }
        let elements = contiguous(&array)?;
        let columns = (0..k).flat_map(|i| elements.iter().skip(i).step_by(k).copied()).collect();
        Ok(Self::Given(Frames::everywhere(k, columns)))
    }

    /// Reads the basis of the sources, and that of the readouts, which is the same unless it is given.
    pub(crate) fn both(model: &Model, [source, readout]: [Option<&Bound<'_, PyAny>>; 2]) -> Result<[Self; 2]> {
        let source = Self::new(model, source)?;
        let readout = readout.map_or_else(|| Ok(source.clone()), |readout| Self::new(model, Some(readout)))?;
        Ok([source, readout])
    }

    /// Returns the named basis, if its vectors differ from prompt to prompt.
    pub(crate) fn own_to_a_prompt(&self) -> Option<&Basis> {
        if let Self::Named(basis) = self { Some(basis).filter(|basis| !basis.is_shared()) } else { None }
    }

    /// Returns whether the vectors come from another prompt.
    pub(crate) fn needs_other(&self) -> bool {
        matches!(self, Self::Named(basis) if basis.needs_other())
    }

    /// Returns whether the rank is fixed: that of a file, or of given vectors.
    fn has_rank(&self) -> bool {
        matches!(self, Self::Given(_) | Self::Named(Basis::File(_)))
    }

    pub(crate) fn frames(
        &self,
        linear: &Linearization<'_>,
        (places, end): (&[Place], End),
        context: BasisContext<'_>,
    ) -> Found<Frames> {
        match self {
            Self::Named(basis) => basis.frames(linear, places, end, context),
            Self::Given(frames) => Ok(frames.clone()),
        }
    }
}

/// Prepares a slice between a source basis and a readout basis.
///
/// `rank` applies to computed bases. If none is computed, it is passed on, so that it can be refused.
pub(crate) fn prepared<'a>(
    linear: &'a Linearization<'a>,
    pairs: PlacePairs,
    [source, readout]: [&Vectors; 2],
    context: BasisContext<'_>,
) -> Found<Slice<'a>> {
    let all_have = source.has_rank() && readout.has_rank();
    let [of_source, of_readout] = [source, readout]
        .map(|vectors| BasisContext { rank: context.rank.filter(|_| all_have || !vectors.has_rank()), ..context });
    match (source, readout) {
        (Vectors::Named(source), Vectors::Named(readout)) => {
            Slice::new(linear, pairs, [source, readout], [of_source, of_readout])
        }
        _ => {
            let v = source.frames(linear, (pairs.from(), End::Source), of_source)?;
            let u = readout.frames(linear, (pairs.to(), End::Readout), of_readout)?;
            Slice::with_frames(linear, pairs, [v, u])
        }
    }
}

pub(crate) fn slice(
    py: Python<'_>,
    run: &Run,
    [basis, readout]: [Option<&Bound<'_, PyAny>>; 2],
    (observable, donors): (Option<&Bound<'_, PyObservable>>, &[Bound<'_, PyAny>]),
    arguments: SliceArguments,
) -> Result<PyResultOf> {
    let [source, readout] = Vectors::both(run.model(), [basis, readout])?;
    let observables = observables(py, run, observable)?;
    let others = donors.iter().map(|donor| run_of(run.model(), donor, "a donor")).collect::<Result<Vec<Run>>>()?;
    let listed = |given: &Option<Many<Pair>>| -> Result<Option<Vec<Place>>> {
        given.as_ref().map(|given| given.0.iter().map(|&at| Ok(place(run, at)?)).collect()).transpose()
    };
    let (sources, targets) = (listed(&arguments.sources)?, listed(&arguments.targets)?);
    let pairs = PlacePairs::new(run, sources.as_deref(), targets.as_deref())?;
    let position = Some(from_end("position", arguments.position, run.tokens().len())?);
    let mut bar = if arguments.progress { Bar::new(py, ("slice", "rows"))? } else { Bar::default() };
    let result = detached(py, |raised| {
        let linear = run.linearize(Mode::Exact);
        let context = BasisContext { observables: &observables, others: &others, position, rank: arguments.rank };
        let slice = prepared(&linear, pairs, [&source, &readout], context)?;
        let slice = match arguments.nodes {
            0 => slice,
            nodes => slice.secants(nodes, arguments.amplitude)?,
        };
        let mut show = |done, all| bar.show(raised, (done, all), None);
        Ok::<_, Failure>(match &arguments.out {
            Some(path) => {
                slice.write(path, arguments.fresh, &mut show)?;
                Labelled::read(path)?
            }
            None => slice.compute(&mut show)?.result,
        })
    })?;
    drop(bar);
    PyResultOf::new(py, result, Some(run), None)
}
