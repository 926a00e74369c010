//! The class `Study`: every analysis on a set of prompts.

use std::fmt::Write as _;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use resolvent::field::study::{LeftOut, Statement, StepProgress, Study, StudyOptions, statements};
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
        let StudyArguments { prompts, tasks, limit, quick, small, seed, out, progress } = arguments;
        let mut bar = if progress { Bar::new(py, ("study", "step"))? } else { Bar::default() };
        let page = out.join("index.html");
        let (done, left_out) = detached(py, |raised| {
            let set = prompts.as_ref().map_or_else(PromptSet::embedded, |path| PromptSet::open(path))?;
            let options = StudyOptions { tasks, prompts: limit, quick, seed };
            let study = Study::new(model, &small, &set, options)?;
            let done = study.run(&out, &mut |StepProgress { done, of, name, .. }| {
                bar.show(raised, (done as u64, of as u64), Some(name));
            })?;
            study_page(&Studied::new(&study, &done, "Model.study, in Python"), &done).write(&page)?;
            let left_out = study.left_out_of(&done);
            Ok::<_, Failure>((done, left_out))
        })?;
        drop(bar);
        let (statements, results) = (statements(&done), PyDict::new(py));
        for step in done {
            let result = PyResultOf::new(py, step.result, None, None)?;
            results.set_item(step.name, Bound::new(py, result)?)?;
        }
        Ok(Self { results: results.unbind(), statements, left_out, page })
    }
}

#[pymethods]
impl PyStudy {
    /// The result of each step by its name, such as `patching.ioi`.
    #[getter]
    fn results(&self, py: Python<'_>) -> Py<PyDict> {
        self.results.clone_ref(py)
    }

    /// The statements, each a dict: name, claim, measure, estimate, low, high, detail, rule, verdict.
    #[getter]
    fn statements<'py>(&self, py: Python<'py>) -> Result<Vec<Bound<'py, PyDict>>> {
        let one = |s: &Statement| -> Result<Bound<'py, PyDict>> {
            let dict = PyDict::new(py);
            for (key, text) in [
                ("name", s.name),
                ("claim", s.claim),
                ("measure", s.measure),
                ("detail", &s.detail),
                ("rule", s.rule),
                ("verdict", s.verdict.name()),
            ] {
                dict.set_item(key, text)?;
            }
            for (key, number) in [("estimate", s.figure.estimate), ("low", s.figure.low), ("high", s.figure.high)] {
                dict.set_item(key, number)?;
            }
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
