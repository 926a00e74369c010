//! What the classes `Run` and `Prompts` read of many edited runs: observables, logits, and functions of logits.

use numpy::{PyArray1, PyArrayDyn, PyArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use resolvent::model::{Edit, EditedPrompt, EditedRun, Observable, PromptCase, Run, from_end, values_of};

use crate::arrays::to_numpy;
use crate::classes::PyRun;
use crate::edit::PyEdit;
use crate::failure::{Failure, Result, value_error};
use crate::lists::{List, Many, shown};
use crate::observable::PyObservable;
use crate::prompts::PyPrompts;
use crate::work::{Raised, detached};

/// Resolves the positions of edits for a run.
fn variants(run: &Run, variants: &List<Many<Py<PyEdit>>>) -> Result<Vec<Vec<Edit>>> {
    variants.0.iter().map(|edits| PyEdit::all(&edits.0, run.model(), run.tokens().len())).collect()
}

#[pymethods]
impl PyRun {
    /// Computes the values of an observable in K edited runs, each with a list of further edits on top of this run's.
    ///
    /// The edited runs share this run. Each computes only the values that its edits can reach.
    ///
    /// With a list of M observables, the result is an array [K, M]. With a function, it is an array too: the function
    /// is called with logits [n, V] at `position`, one row for each of n edited runs, and returns n values, or n rows
    /// of them.
    #[pyo3(
        signature = (variants, observable, *, position = -1),
        text_signature = "($self, variants, observable, *, position=-1)"
    )]
    fn values_under<'py>(
        &self,
        py: Python<'py>,
        variants: List<Many<Py<PyEdit>>>,
        observable: &Bound<'py, PyAny>,
        position: i64,
    ) -> Result<Bound<'py, PyAny>> {
        let (run, variants) = (&self.run, self::variants(&self.run, &variants)?);
        if let Ok(one) = observable.cast::<PyObservable>() {
            let j = one.get().of(py, run)?;
            return Ok(PyList::new(py, detached(py, |_| run.values_under(&variants, &j))?)?.into_any());
        }
        if observable.is_callable() {
            return through(py, run, (&variants, position), observable);
        }
        let expected = || {
            let found = shown(observable);
            PyTypeError::new_err(format!(
                "expected an observable, a list of them, or a function of logits, got {found}"
            ))
        };
        let several = observable.extract::<List<Py<PyObservable>>>().map_err(|_| expected())?;
        let several = several.0.iter().map(|j| j.get().of(py, run)).collect::<Result<Vec<Observable>>>()?;
        let values = detached(py, |_| run.values_under_each(&variants, &several))?;
        Ok(PyArray1::from_vec(py, values).reshape([variants.len(), several.len()])?.into_any())
    }

    /// Computes the logits [K, V] at a position in K edited runs, each with a list of further edits on top of this
    /// run's.
    #[pyo3(signature = (variants, position = -1), text_signature = "($self, variants, position=-1)")]
    fn logits_under<'py>(
        &self,
        py: Python<'py>,
        variants: List<Many<Py<PyEdit>>>,
        position: i64,
    ) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let (run, variants) = (&self.run, self::variants(&self.run, &variants)?);
        let position = from_end("position", position, run.tokens().len())?;
        let vocab = run.model().sizes().vocab;
        let all = detached(py, |_| {
            let mut all = vec![0.0; variants.len() * vocab];
            run.logits_under(&variants, position, &mut |ids, logits| {
                for (&id, row) in ids.iter().zip(logits.chunks(vocab)) {
                    all[id * vocab..][..vocab].copy_from_slice(row);
                }
            })?;
            Ok::<_, Failure>(all)
        })?;
        Ok(to_numpy(py, all, &[variants.len(), vocab])?)
    }
}

#[pymethods]
impl PyPrompts {
    /// Computes the values [P, K] of each clean prompt's observable under each of K lists of further edits.
    ///
    /// Positions of the edits count in each prompt, from its end if they are negative. The prompts run in batches, and
    /// the edited runs of a batch share its runs: each computes only the values that its edits can reach. They are at
    /// sites that every run has, not at those that `sites` of `Model.run` adds.
    #[pyo3(signature = (variants), text_signature = "($self, variants)")]
    fn values_under<'py>(&self, py: Python<'py>, variants: List<Many<Py<PyEdit>>>) -> Result<Bound<'py, PyAny>> {
        let (model, count) = (&self.model, variants.0.len());
        let mut prompts = Vec::with_capacity(self.cases.len());
        for case in &self.cases {
            let named = |reason: &str| value_error(format!("{}: {reason}", case.name));
            let none = "no observable: the row needs `target` or `observable`, or give one for all";
            let observable = case.observable.as_ref().ok_or_else(|| named(none))?;
            let edits = variants.0.iter().map(|edits| PyEdit::all(&edits.0, model, case.clean.len()));
            let edits = edits.collect::<Result<Vec<Vec<Edit>>>>().map_err(|e| named(&e.message(py)))?;
            prompts.push((case, observable, edits));
        }
        let values = detached(py, |_| {
            let tokens = |(case, ..): &(&PromptCase, &Observable, Vec<Vec<Edit>>)| case.clean.len();
            let mut values = Vec::with_capacity(prompts.len() * count);
            for part in model.passes(&prompts, tokens) {
                let plain = part.iter().map(|(case, ..)| EditedPrompt { tokens: &case.clean, edits: &case.edits });
                let runs = model.run_edited(&plain.collect::<Vec<_>>(), &[])?;
                let edited = runs.iter().zip(part).flat_map(|(run, (_, observable, edits))| {
                    edits.iter().map(move |edits| EditedRun { run, edits, observable })
                });
                values.extend(values_of(&edited.collect::<Vec<_>>())?);
            }
            Ok::<_, Failure>(values)
        })?;
        Ok(PyArray1::from_vec(py, values).reshape([prompts.len(), count])?.into_any())
    }
}

/// Returns what a Python function makes of the logits of edited runs. It is called once for each batch.
fn through<'py>(
    py: Python<'py>,
    run: &Run,
    (variants, position): (&[Vec<Edit>], i64),
    function: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>> {
    let position = from_end("position", position, run.tokens().len())?;
    let (vocab, called) = (run.model().sizes().vocab, function.clone().unbind());
    let (ids, parts) = detached(py, |raised: &Raised| {
        let (mut all, mut parts): (Vec<usize>, Vec<Py<PyAny>>) = (Vec::new(), Vec::new());
        run.logits_under(variants, position, &mut |ids, logits| {
            raised.python(|py| {
                let logits = to_numpy(py, logits, &[ids.len(), vocab])?;
                let values = py.import("numpy")?.call_method1("asarray", (called.bind(py).call1((logits,))?,))?;
                let shape: Vec<usize> = values.getattr("shape")?.extract()?;
                if shape.first() != Some(&ids.len()) {
                    let message = format!(
                        "the function returned an array of shape {shape:?} for {} rows of logits: expected a value for each row",
                        ids.len()
                    );
                    return Err(pyo3::exceptions::PyValueError::new_err(message));
                }
                parts.push(values.unbind());
                Ok(())
            });
            all.extend_from_slice(ids);
        })?;
        Ok::<_, Failure>((all, parts))
    })?;
    if parts.is_empty() {
        return Err(value_error("no edited runs: give at least one list of edits to a function of logits"));
    }
    // Batches come in the order in which they are computed; `order[i]` is the place of the i-th variant among them.
    let mut order = vec![0i64; ids.len()];
    ids.iter().enumerate().for_each(|(place, &id)| order[id] = place as i64);
    let joined = py.import("numpy")?.call_method1("concatenate", (PyList::new(py, parts)?,))?;
    Ok(joined.get_item(PyArray1::from_vec(py, order))?)
}
