//! Rows of prompts from files and from Python objects.

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

/// Arguments of [`PyPrompts::new`].
pub(crate) struct PromptArguments<'py> {
    pub(crate) rows: Option<Bound<'py, PyAny>>,
    pub(crate) observable: Option<Py<PyObservable>>,
    pub(crate) tasks: Vec<String>,
    pub(crate) limit: Option<usize>,
    pub(crate) strict: bool,
    /// Edits of every prompt.
    pub(crate) edits: Vec<Py<PyEdit>>,
}

impl PyPrompts {
    /// Reads rows from a file or from Python objects; without any, those that ship with the embedded models.
    pub(crate) fn new(py: Python<'_>, model: &Model, arguments: PromptArguments<'_>) -> Result<Self> {
        let PromptArguments { rows, observable, tasks, limit, strict, edits } = arguments;
        let mut left_out = Vec::new();
        let listed = match &rows {
            None => PromptSet::embedded()?.rows(&tasks, limit)?.into_iter().cloned().collect(),
            Some(rows) => match path(rows) {
                Some(path) => {
                    let set = PromptSet::open(&path)?;
                    left_out.extend(set.bad_rows.iter().map(|(line, reason)| (format!("line {line}"), reason.clone())));
                    set.rows(&tasks, limit)?.into_iter().cloned().collect()
                }
                None => rows_of(model, rows)?,
            },
        };
        let mut cases = Vec::with_capacity(listed.len());
        for (i, row) in listed.iter().enumerate() {
            let name = if rows.as_ref().is_some_and(|rows| path(rows).is_none()) && row.label.is_none() {
                format!("row {i}")
            } else {
                row.name()
            };
            let text = observable.as_ref().and_then(|j| j.get().as_text());
            let case = detached(py, |_| row.case(model, text, None)).and_then(|case| match &observable {
                Some(j) if text.is_none() => {
                    let j = j.get().of_prompt(py, model, case.clean.len())?;
                    let extended = |tokens: &Vec<u32>| j.extend(tokens);
                    let (clean, corrupted) = (extended(&case.clean), case.corrupted.as_ref().map(extended));
                    Ok(PromptCase { clean, corrupted, observable: Some(j), ..case })
                }
                _ => Ok(case),
            });
            let case = case.and_then(|case| {
                let edits = PyEdit::all(&edits, model, case.clean.len())?;
                Ok(PromptCase { edits, ..case })
            });
            match case {
                Ok(case) => cases.push(PromptCase { name, ..case }),
                Err(error) => left_out.push((name, error.message(py))),
            }
        }
        match left_out.first() {
            Some((name, reason)) if strict || cases.is_empty() => Err(value_error(format!("{name}: {reason}"))),
            _ => Ok(Self { model: model.clone(), cases, left_out }),
        }
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
