//! Rows of prompts from files and from Python objects.

use std::ops::Range;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use resolvent::model::{Model, PromptCase, PromptRow, PromptSet, PromptText};

use crate::arguments::tokens;
use crate::edit::PyEdit;
use crate::failure::{Result, value_error};
use crate::observable::PyObservable;
use crate::prompts::PyPrompts;
use crate::work::detached;

/// Arguments of [`RowSource::read`] and [`PyPrompts::new`].
pub(crate) struct PromptArguments<'py> {
    pub(crate) rows: Option<Bound<'py, PyAny>>,
    pub(crate) observable: Option<Py<PyObservable>>,
    pub(crate) tasks: Vec<String>,
    pub(crate) limit: Option<usize>,
    pub(crate) strict: bool,
    /// Edits of every prompt.
    pub(crate) edits: Vec<Py<PyEdit>>,
}

/// Rows of prompts as they are read, before the tokenizer.
pub(crate) struct RowSource {
    model: Model,
    /// Rows with their names.
    rows: Vec<(String, PromptRow)>,
    /// Lines that are no rows, and why.
    unread: Vec<(String, String)>,
    observable: Option<Py<PyObservable>>,
    edits: Vec<Py<PyEdit>>,
}

impl RowSource {
    /// Reads rows from a file or from Python objects; without any, those that ship with the embedded models.
    pub(crate) fn read(model: &Model, arguments: PromptArguments<'_>) -> Result<Self> {
        let PromptArguments { rows, observable, tasks, limit, edits, .. } = arguments;
        let mut unread = Vec::new();
        let path = rows.as_ref().map(path);
        let listed: Vec<PromptRow> = match (&rows, &path) {
            (Some(rows), Some(None)) => rows_of(model, rows)?,
            (_, Some(Some(path))) => {
                let set = PromptSet::open(path)?;
                unread.extend(set.bad_rows.iter().map(|(line, reason)| (format!("line {line}"), reason.clone())));
                set.rows(&tasks, limit)?.into_iter().cloned().collect()
            }
            (None, _) | (_, None) => PromptSet::embedded()?.rows(&tasks, limit)?.into_iter().cloned().collect(),
        };
        let is_list = matches!(path, Some(None));
        let name = |i: usize, row: &PromptRow| match is_list && row.label.is_none() {
            true => format!("row {i}"),
            false => row.name(),
        };
        let rows = listed.into_iter().enumerate().map(|(i, row)| (name(i, &row), row)).collect();
        Ok(Self { model: model.clone(), rows, unread, observable, edits })
    }

    /// Returns the number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the rows, each with everything that it has.
    pub(crate) fn texts(&self) -> impl ExactSizeIterator<Item = String> + '_ {
        self.rows.iter().map(|(name, row)| format!("{name} {row:?}"))
    }

    /// Returns the observable that takes the place of those of the rows, as `case` has it.
    pub(crate) fn observable(&self, case: &PromptCase) -> String {
        let title = self.observable.as_ref().map(|j| j.get().title());
        title.map_or_else(String::new, |title| format!("{title} {:?}", case.observable))
    }

    /// Returns the prompts of some rows, and the rows that do not fit the model.
    pub(crate) fn prompts(&self, py: Python<'_>, some: Range<usize>) -> Result<PyPrompts> {
        let (mut cases, mut rows, mut left_out) = (Vec::with_capacity(some.len()), Vec::new(), Vec::new());
        for i in some {
            match self.case(py, i) {
                Ok(case) => {
                    cases.push(case);
                    rows.push(i);
                }
                Err(error) => left_out.push((self.rows[i].0.clone(), error.message(py))),
            }
        }
        Ok(PyPrompts { model: self.model.clone(), cases, rows, left_out })
    }

    /// Returns the first row that fits the model; `None` if there are no rows.
    ///
    /// # Errors
    /// No row fits. The message names the first line.
    pub(crate) fn first(&self, py: Python<'_>) -> Result<Option<(usize, PromptCase)>> {
        let mut refused = self.unread.first().cloned();
        for (i, (name, _)) in self.rows.iter().enumerate() {
            match self.case(py, i) {
                Ok(case) => return Ok(Some((i, case))),
                Err(error) => refused = refused.or_else(|| Some((name.clone(), error.message(py)))),
            }
        }
        refused.map_or(Ok(None), |(name, reason)| Err(value_error(format!("{name}: {reason}"))))
    }

    fn case(&self, py: Python<'_>, i: usize) -> Result<PromptCase> {
        let ((name, row), model) = (&self.rows[i], &self.model);
        let text = self.observable.as_ref().and_then(|j| j.get().as_text());
        let case = detached(py, |_| row.case(model, text, None))?;
        let case = match &self.observable {
            Some(j) if text.is_none() => {
                let j = j.get().of_prompt(py, model, case.clean.len())?;
                let extended = |tokens: &Vec<u32>| j.extend(tokens);
                let (clean, corrupted) = (extended(&case.clean), case.corrupted.as_ref().map(extended));
                PromptCase { clean, corrupted, observable: Some(j), ..case }
            }
            _ => case,
        };
        let edits = PyEdit::all(&self.edits, model, case.clean.len())?;
        Ok(PromptCase { edits, name: name.clone(), ..case })
    }
}

impl PyPrompts {
    /// Reads rows, and makes prompts of all that fit the model.
    pub(crate) fn new(py: Python<'_>, model: &Model, arguments: PromptArguments<'_>) -> Result<Self> {
        let strict = arguments.strict;
        let source = RowSource::read(model, arguments)?;
        let mut prompts = source.prompts(py, 0..source.len())?;
        prompts.left_out.splice(0..0, source.unread);
        match prompts.left_out.first() {
            Some((name, reason)) if strict || prompts.cases.is_empty() => Err(value_error(format!("{name}: {reason}"))),
            _ => Ok(prompts),
        }
    }

    /// Returns the prompts of some rows.
    pub(crate) fn of_rows(&self, rows: &Range<usize>) -> &[PromptCase] {
        let before = |row: usize| self.rows.partition_point(|of| *of < row);
        &self.cases[before(rows.start)..before(rows.end)]
    }

    /// Returns these prompts for the analysis `name`, which takes no edits.
    pub(crate) fn without_edits(&self, name: &str) -> Result<&Self> {
        match self.cases.iter().all(|case| case.edits.is_empty()) {
            true => Ok(self),
            false => Err(value_error(format!("`{name}` takes no edits; make the prompts without `edits`"))),
        }
    }
}

/// Returns the path, if `rows` is one: a string or an object of `os.PathLike`.
fn path(rows: &Bound<'_, PyAny>) -> Option<PathBuf> {
    rows.extract::<PathBuf>().ok()
}

/// Returns rows from a list: texts, token ids, or dicts with the keys of a prompt file.
fn rows_of(model: &Model, rows: &Bound<'_, PyAny>) -> Result<Vec<PromptRow>> {
    let mut listed = Vec::new();
    for row in rows.try_iter()? {
        let row = row?;
        listed.push(match (row.cast::<PyDict>(), row.cast::<PyString>()) {
            (Ok(dict), _) => {
                let json = row.py().import("json")?.call_method1("dumps", (dict,))?;
                PromptRow::from_json(&json.extract::<String>()?)?
            }
            (_, Ok(text)) => PromptRow { clean: PromptText::Text(text.to_cow()?.into_owned()), ..PromptRow::default() },
            _ => PromptRow { clean: PromptText::Ids(tokens(model, &row)?), ..PromptRow::default() },
        });
    }
    Ok(listed)
}
