//! The derivative of the model at a run, in forward and in reverse mode.

use numpy::{PyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use resolvent::model::{Fields, Mode, Run, Seed, Site, Source};

use crate::arrays::{contiguous, floats, to_numpy};
use crate::classes::PyRun;
use crate::edit::{PyCotangent, PySource};
use crate::failure::{Result, value_error};
use crate::observable::{Given, PyObservable};
use crate::work::detached;

/// The derivative of the model at a run: tangents by forward mode (`jvp`), cotangents by reverse mode (`vjp`). Several
/// of them share one pass over the weights.
#[pyclass(frozen, name = "Linearization", module = "resolvent")]
pub(crate) struct PyLinearization {
    run: Run,
    mode: Mode,
}

/// Modes by their names.
const MODES: [(&str, Mode); 5] = [
    ("exact", Mode::Exact),
    ("frozen_norm", Mode::FrozenNorm),
    ("frozen_attention", Mode::FrozenAttention),
    ("frozen", Mode::Frozen),
    ("relp", Mode::RelP),
];

impl PyLinearization {
    pub(crate) fn new(run: Run, mode: &str) -> Result<Self> {
        let mode = MODES.iter().find(|(name, _)| *name == mode).map(|(_, mode)| *mode).ok_or_else(|| {
            value_error(format!("invalid mode `{mode}`: expected one of {}", MODES.map(|(name, _)| name).join(", ")))
        })?;
        Ok(Self { run, mode })
    }
}

/// One field, or a batch of them.
type Array<'py> = Bound<'py, PyArrayDyn<f32>>;

#[pymethods]
impl PyLinearization {
    /// Computes response fields G s by forward mode.
    ///
    /// With one entry, returns [L+1, T, d]; with a list of K entries, [K, L+1, T, d]. One entry of `sources` is a
    /// `Source`, or an array [L+1, T, d] with a source at every place. In a list, an entry may also be a list of
    /// sources, whose sum it is. Responses are exactly zero outside of the causal cone.
    fn jvp<'py>(&self, py: Python<'py>, sources: &Bound<'py, PyAny>) -> Result<Array<'py>> {
        let (one, entries) = entries(sources, |entry| self.sources(entry))?;
        let (run, mode) = (&self.run, self.mode);
        let fields = detached(py, |_| run.linearize(mode).jvp(&entries))?;
        self.array(py, one, fields)
    }

    /// Computes sensitivity fields by reverse mode: the derivative of each cotangent's pairing by every h[l, t].
    ///
    /// With one entry, returns [L+1, T, d]; with a list of K entries, [K, L+1, T, d]. One entry of `cotangents` is an
    /// `Observable`, a `Cotangent`, or an array [L+1, T, d]. In a list, an entry may also be a list of these, whose sum
    /// it is.
    fn vjp<'py>(&self, py: Python<'py>, cotangents: &Bound<'py, PyAny>) -> Result<Array<'py>> {
        let (one, entries) = entries(cotangents, |entry| self.seeds(entry))?;
        let (run, mode) = (&self.run, self.mode);
        let fields = detached(py, |_| run.linearize(mode).vjp(&entries))?;
        self.array(py, one, fields)
    }

    /// Computes the first and second order of the response field: two arrays, each shaped like the result of `jvp`.
    ///
    /// They are `d/da` and `d2/da2` of the field of a run to which a times the sources is added.
    fn jet<'py>(&self, py: Python<'py>, sources: &Bound<'py, PyAny>) -> Result<(Array<'py>, Array<'py>)> {
        let (one, entries) = entries(sources, |entry| self.sources(entry))?;
        let (run, mode) = (&self.run, self.mode);
        let jets = detached(py, |_| run.linearize(mode).jet(&entries))?;
        Ok((self.array(py, one, jets.first)?, self.array(py, one, jets.second)?))
    }

    /// Computes the first and second derivative of an observable along sources: `(dJ/da, d2J/da2)` for one entry, a
    /// list of K such pairs for a list.
    fn along<'py>(
        &self,
        py: Python<'py>,
        sources: &Bound<'py, PyAny>,
        observable: Given<'py>,
    ) -> Result<Bound<'py, PyAny>> {
        let (one, entries) = entries(sources, |entry| self.sources(entry))?;
        let (run, mode, j) = (&self.run, self.mode, observable.get().of(py, &self.run)?);
        let along = detached(py, |_| run.linearize(mode).along(&entries, &j))?;
        let pairs: Vec<(f64, f64)> = along.iter().map(|a| (a.first, a.second)).collect();
        Ok(match one {
            true => pairs[0].into_pyobject(py)?.into_any(),
            false => PyList::new(py, pairs)?.into_any(),
        })
    }

    /// Computes `H s` for sources s, where H is the second derivative of an observable by the field of all places: the
    /// derivative of its sensitivities along s. One entry gives [L+1, T, d], a list of K entries [K, L+1, T, d].
    fn hvp<'py>(&self, py: Python<'py>, sources: &Bound<'py, PyAny>, observable: Given<'py>) -> Result<Array<'py>> {
        let (one, entries) = entries(sources, |entry| self.sources(entry))?;
        let (run, mode, j) = (&self.run, self.mode, observable.get().of(py, &self.run)?);
        let fields = detached(py, |_| run.linearize(mode).hvp(&entries, &j))?;
        self.array(py, one, fields)
    }

    /// The run of this linearisation.
    #[getter]
    fn run(&self) -> PyRun {
        PyRun { run: self.run.clone() }
    }

    fn __repr__(&self) -> String {
        format!("<resolvent.Linearization of {} at {} tokens>", self.run.model().name(), self.run.tokens().len())
    }
}

/// Returns the entries of an argument that is one entry or a list of entries, and whether it is one.
fn entries<'py, T>(
    argument: &Bound<'py, PyAny>,
    entry: impl Fn(&Bound<'py, PyAny>) -> Result<Vec<T>>,
) -> Result<(bool, Vec<Vec<T>>)> {
    match sequence(argument) {
        Some(items) => Ok((false, items?.iter().map(entry).collect::<Result<_>>()?)),
        None => Ok((true, vec![entry(argument)?])),
    }
}

/// Returns the items of a list or a tuple.
fn sequence<'py>(any: &Bound<'py, PyAny>) -> Option<PyResult<Vec<Bound<'py, PyAny>>>> {
    (any.is_instance_of::<PyList>() || any.is_instance_of::<PyTuple>()).then(|| any.try_iter()?.collect())
}

impl PyLinearization {
    /// Returns the sources of one entry.
    fn sources(&self, entry: &Bound<'_, PyAny>) -> Result<Vec<Source>> {
        if let Some(items) = sequence(entry) {
            return Ok(items?.iter().map(|i| self.sources(i)).collect::<Result<Vec<_>>>()?.concat());
        }
        if let Ok(source) = entry.cast::<PySource>() {
            return Ok(vec![source.get().at(self.run.tokens().len())?]);
        }
        let sizes = self.run.model().sizes();
        let make = |level, token, vector| Source { site: Site::level(level, sizes), token, vector };
        self.everywhere(entry, make)
    }

    fn seeds(&self, entry: &Bound<'_, PyAny>) -> Result<Vec<Seed>> {
        if let Some(items) = sequence(entry) {
            return Ok(items?.iter().map(|i| self.seeds(i)).collect::<Result<Vec<_>>>()?.concat());
        }
        let py = entry.py();
        if let Ok(observable) = entry.cast::<PyObservable>() {
            let j = observable.get().of(py, &self.run)?;
            let run = &self.run;
            return detached(py, |_| run.seeds(&j));
        }
        if let Ok(cotangent) = entry.cast::<PyCotangent>() {
            return Ok(vec![cotangent.get().at(self.run.model(), self.run.tokens().len())?]);
        }
        self.everywhere(entry, |level, token, vector| Seed::Field { level, token, vector })
    }

    /// Converts the nonzero rows of an array `[L+1, T, d]`, each at its place.
    fn everywhere<T>(&self, entry: &Bound<'_, PyAny>, make: impl Fn(usize, usize, Vec<f32>) -> T) -> Result<Vec<T>> {
        let (array, shape) = (floats(entry)?, self.shape());
        if array.shape() != shape {
            return Err(value_error(format!(
                "invalid shape {:?} of an array: expected {shape:?}, the field of this run",
                array.shape()
            )));
        }
        let rows = contiguous(&array)?.chunks(shape[2]).enumerate();
        let rows = rows.filter(|(_, row)| row.iter().any(|x| *x != 0.0));
        Ok(rows.map(|(i, row)| make(i / shape[1], i % shape[1], row.to_vec())).collect())
    }

    /// Returns the shape `[L+1, T, d]` of the run's field.
    fn shape(&self) -> [usize; 3] {
        let sizes = self.run.model().sizes();
        [sizes.layers + 1, self.run.tokens().len(), sizes.d]
    }

    fn array<'py>(&self, py: Python<'py>, one: bool, fields: Fields) -> Result<Array<'py>> {
        let (count, shape) = (fields.len(), self.shape());
        let shape = if one { shape.to_vec() } else { [&[count], &shape[..]].concat() };
        Ok(to_numpy(py, fields.into_single(), &shape)?)
    }
}
