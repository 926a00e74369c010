//! The class `Observable`: a scalar of a run, defined before there is a run.

use std::ops::Deref;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use resolvent::model::{
    Distribution, Error, Model, Observable, ObservableContext, Quantity, Run, Term, from_end, token_text,
};

use crate::arguments::{Token, TokenList, check_model, fits};
use crate::arrays::vector;
use crate::classes::PyRun;
use crate::failure::{Result, value_error};
use crate::lists::{List, shown};
use crate::work::detached;

/// A scalar J of a run, made from text in the grammar of observables: `Observable('logprob(" Paris") - entropy()@-2')`.
///
/// `base` is the run that `kl(base)` and `kl_from(base)` denote; without it, the run that J is read from, and in
/// `patch_sweep` the clean run. Sums and differences of observables and products with
/// numbers are observables too. Tokens are looked up in the model of the run that J is read from.
#[pyclass(frozen, name = "Observable", module = "resolvent")]
#[derive(PartialEq)]
pub(crate) struct PyObservable {
    pub(crate) terms: Vec<(f32, Arc<Kind>)>,
}

/// An observable as an argument. Its text alone is refused, with the class that reads it.
pub(crate) struct Given<'py>(Bound<'py, PyObservable>);

impl<'py> Deref for Given<'py> {
    type Target = Bound<'py, PyObservable>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Given<'py> {
    type Error = PyErr;

    fn extract(any: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let fix = match any.extract::<String>() {
            Ok(text) => format!("give Observable({text:?}), which reads text"),
            Err(_) => "give one such as logit(\" Paris\"), or Observable(text)".to_owned(),
        };
        let given = any.cast::<PyObservable>().map(|one| Self(one.to_owned()));
        given.map_err(|_| PyTypeError::new_err(format!("expected an observable, got {}; {fix}", shown(&any))))
    }
}

/// A part of an observable. Positions count from the end if they are negative.
#[derive(PartialEq)]
pub(crate) enum Kind {
    Text(String, Option<Base>),
    Logit(Token, i64),
    LogProb(Token, i64),
    Prob(Vec<Token>, i64),
    Entropy(i64),
    Kl(Base, i64),
    KlFrom(Base, i64),
    Continuation(TokenList, i64),
    Projection((i64, i64), Vec<f32>),
}

/// The run that a divergence compares with.
pub(crate) struct Base(pub(crate) Run);

impl PartialEq for Base {
    fn eq(&self, other: &Self) -> bool {
        same_run(&self.0, &other.0)
    }
}

/// Returns whether two runs have the same values: model, tokens and edits.
pub(crate) fn same_run(a: &Run, b: &Run) -> bool {
    let models = a.model().hash() == b.model().hash() && a.model().device().shares_memory(b.model().device());
    models && a.tokens() == b.tokens() && a.edits() == b.edits()
}

impl PyObservable {
    pub(crate) fn one(kind: Kind) -> Self {
        Self { terms: vec![(1.0, Arc::new(kind))] }
    }

    /// Returns the same terms, each times `factor`.
    fn times(&self, factor: f32) -> Self {
        Self { terms: self.terms.iter().map(|(weight, kind)| (weight * factor, kind.clone())).collect() }
    }

    fn plus(&self, other: Self) -> Self {
        Self { terms: self.terms.iter().cloned().chain(other.terms).collect() }
    }

    /// Resolves tokens and positions for `run`.
    pub(crate) fn of(&self, py: Python<'_>, run: &Run) -> Result<Observable> {
        self.beside(py, run, run)
    }

    /// Resolves tokens and positions for `run`. `base` is the base run of a text that was given none.
    pub(crate) fn beside(&self, py: Python<'_>, run: &Run, base: &Run) -> Result<Observable> {
        self.resolve(py, run.model(), (run.tokens().len(), Some(base)))
    }

    /// Resolves tokens and positions for a prompt of so many tokens. `kl(base)` needs a base of its own here.
    pub(crate) fn of_prompt(&self, py: Python<'_>, model: &Model, tokens: usize) -> Result<Observable> {
        self.resolve(py, model, (tokens, None))
    }

    /// Returns the text of an observable that is one text without a base run. Each prompt reads it by itself.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.terms[..] {
            [(1.0, kind)] => match &**kind {
                Kind::Text(text, None) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    fn resolve(&self, py: Python<'_>, model: &Model, prompt: (usize, Option<&Run>)) -> Result<Observable> {
        let mut sum = Observable::default();
        for (weight, kind) in &self.terms {
            sum = sum + *weight * kind.resolve(py, model, prompt)?;
        }
        Ok(sum)
    }

    /// Returns J in the grammar of observables, as figures show it: `logit(" Paris") - logit(" Rome")`.
    pub(crate) fn title(&self) -> String {
        let mut text = String::new();
        for (i, (weight, kind)) in self.terms.iter().enumerate() {
            text += match (i, weight.is_sign_negative()) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            };
            let shown = kind.title();
            text += &match (weight.abs() == 1.0, kind.is_sum()) {
                (true, false) => shown,
                (true, true) if i == 0 && *weight == 1.0 => shown,
                (true, true) => format!("({shown})"),
                (false, false) => format!("{} * {shown}", weight.abs()),
                (false, true) => format!("{} * ({shown})", weight.abs()),
            };
        }
        if text.is_empty() { "0".to_owned() } else { text }
    }
}

impl Kind {
    /// Whether the text may have several terms.
    fn is_sum(&self) -> bool {
        matches!(self, Self::Text(..))
    }

    fn resolve(&self, py: Python<'_>, model: &Model, (tokens, fallback): (usize, Option<&Run>)) -> Result<Observable> {
        let at = |position: i64| from_end("position", position, tokens);
        let quantity = |quantity, position| Ok(Observable::of(quantity, at(position)?));
        match self {
            Self::Text(text, base) => {
                if let Some(Base(run)) = base {
                    check_model(model, run, "the base run")?;
                }
                let base = base.as_ref().map(|base| &base.0).or(fallback).map(|run| {
                    move |position: usize| -> std::result::Result<Distribution, Error> {
                        Ok(Distribution::of(&run.logits_at(position)?))
                    }
                });
                let base = base.as_ref().map(|base| base as &dyn Fn(usize) -> std::result::Result<Distribution, Error>);
                let context = ObservableContext { tokens, tokenizer: model.tokenizer(), base, direction: None };
                Ok(Observable::parse(text, &context)?)
            }
            Self::Logit(target, position) => quantity(Quantity::Logit(target.id(model)?), *position),
            Self::LogProb(target, position) => quantity(Quantity::LogProb(target.id(model)?), *position),
            Self::Prob(targets, position) => {
                let ids = targets.iter().map(|target| target.id(model)).collect::<Result<Vec<u32>>>()?;
                quantity(Quantity::Prob(ids), *position)
            }
            Self::Entropy(position) => quantity(Quantity::Entropy, *position),
            Self::Kl(base, position) => quantity(Quantity::Kl(distribution(py, model, base, *position)?), *position),
            Self::KlFrom(base, position) => {
                quantity(Quantity::KlFrom(distribution(py, model, base, *position)?), *position)
            }
            Self::Continuation(tokens, position) => quantity(Quantity::Continuation(tokens.ids(model)?), *position),
            Self::Projection((level, position), direction) => {
                let level = from_end("level", *level, model.sizes().layers + 1)?;
                let quantity = Quantity::Project { level, direction: fits(model, direction.clone())? };
                let position = from_end("token position", *position, tokens)?;
                Ok(Observable::new(vec![Term { weight: 1.0, quantity, position }]))
            }
        }
    }

    fn title(&self) -> String {
        let shown = |token: &Token| match token {
            Token::Text(text) => token_text(text),
            Token::Id(id) => format!("#{id}"),
        };
        let at = |position: &i64| if *position == -1 { String::new() } else { format!("@{position}") };
        match self {
            Self::Text(text, _) => text.trim().to_owned(),
            Self::Logit(target, position) => format!("logit({}){}", shown(target), at(position)),
            Self::LogProb(target, position) => format!("logprob({}){}", shown(target), at(position)),
            Self::Prob(targets, position) => {
                let targets: Vec<String> = targets.iter().map(shown).collect();
                format!("prob({}){}", targets.join("|"), at(position))
            }
            Self::Entropy(position) => format!("entropy(){}", at(position)),
            Self::Kl(_, position) => format!("kl(base){}", at(position)),
            Self::KlFrom(_, position) => format!("kl_from(base){}", at(position)),
            Self::Continuation(tokens, position) => {
                let shown = match tokens {
                    TokenList::Text(text) => format!("{text:?}"),
                    TokenList::Ids(ids) => ids.iter().map(|id| format!("#{id}")).collect::<Vec<_>>().join(", "),
                };
                format!("continuation({shown}){}", at(position))
            }
            Self::Projection((level, position), _) => format!("project({level}, {position}, u)"),
        }
    }
}

/// Returns the next-token distribution of a base run, which must be of this model, at a position.
fn distribution(py: Python<'_>, model: &Model, Base(run): &Base, position: i64) -> Result<Distribution> {
    check_model(model, run, "the base run")?;
    let at = from_end("position", position, run.tokens().len())?;
    Ok(Distribution::of(&detached(py, |_| run.logits_at(at))?))
}

#[pymethods]
impl PyObservable {
    #[new]
    #[pyo3(signature = (text, *, base = None), text_signature = "(text, *, base=None)")]
    fn new(text: String, base: Option<Py<PyRun>>) -> Self {
        Self::one(Kind::Text(text, base.map(|run| Base(run.get().run.clone()))))
    }

    /// The prompt with what a continuation at its last token needs after it: ids. Other observables leave it as it is.
    ///
    /// `model` looks up the tokens; `prompt` is text or ids.
    fn extend(
        &self,
        py: Python<'_>,
        model: &Bound<'_, crate::classes::PyModel>,
        prompt: &Bound<'_, PyAny>,
    ) -> Result<Vec<u32>> {
        let model = &model.get().model;
        let tokens = crate::arguments::tokens(model, prompt)?;
        Ok(self.resolve(py, model, (tokens.len(), None))?.extend(&tokens))
    }

    fn __add__(&self, other: &Bound<'_, Self>) -> Self {
        self.plus(other.get().times(1.0))
    }

    fn __sub__(&self, other: &Bound<'_, Self>) -> Self {
        self.plus(other.get().times(-1.0))
    }

    fn __neg__(&self) -> Self {
        self.times(-1.0)
    }

    fn __mul__(&self, factor: f32) -> Result<Self> {
        match factor.is_finite() {
            true => Ok(self.times(factor)),
            false => Err(value_error(format!("invalid factor {factor} of an observable: expected a finite number"))),
        }
    }

    fn __rmul__(&self, factor: f32) -> Result<Self> {
        self.__mul__(factor)
    }

    fn __repr__(&self) -> String {
        format!("<resolvent.Observable {}>", self.title())
    }
}

/// The logit of a token at a position.
///
/// `target` is text that is one token (`" Paris"`, with its space) or an id; position -1 is the last.
#[pyfunction]
#[pyo3(signature = (target, position = -1), text_signature = "(target, position=-1)")]
pub(crate) fn logit(target: &Bound<'_, PyAny>, position: i64) -> Result<PyObservable> {
    Ok(PyObservable::one(Kind::Logit(Token::new(target)?, position)))
}

/// The logit of a token minus that of another, at a position.
///
/// Tokens are text that is one token (`" Paris"`, with its space) or ids; position -1 is the last.
#[pyfunction]
#[pyo3(signature = (target, against, position = -1), text_signature = "(target, against, position=-1)")]
pub(crate) fn logit_diff(target: &Bound<'_, PyAny>, against: &Bound<'_, PyAny>, position: i64) -> Result<PyObservable> {
    Ok(logit(target, position)?.plus(logit(against, position)?.times(-1.0)))
}

/// The log-probability of a token at a position, in nats.
#[pyfunction]
#[pyo3(signature = (target, position = -1), text_signature = "(target, position=-1)")]
pub(crate) fn log_prob(target: &Bound<'_, PyAny>, position: i64) -> Result<PyObservable> {
    Ok(PyObservable::one(Kind::LogProb(Token::new(target)?, position)))
}

/// The probability of several tokens together at a position: synonyms, or all numbers above another.
///
/// `targets` is a list of tokens.
#[pyfunction]
#[pyo3(signature = (targets, position = -1), text_signature = "(targets, position=-1)")]
pub(crate) fn prob(targets: List<Bound<'_, PyAny>>, position: i64) -> Result<PyObservable> {
    Ok(PyObservable::one(Kind::Prob(targets.0.iter().map(Token::new).collect::<Result<_>>()?, position)))
}

/// The entropy of the next token at a position, in nats.
#[pyfunction]
#[pyo3(signature = (position = -1), text_signature = "(position=-1)")]
pub(crate) fn entropy(position: i64) -> PyObservable {
    PyObservable::one(Kind::Entropy(position))
}

/// KL(base || run) of the next token at a position, in nats: 0 where a run says what the base run says.
///
/// With `reverse`, KL(run || base).
#[pyfunction]
#[pyo3(signature = (base, position = -1, *, reverse = false), text_signature = "(base, position=-1, *, reverse=False)")]
pub(crate) fn kl_divergence(base: &Bound<'_, PyRun>, position: i64, reverse: bool) -> PyObservable {
    let base = Base(base.get().run.clone());
    PyObservable::one(if reverse { Kind::KlFrom(base, position) } else { Kind::Kl(base, position) })
}

/// The log-probability of a text of several tokens after a position, in nats: the sum over its tokens, each given those
/// before.
///
/// `tokens` is text or a list of ids. The prompt must have all of them but the last: see `Observable.extend`.
#[pyfunction]
#[pyo3(signature = (tokens, position = -1), text_signature = "(tokens, position=-1)")]
pub(crate) fn continuation(tokens: &Bound<'_, PyAny>, position: i64) -> Result<PyObservable> {
    Ok(PyObservable::one(Kind::Continuation(TokenList::new(tokens)?, position)))
}

/// `<h[level, position], direction>`: the field at a place, projected on a direction [d]. Negative numbers count from
/// the end.
#[pyfunction]
pub(crate) fn projection(level: i64, position: i64, direction: &Bound<'_, PyAny>) -> Result<PyObservable> {
    Ok(PyObservable::one(Kind::Projection((level, position), vector(direction)?)))
}
