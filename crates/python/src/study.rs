//! The class `Study`: every analysis on a set of prompts.

use std::fmt::Write as _;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use resolvent::field::stats::Interval;
use resolvent::field::study::{Beside, LeftOut, Null, NullFigure, Statement, StepProgress, Study, StudyOptions};
use resolvent::model::{Model, PromptSet};
use resolvent_report::{Studied, study_page};

use crate::failure::{Failure, Result};
use crate::result::PyResultOf;
use crate::work::{Bar, detached};

/// Arguments of a study.
pub(crate) struct StudyArguments {
    pub(crate) prompts: Option<PathBuf>,
    pub(crate) tasks: Vec<String>,
    pub(crate) limit: usize,
    pub(crate) quick: bool,
    pub(crate) small: Vec<Model>,
    pub(crate) seed: u64,
    pub(crate) nulls: bool,
    pub(crate) out: PathBuf,
    pub(crate) progress: bool,
}

/// What came of a study: the result of each step, the statements with their verdicts, and the page.
#[pyclass(frozen, name = "Study", module = "resolvent")]
pub(crate) struct PyStudy {
    results: Py<PyDict>,
    statements: Vec<Statement>,
    left_out: Vec<LeftOut>,
    page: PathBuf,
}

impl PyStudy {
    pub(crate) fn run(py: Python<'_>, model: &Model, arguments: StudyArguments) -> Result<Self> {
        let StudyArguments { prompts, tasks, limit, quick, small, seed, nulls, out, progress } = arguments;
        let mut bar = if progress { Bar::new(py, ("study", "step"))? } else { Bar::default() };
        let page = out.join("index.html");
        let found = detached(py, |raised| {
            let set = prompts.as_ref().map_or_else(PromptSet::embedded, |path| PromptSet::open(path))?;
            let options = StudyOptions { tasks, prompts: limit, quick, seed };
            let study = Study::new(model, &small, &set, options)?;
            let nulls = if nulls { &Null::ALL[..] } else { &[] };
            let found = study.run_with(nulls, &out, &mut |StepProgress { null, done, of, name, .. }| {
                let name = null.map_or_else(|| name.to_owned(), |null| format!("{}/{name}", null.name()));
                bar.show(raised, (done as u64, of as u64), Some(&name));
            })?;
            study_page(&Studied::new(&study, "Model.study, in Python"), &found).write(&page)?;
            Ok::<_, Failure>(found)
        })?;
        drop(bar);
        let (statements, left_out, results) = (found.statements(), found.left_out, PyDict::new(py));
        for step in found.done {
            let result = PyResultOf::new(py, step.result, None, None)?;
            results.set_item(step.name, Bound::new(py, result)?)?;
        }
        Ok(Self { results: results.unbind(), statements, left_out, page })
    }
}

/// Adds an estimate and the ends of its interval.
fn ends(dict: &Bound<'_, PyDict>, figure: Interval) -> Result<()> {
    for (key, number) in [("estimate", figure.estimate), ("low", figure.low), ("high", figure.high)] {
        dict.set_item(key, number)?;
    }
    Ok(())
}

/// Returns the estimates of a figure by task.
fn by_task<'py>(py: Python<'py>, figures: &[(String, f64)]) -> Result<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    figures.iter().try_for_each(|(task, figure)| dict.set_item(task, figure))?;
    Ok(dict)
}

#[pymethods]
impl PyStudy {
    /// The result of each step by its name, such as `patching.ioi`.
    #[getter]
    fn results(&self, py: Python<'_>) -> Py<PyDict> {
        self.results.clone_ref(py)
    }

    /// The statements, each a dict: name, claim, measure, estimate, low, high, prompts, by_task (estimates by task),
    /// beside (a dict for each further figure: name, estimate, low, high, by_task), detail (the same in words), rule,
    /// verdict, beyond (whether the figure is beyond all nulls; None if undecided), nulls (a dict for each null: null,
    /// estimate, low, high, verdict, exceeded).
    #[getter]
    fn statements<'py>(&self, py: Python<'py>) -> Result<Vec<Bound<'py, PyDict>>> {
        let one = |s: &Statement| -> Result<Bound<'py, PyDict>> {
            let dict = PyDict::new(py);
            for (key, text) in [
                ("name", s.name),
                ("claim", s.claim),
                ("measure", s.measure),
                ("detail", &s.detail()),
                ("rule", s.rule),
                ("verdict", s.verdict.name()),
            ] {
                dict.set_item(key, text)?;
            }
            ends(&dict, s.figure)?;
            dict.set_item("prompts", s.prompts)?;
            dict.set_item("by_task", by_task(py, &s.by_task)?)?;
            let beside = |one: &Beside| -> Result<Bound<'py, PyDict>> {
                let dict = PyDict::new(py);
                dict.set_item("name", &one.name)?;
                ends(&dict, one.figure)?;
                dict.set_item("by_task", by_task(py, &one.by_task)?)?;
                Ok(dict)
            };
            dict.set_item("beside", s.beside.iter().map(beside).collect::<Result<Vec<_>>>()?)?;
            dict.set_item("beyond", s.beyond())?;
            let null = |null: &NullFigure| -> Result<Bound<'py, PyDict>> {
                let dict = PyDict::new(py);
                dict.set_item("null", null.null.name())?;
                ends(&dict, null.figure)?;
                dict.set_item("verdict", null.verdict.name())?;
                dict.set_item("exceeded", null.exceeded)?;
                Ok(dict)
            };
            dict.set_item("nulls", s.nulls.iter().map(null).collect::<Result<Vec<_>>>()?)?;
            Ok(dict)
        };
        self.statements.iter().map(one).collect()
    }

    /// What was left out, each a dict: what, reason, failed (whether a check or the device failed), steps.
    #[getter]
    fn left_out<'py>(&self, py: Python<'py>) -> Result<Vec<Bound<'py, PyDict>>> {
        let one = |l: &LeftOut| -> Result<Bound<'py, PyDict>> {
            let dict = PyDict::new(py);
            dict.set_item("what", &l.what)?;
            dict.set_item("reason", &l.reason)?;
            dict.set_item("failed", l.failed)?;
            dict.set_item("steps", &l.steps)?;
            Ok(dict)
        };
        self.left_out.iter().map(one).collect()
    }

    /// The HTML page with all figures.
    #[getter]
    fn page(&self) -> PathBuf {
        self.page.clone()
    }

    fn __repr__(&self) -> String {
        let mut text = format!("<resolvent.Study, page {}", self.page.display());
        for s in &self.statements {
            let _infallible = write!(text, "; {}: {}", s.name, s.verdict.name());
        }
        text + ">"
    }

    fn _repr_html_(&self) -> String {
        let mut text = String::from(
            "<table><tr><th>statement</th><th>figure</th><th>interval</th><th>of</th><th>verdict</th></tr>",
        );
        for s in &self.statements {
            let (f, verdict) = (s.figure, s.verdict.name());
            let _infallible = write!(
                text,
                "<tr><td>{}</td><td>{:.2}</td><td>{:.2} to {:.2}</td><td>{}</td><td>{verdict}</td></tr>",
                s.name, f.estimate, f.low, f.high, s.measure
            );
        }
        text + "</table>"
    }
}
