//! Shards of an analysis of many prompts, for `resolvent.distribute`, which has the processes.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use resolvent::field::{Prompts, Shards, Work};

use crate::classes::PyModel;
use crate::failure::{Failure, Result, value_error};
use crate::lists::{Many, count, counts, whole};
use crate::observable::PyObservable;
use crate::prompt_rows::{PromptArguments, RowSource};
use crate::prompts::PyPrompts;
use crate::shard_target;
use crate::work::detached;

/// Analyses of `Prompts` that have a result for each prompt.
pub(crate) const EACH: [&str; 16] = [
    "run",
    "sensitivity",
    "patch",
    "transfer",
    "flow",
    "edges",
    "attribute",
    "lens",
    "green",
    "slice",
    "regime",
    "quadratic",
    "invert",
    "identities",
    "growth",
    "subspace",
];

/// The shards of an analysis, in a folder.
#[pyclass(frozen, name = "_Shards", module = "resolvent._native")]
pub(crate) struct PyShards {
    source: RowSource,
    /// All prompts, for an analysis that compares each with others.
    everything: OnceLock<Py<PyPrompts>>,
    /// Rows that the tokenizer has read.
    tokenized: AtomicUsize,
    /// Whether a shard has results, so that the options fit some prompt.
    has_results: AtomicBool,
    analysis: String,
    options: Py<PyDict>,
    shards: Shards,
}

impl PyShards {
    /// Returns the prompts with which a shard is computed: those of its rows or, where the analysis draws controls from
    /// the others, all.
    fn prompts(&self, py: Python<'_>, shard: usize) -> Result<Py<PyPrompts>> {
        let made = |rows: Range<usize>| -> Result<Py<PyPrompts>> {
            self.tokenized.fetch_add(rows.len(), Ordering::Relaxed);
            Ok(Py::new(py, self.source.prompts(py, rows)?)?)
        };
        if !draws_from_others(&self.analysis, self.options.bind(py))? {
            return made(self.shards.work().rows(shard));
        }
        if let Some(all) = self.everything.get() {
            return Ok(all.clone_ref(py));
        }
        let all = made(0..self.source.len())?;
        Ok(self.everything.get_or_init(|| all).clone_ref(py))
    }

    /// Returns the results of a shard.
    fn results(&self, py: Python<'_>, shard: usize) -> Result<Prompts> {
        let prompts = self.prompts(py, shard)?;
        shard_target::set(self.shards.work().rows(shard));
        let done = prompts.bind(py).call_method(&*self.analysis, (), Some(self.options.bind(py)));
        // An analysis that fails before it begins leaves the rows to no other one.
        let _forgotten = shard_target::take();
        let found = shard_target::found();
        done?;
        Ok(found.unwrap_or_default())
    }
}

/// Returns whether an analysis draws controls of a prompt from the others.
fn draws_from_others(analysis: &str, options: &Bound<'_, PyDict>) -> Result<bool> {
    match options.get_item("controls")? {
        // Anything but a number is refused by the analysis itself.
        Some(controls) if ["edges", "attribute"].contains(&analysis) => Ok(whole(&controls) != Some(0)),
        _ => Ok(false),
    }
}

#[pymethods]
impl PyShards {
    fn __len__(&self) -> usize {
        self.shards.work().shards()
    }

    /// How many rows the tokenizer has read in this process.
    #[getter]
    fn tokenized(&self) -> usize {
        self.tokenized.load(Ordering::Relaxed)
    }

    /// Computes a shard, unless it is there. Returns whether it was computed.
    fn compute(&self, py: Python<'_>, shard: i64) -> Result<bool> {
        let (shard, all) = (count("shard", shard)?, self.shards.work().shards());
        if shard >= all {
            return Err(value_error(format!("no shard {shard}; there are {all}, from 0")));
        }
        if let Some(count) = detached(py, |_| self.shards.results(shard))? {
            self.has_results.fetch_or(count > 0, Ordering::Relaxed);
            return Ok(false);
        }
        let results = self.results(py, shard)?;
        self.has_results.fetch_or(!results.results.is_empty(), Ordering::Relaxed);
        if let Some(first) = results.left_out.first().filter(|_| !self.has_results.load(Ordering::Relaxed)) {
            let has_results = &mut |other| Ok::<_, Failure>(!self.results(py, other)?.results.is_empty());
            self.shards.check_options(shard, (&first.what, &first.reason), has_results)?;
            self.has_results.store(true, Ordering::Relaxed);
        }
        detached(py, |_| self.shards.write(shard, &results, 0))?;
        Ok(true)
    }
}

/// Opens the shards of an analysis in a folder. `read` and `chosen` are a model and the arguments of its `prompts`;
/// `described` are the options of the analysis, and a text that identifies them.
///
/// A worker reads all rows, since their hash tells work from other work, and runs the tokenizer on the first row that
/// fits and on those of its shards.
#[pyfunction]
pub(crate) fn _shards(
    py: Python<'_>,
    read: (PyRef<'_, PyModel>, Option<Bound<'_, PyAny>>),
    chosen: (Option<Py<PyObservable>>, Many<String>, Option<i64>),
    folder: PathBuf,
    analysis: String,
    described: (Py<PyDict>, String),
    size: i64,
) -> Result<PyShards> {
    let ((model, rows), (observable, tasks, limit), (options, description)) = (read, chosen, described);
    if !EACH.contains(&&*analysis) {
        return Err(value_error(format!("no shards of `{analysis}`; expected one of {}", EACH.join(", "))));
    }
    let (tasks, limit) = (tasks.0, counts("limit", limit)?);
    let arguments = PromptArguments { rows, observable, tasks, limit, strict: false, edits: Vec::new() };
    let source = RowSource::read(&model.model, arguments)?;
    let first = source.first(py)?;
    let observable = first.as_ref().map_or_else(String::new, |(_, case)| source.observable(case));
    let about = [("analysis", analysis.clone()), ("options", description), ("observable", observable)];
    let about = about.map(|(key, value)| (key.to_owned(), value)).into_iter().filter(|(_, value)| !value.is_empty());
    let work = Work::new(&model.model, about.collect(), source.texts(), (count("shard_size", size)?, None))?;
    let work = if draws_from_others(&analysis, options.bind(py))? { work.of_all_rows() } else { work };
    let (tokenized, has_results) = (first.map_or(0, |(row, _)| row + 1).into(), false.into());
    let shards = Shards::create(&folder, &work)?;
    Ok(PyShards { source, everything: OnceLock::new(), tokenized, has_results, analysis, options, shards })
}

/// Returns the numbers of the shards of a folder that are missing, and the number of all.
#[pyfunction]
pub(crate) fn _missing(py: Python<'_>, folder: PathBuf) -> Result<(Vec<usize>, usize)> {
    detached(py, |_| {
        let shards = Shards::open(&folder)?;
        Ok::<_, resolvent::field::Error>((shards.missing()?, shards.work().shards()))
    })
}

/// Returns the paths of the shards of a folder, whether or not they exist.
#[pyfunction]
pub(crate) fn _paths(folder: PathBuf) -> Result<Vec<PathBuf>> {
    let shards = Shards::open(&folder)?;
    Ok((0..shards.work().shards()).map(|shard| shards.path(shard)).collect())
}

/// Joins the shards of a folder into one result file.
#[pyfunction]
pub(crate) fn _merge(py: Python<'_>, folder: PathBuf, out: PathBuf) -> Result<()> {
    detached(py, |_| Shards::open(&folder)?.merge_into(&out).map(|_| ()))
}
