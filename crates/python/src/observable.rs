//! The class `Observable`: a scalar of a run, defined before there is a run.

use pyo3::prelude::*;
use pyo3::types::PyString;
use resolvent::model::{Distribution, Observable, Run, from_end, token_text};

use crate::arguments::{field_vector, place, token};
use crate::failure::Result;
use crate::run::PyRun;
use crate::work::detached;

/// A scalar J of a run. Made by `logit`, `logit_diff`, `log_prob`, `kl_divergence` and `projection`; tokens are looked up in
/// the model of the run that it is read from.
#[pyclass(frozen, name = "Observable", module = "resolvent")]
pub(crate) struct PyObservable {
    kind: Kind,
    /// Position at which J is read; -1 is the last.
    position: i64,
}

enum Kind {
    Logit(Py<PyAny>),
    LogitDiff(Py<PyAny>, Py<PyAny>),
    LogProb(Py<PyAny>),
    Divergence(Py<PyRun>),
    Projection(i64, Py<PyAny>),
}

impl PyObservable {
    /// Resolves tokens and positions for `run`.
    pub(crate) fn of(&self, py: Python<'_>, run: &Run) -> Result<Observable> {
        let (model, tokens) = (run.model(), run.tokens().len());
        let position = from_end("position", self.position, tokens)?;
        Ok(match &self.kind {
            Kind::Logit(target) => Observable::logit(token(model, target.bind(py))?, position),
            Kind::LogitDiff(target, against) => {
                let (target, against) = (token(model, target.bind(py))?, token(model, against.bind(py))?);
                Observable::logit_diff(target, against, position)
            }
            Kind::LogProb(target) => Observable::log_prob(token(model, target.bind(py))?, position),
            Kind::Divergence(base) => {
                let base = &base.get().run;
                let at = from_end("position", self.position, base.tokens().len())?;
                let logits = detached(py, |_| base.logits_at(at))?;
                Observable::Divergence { position, base: Distribution::of(&logits) }
            }
            Kind::Projection(level, direction) => {
                let (level, token) = place(run, (*level, self.position))?;
                Observable::Field { level, token, direction: field_vector(model, direction.bind(py))? }
            }
        })
    }

    /// Returns J in the grammar of observables, as figures show it: `logit(" Paris") - logit(" Rome")`.
    pub(crate) fn title(&self, py: Python<'_>) -> Result<String> {
        let shown = |token: &Py<PyAny>| -> Result<String> {
            let token = token.bind(py);
            Ok(match token.cast::<PyString>() {
                Ok(text) => token_text(&text.to_cow()?),
                Err(_) => format!("#{}", token.str()?.to_cow()?),
            })
        };
        let at = if self.position == -1 { String::new() } else { format!("@{}", self.position) };
        Ok(match &self.kind {
            Kind::Logit(target) => format!("logit({}){at}", shown(target)?),
            Kind::LogitDiff(target, against) => {
                format!("logit({}){at} - logit({}){at}", shown(target)?, shown(against)?)
            }
            Kind::LogProb(target) => format!("logprob({}){at}", shown(target)?),
            Kind::Divergence(_) => format!("kl(base){at}"),
            Kind::Projection(level, _) => format!("project({level}, {}, u)", self.position),
        })
    }
}

#[pymethods]
impl PyObservable {
    fn __repr__(&self, py: Python<'_>) -> Result<String> {
        Ok(format!("<resolvent.Observable {}>", self.title(py)?))
    }
}

/// The logit of a token at a position.
///
/// `target` is text that is one token (`" Paris"`, with its space) or an id; position -1 is the last.
#[pyfunction]
#[pyo3(signature = (target, position = -1), text_signature = "(target, position=-1)")]
pub(crate) fn logit(target: Py<PyAny>, position: i64) -> PyObservable {
    PyObservable { kind: Kind::Logit(target), position }
}

/// The logit of a token minus that of another, at a position.
///
/// Tokens are text that is one token (`" Paris"`, with its space) or ids; position -1 is the last.
#[pyfunction]
#[pyo3(signature = (target, against, position = -1), text_signature = "(target, against, position=-1)")]
pub(crate) fn logit_diff(target: Py<PyAny>, against: Py<PyAny>, position: i64) -> PyObservable {
    PyObservable { kind: Kind::LogitDiff(target, against), position }
}

/// The log-probability of a token at a position, in nats.
#[pyfunction]
#[pyo3(signature = (target, position = -1), text_signature = "(target, position=-1)")]
pub(crate) fn log_prob(target: Py<PyAny>, position: i64) -> PyObservable {
    PyObservable { kind: Kind::LogProb(target), position }
}

/// KL(base || run) of the next token at a position, in nats: 0 where a run says what the base run says.
#[pyfunction]
#[pyo3(signature = (base, position = -1), text_signature = "(base, position=-1)")]
pub(crate) fn kl_divergence(base: Py<PyRun>, position: i64) -> PyObservable {
    PyObservable { kind: Kind::Divergence(base), position }
}

/// `<h[level, position], direction>`: the field at a place, projected on a direction [d]. Negative numbers count from the end.
#[pyfunction]
pub(crate) fn projection(level: i64, position: i64, direction: Py<PyAny>) -> PyObservable {
    PyObservable { kind: Kind::Projection(level, direction), position }
}
