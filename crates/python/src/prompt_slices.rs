//! Slices of many prompts, between places of each.

use pyo3::prelude::*;
use resolvent::field::{
    BasisContext, CaseRuns, OnProgress, PlacePairs, Prompts, Result as Found, Slice, clean_alone, distinct,
    over_prompts, slice_each,
};
use resolvent::model::{Linearization, Mode, Model, Observable, PromptCase};

use crate::arguments::place;
use crate::failure::{Result, value_error};
use crate::lists::{Many, Pair, count, counts};
use crate::prompts::PyPrompts;
use crate::result::PyResultOf;
use crate::slice::{Vectors, prepared};

/// A slice of each of many prompts; a displacement is to the row's corrupted prompt.
pub(crate) struct EachSlice {
    vectors: [Vectors; 2],
    rank: Option<usize>,
    /// Places of the sources, and of the readouts.
    ends: [Vec<Pair>; 2],
    /// Number of nodes of a secant operator, or 0, and the length of its sources.
    secants: (usize, f64),
}

impl EachSlice {
    /// Reads the bases. Their vectors must mean the same in every prompt.
    pub(crate) fn new(
        model: &Model,
        bases: [Option<&Bound<'_, PyAny>>; 2],
        rank: Option<usize>,
        ends: [Vec<Pair>; 2],
        secants: (usize, f64),
    ) -> Result<Self> {
        let vectors = Vectors::both(model, bases)?;
        if let Some(basis) = vectors.iter().find_map(Vectors::own_to_a_prompt) {
            return Err(value_error(format!(
                "the vectors of the basis {basis} differ from prompt to prompt, so blocks have no mean; give vectors [d, k], \
                 random, unembed:TOKEN,..., a file, sensitivity or displacement"
            )));
        }
        if ends.iter().any(Vec::is_empty) {
            return Err(value_error("with many prompts a slice needs a place in sources and in targets"));
        }
        Ok(Self { vectors, rank, ends, secants })
    }

    fn prepared<'a>(&self, runs: &CaseRuns<'_>, linear: &'a Linearization<'a>) -> Found<Slice<'a>> {
        let places = |end: &Vec<Pair>| end.iter().map(|&at| place(&runs.clean, at)).collect::<Found<Vec<_>>>();
        let [from, to] = [distinct(places(&self.ends[0])?), distinct(places(&self.ends[1])?)];
        let observables: Vec<Observable> = runs.case.observable.iter().cloned().collect();
        let others = runs.corrupted.as_slice();
        let context = BasisContext { observables: &observables, others, rank: self.rank, position: None };
        let pairs = PlacePairs::new(&runs.clean, Some(&from), Some(&to))?;
        let [source, readout] = &self.vectors;
        let slice = prepared(linear, pairs, [source, readout], context)?;
        match self.secants {
            (0, _) => Ok(slice),
            (nodes, amplitude) => slice.secants(nodes, amplitude),
        }
    }
}

#[pymethods]
impl PyPrompts {
    /// Slices of each prompt's Green operator between the places of `sources` and of `targets`: (level, position),
    /// counted from the end if negative. Arrays as those of `Run.slice`, with an axis `prompt`. A displacement is to
    /// the row's corrupted prompt. `nodes` and `amplitude` slice the secant operator.
    #[pyo3(
        signature = (basis, readout = None, *, sources, targets, rank = None, nodes = 0, amplitude = 0.1),
        text_signature = "($self, basis, readout=None, *, sources, targets, rank=None, nodes=0, amplitude=0.1)"
    )]
    fn slice(
        &self,
        py: Python<'_>,
        basis: &Bound<'_, PyAny>,
        readout: Option<&Bound<'_, PyAny>>,
        sources: Many<Pair>,
        targets: Many<Pair>,
        rank: Option<i64>,
        nodes: i64,
        amplitude: f64,
    ) -> Result<PyResultOf> {
        let (rank, secants) = (counts("rank", rank)?, (count("nodes", nodes)?, amplitude));
        let each = EachSlice::new(&self.model, [Some(basis), readout], rank, [sources.0, targets.0], secants)?;
        self.each(py, |model, cases, progress| slice(&each, (model, cases), progress))
    }
}

/// Slices the operator of each prompt.
pub(crate) fn slice(
    each: &EachSlice,
    (model, cases): (&Model, &[PromptCase]),
    progress: OnProgress<'_>,
) -> Found<Prompts> {
    let batch = &mut |all: &[CaseRuns<'_>]| {
        let linear: Vec<Linearization<'_>> = all.iter().map(|runs| runs.clean.linearize(Mode::Exact)).collect();
        slice_each(all.iter().zip(&linear).map(|(runs, linear)| each.prepared(runs, linear)).collect())
    };
    match each.vectors.iter().any(Vectors::needs_other) {
        true => over_prompts(model, cases, &[], batch, progress),
        false => over_prompts(model, &clean_alone(cases), &[], batch, progress),
    }
}
