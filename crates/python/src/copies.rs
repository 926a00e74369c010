//! Copies, equality and pickling. Objects never change, so a copy is the object itself.
//!
//! A pickle names a function of this file and its arguments. A model is opened again by its name, and a run is computed
//! again.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use resolvent::model::{Change, RunOptions};

use crate::arguments::{Token, TokenList, tokens};
use crate::arrays::{to_numpy, vector};
use crate::classes::{PyModel, PyRun};
use crate::dictionary::PyDictionary;
use crate::edit::{PyCotangent, PyEdit, PySource};
use crate::failure::{Result, value_error};
use crate::linearization::PyLinearization;
use crate::observable::{Base, Kind, PyObservable, same_run};
use crate::opened::Opened;
use crate::positions::Positions;
use crate::result::PyResultOf;
use crate::work::detached;

type Any<'py> = Bound<'py, PyAny>;

/// What `__reduce__` returns: a function and its arguments.
type Reduced<'py> = (Any<'py>, Bound<'py, PyTuple>);

/// Returns a function of this file with its arguments.
pub(crate) fn by<'py>(py: Python<'py>, name: &str, arguments: Bound<'py, PyTuple>) -> Result<Reduced<'py>> {
    Ok((py.import("resolvent._native")?.getattr(name)?, arguments))
}

macro_rules! immutable {
    ($($class:ty),*) => {$(
        #[pymethods]
        impl $class {
            fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
                slf
            }

            fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Any<'py>) -> Bound<'py, Self> {
                slf
            }
        }
    )*};
}
immutable!(PyModel, PyRun, PyLinearization, PyDictionary, PyObservable, PyEdit, PySource, PyCotangent, PyResultOf);

/// Hashes what equal objects have in common.
pub(crate) fn hash_of(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

#[pymethods]
impl PyModel {
    fn __eq__(&self, other: &Any<'_>) -> bool {
        let about = |model: &resolvent::model::Model| (model.hash().to_owned(), model.device().info().to_string());
        other.cast::<Self>().is_ok_and(|other| about(&self.model) == about(&other.get().model))
    }

    fn __hash__(&self) -> u64 {
        hash_of(self.model.hash())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Result<Reduced<'py>> {
        let Opened { name, device, memory, rounded } = Opened::of(&self.model)?;
        by(py, "_model", (name, device, memory, rounded, self.model.hash()).into_pyobject(py)?)
    }
}

#[pymethods]
impl PyRun {
    fn __eq__(&self, other: &Any<'_>) -> bool {
        other.cast::<Self>().is_ok_and(|other| same_run(&self.run, &other.get().run))
    }

    fn __hash__(&self) -> u64 {
        hash_of((self.run.model().hash(), self.run.tokens()))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Result<Reduced<'py>> {
        let edits = self.run.edits().iter().map(|edit| Bound::new(py, PyEdit::of(edit)));
        let edits = edits.collect::<PyResult<Vec<_>>>()?;
        let model = PyModel::new(self.run.model().clone());
        by(py, "_run", (Bound::new(py, model)?, self.run.tokens().to_vec(), edits).into_pyobject(py)?)
    }
}

#[pymethods]
impl PyEdit {
    fn __eq__(&self, other: &Any<'_>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self == other.get())
    }

    fn __hash__(&self) -> u64 {
        hash_of((self.site, &self.positions))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Result<Reduced<'py>> {
        let array = |s: &Vec<f32>| Ok::<_, PyErr>(to_numpy(py, s.clone(), &self.shape)?.into_any());
        let (kind, with) = match &self.change {
            Change::Add(s) => ("add", array(s)?),
            Change::Put(s) => ("put", array(s)?),
            Change::Project(s) => ("project_out", array(s)?),
            Change::Scale(amount) => ("scale", amount.into_pyobject(py)?.into_any()),
            Change::Take(_) => return Err(value_error("an edit that takes a value on a device cannot be pickled")),
        };
        by(py, "_edit", (kind, self.site.to_string(), self.positions.to_python(py)?, with).into_pyobject(py)?)
    }
}

#[pymethods]
impl PySource {
    fn __eq__(&self, other: &Any<'_>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self == other.get())
    }

    fn __hash__(&self) -> u64 {
        hash_of((self.site.to_string(), self.position))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Result<Reduced<'py>> {
        let array = to_numpy(py, self.vector.clone(), &[self.vector.len()])?;
        let arguments = (self.site.to_string(), self.position, array).into_pyobject(py)?;
        Ok((py.get_type::<Self>().into_any(), arguments))
    }
}

#[pymethods]
impl PyCotangent {
    fn __eq__(&self, other: &Any<'_>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self == other.get())
    }

    fn __hash__(&self) -> u64 {
        hash_of((self.level, self.position))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Result<Reduced<'py>> {
        let array = to_numpy(py, self.vector.clone(), &[self.vector.len()])?;
        Ok((py.get_type::<Self>().into_any(), (self.level, self.position, array).into_pyobject(py)?))
    }
}

#[pymethods]
impl PyObservable {
    fn __eq__(&self, other: &Any<'_>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self == other.get())
    }

    fn __hash__(&self) -> u64 {
        hash_of(self.title())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Result<Reduced<'py>> {
        let terms = self.terms.iter().map(|(weight, kind)| {
            let (name, [a, b, c]) = parts(py, kind)?;
            Ok((f64::from(*weight), name, a, b, c))
        });
        let terms = terms.collect::<Result<Vec<_>>>()?;
        by(py, "_observable", (PyList::new(py, terms)?,).into_pyobject(py)?)
    }
}

/// Returns the name and the arguments of a part of an observable.
fn parts<'py>(py: Python<'py>, kind: &Kind) -> Result<(&'static str, [Any<'py>; 3])> {
    let none = || py.None().into_bound(py);
    let int = |n: &i64| Ok::<_, PyErr>(n.into_pyobject(py)?.into_any());
    let run = |Base(run): &Base| Ok::<_, PyErr>(Bound::new(py, PyRun { run: run.clone() })?.into_any());
    let token = |token: &Token| {
        Ok::<_, PyErr>(match token {
            Token::Text(text) => text.into_pyobject(py)?.into_any(),
            Token::Id(id) => id.into_pyobject(py)?.into_any(),
        })
    };
    Ok(match kind {
        Kind::Text(text, base) => {
            let base = base.as_ref().map(run).transpose()?.unwrap_or_else(none);
            ("text", [text.into_pyobject(py)?.into_any(), base, none()])
        }
        Kind::Logit(target, at) => ("logit", [token(target)?, int(at)?, none()]),
        Kind::LogProb(target, at) => ("log_prob", [token(target)?, int(at)?, none()]),
        Kind::Prob(targets, at) => {
            let targets = targets.iter().map(token).collect::<PyResult<Vec<_>>>()?;
            ("prob", [PyList::new(py, targets)?.into_any(), int(at)?, none()])
        }
        Kind::Entropy(at) => ("entropy", [int(at)?, none(), none()]),
        Kind::Kl(base, at) => ("kl", [run(base)?, int(at)?, none()]),
        Kind::KlFrom(base, at) => ("kl_from", [run(base)?, int(at)?, none()]),
        Kind::Continuation(TokenList::Text(text), at) => {
            ("continuation", [text.into_pyobject(py)?.into_any(), int(at)?, none()])
        }
        Kind::Continuation(TokenList::Ids(ids), at) => {
            ("continuation", [PyList::new(py, ids)?.into_any(), int(at)?, none()])
        }
        Kind::Projection((level, at), u) => {
            ("projection", [int(level)?, int(at)?, to_numpy(py, u.clone(), &[u.len()])?.into_any()])
        }
    })
}

/// Makes a part of an observable of its name and its arguments.
fn kind(name: &str, [a, b, c]: [&Any<'_>; 3]) -> Result<Kind> {
    let run = |any: &Any<'_>| Ok::<_, PyErr>(Base(any.cast::<PyRun>().map_err(PyErr::from)?.get().run.clone()));
    Ok(match name {
        "text" => Kind::Text(a.extract()?, if b.is_none() { None } else { Some(run(b)?) }),
        "logit" => Kind::Logit(Token::new(a)?, b.extract()?),
        "log_prob" => Kind::LogProb(Token::new(a)?, b.extract()?),
        "prob" => {
            let targets = a.try_iter()?.map(|target| Token::new(&target?)).collect::<Result<_>>()?;
            Kind::Prob(targets, b.extract()?)
        }
        "entropy" => Kind::Entropy(a.extract()?),
        "kl" => Kind::Kl(run(a)?, b.extract()?),
        "kl_from" => Kind::KlFrom(run(a)?, b.extract()?),
        "continuation" => Kind::Continuation(TokenList::new(a)?, b.extract()?),
        "projection" => Kind::Projection((a.extract()?, b.extract()?), vector(c)?),
        other => return Err(value_error(format!("no observable is called `{other}`; pickle it again"))),
    })
}

/// Opens a pickled model.
#[pyfunction]
pub(crate) fn _model(
    py: Python<'_>,
    name: String,
    device: String,
    memory: u64,
    rounded: [bool; 2],
    hash: &str,
) -> Result<PyModel> {
    let opened = Opened { name, device, memory, rounded }.open(py, false)?;
    match opened.model.hash() == hash {
        true => Ok(opened),
        false => {
            let name = opened.model.name();
            Err(value_error(format!("{name} has other weights than when it was pickled; open it by its name")))
        }
    }
}

/// Computes a pickled run.
#[pyfunction]
pub(crate) fn _run(
    py: Python<'_>,
    model: &Bound<'_, PyModel>,
    prompt: &Any<'_>,
    edits: Vec<Py<PyEdit>>,
) -> Result<PyRun> {
    let model = &model.get().model;
    let ids = tokens(model, prompt)?;
    let edits = PyEdit::all(&edits, model, ids.len())?;
    let options = RunOptions { edits, sites: Vec::new() };
    Ok(PyRun { run: detached(py, |_| model.run_with(&ids, &options))? })
}

/// Makes a pickled edit.
#[pyfunction]
pub(crate) fn _edit(kind: &str, site: &str, position: Positions, with: &Any<'_>) -> Result<PyEdit> {
    match kind {
        "add" => PyEdit::add(site, position, with),
        "put" => PyEdit::put(site, position, with),
        "project_out" => PyEdit::project_out(site, position, with),
        "scale" => PyEdit::scale(site, position, with.extract()?),
        other => Err(value_error(format!("no edit is called `{other}`; pickle it again"))),
    }
}

/// Makes a pickled observable.
#[pyfunction]
pub(crate) fn _observable(terms: Vec<(f32, String, Any<'_>, Any<'_>, Any<'_>)>) -> Result<PyObservable> {
    let term = |(weight, name, a, b, c): &(f32, String, Any<'_>, Any<'_>, Any<'_>)| {
        Ok((*weight, Arc::new(kind(name, [a, b, c])?)))
    };
    Ok(PyObservable { terms: terms.iter().map(term).collect::<Result<_>>()? })
}
