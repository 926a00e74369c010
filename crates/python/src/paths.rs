//! `Model.paths` and `Model.path_patch`: direct paths between chosen heads and MLPs.

use pyo3::prelude::*;
use resolvent::field::{Case, edges_from_to, path_patch};
use resolvent::model::{Edge, Run, outputs_of, path_sites};

use crate::classes::PyModel;
use crate::failure::{Failure, Result};
use crate::lists::Many;
use crate::observable::Given;
use crate::result::PyResultOf;
use crate::work::detached;

#[pymethods]
impl PyModel {
    /// Path patching: what J gains in the corrupted prompt if each receiver reads the clean outputs of the senders, at
    /// every token, by direct paths alone. All of these paths are patched together: J(patched) - J(corrupted).
    ///
    /// `senders` are writers: `a0.h1` (a head), `m3` (an MLP), `input` (the embedding). `receivers` are readers:
    /// `a3.h5<q>`, `<k>` or `<v>` (queries, keys or values of a head; `a3.h5` is all three), `m3`, `logits`. Pairs
    /// whose sender does not write before the receiver reads are left out. `paths` has each path by itself too.
    #[pyo3(
        signature = (clean, corrupted, observable, senders, receivers = Many::one("logits")),
        text_signature = "($self, clean, corrupted, observable, senders, receivers=\"logits\")"
    )]
    fn path_patch(
        &self,
        py: Python<'_>,
        clean: &Bound<'_, PyAny>,
        corrupted: &Bound<'_, PyAny>,
        observable: Given<'_>,
        senders: Many<String>,
        receivers: Many<String>,
    ) -> Result<f64> {
        let (edges, [clean, corrupted]) = self.between([clean, corrupted], [&senders, &receivers])?;
        let j = observable.get().beside(py, &corrupted, &clean)?;
        detached(py, |_| {
            Case { clean: &clean, corrupted: &corrupted, observable: &j }.check()?;
            let of_senders = outputs_of(&[&clean])?.remove(0);
            Ok::<_, Failure>(path_patch(&corrupted, &of_senders, &edges, &j)? - corrupted.value(&j)?)
        })
    }

    /// Path patching of chosen paths, each alone and all together: senders and receivers as in `path_patch`.
    ///
    /// Arrays: `edges` [E, 2], indices into the comma-separated names `writers` and `readers` of the metadata;
    /// `first_order`, `random`, `exact` [E], of each path alone; `together`, `clean_value`, `corrupted_value` [1].
    #[pyo3(
        signature = (clean, corrupted, observable, senders, receivers = Many::one("logits")),
        text_signature = "($self, clean, corrupted, observable, senders, receivers=\"logits\")"
    )]
    fn paths(
        &self,
        py: Python<'_>,
        clean: &Bound<'_, PyAny>,
        corrupted: &Bound<'_, PyAny>,
        observable: Given<'_>,
        senders: Many<String>,
        receivers: Many<String>,
    ) -> Result<PyResultOf> {
        let (edges, [clean, corrupted]) = self.between([clean, corrupted], [&senders, &receivers])?;
        let (j, title) = (observable.get().beside(py, &corrupted, &clean)?, observable.get().title());
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        let result = detached(py, |_| resolvent::field::paths(&case, &edges))?;
        PyResultOf::new(py, result, Some(&corrupted), Some(&title))
    }
}

impl PyModel {
    /// Returns the edges between nodes that are named, and the runs of a pair of prompts.
    fn between(
        &self,
        prompts: [&Bound<'_, PyAny>; 2],
        [senders, receivers]: [&Many<String>; 2],
    ) -> Result<(Vec<Edge>, [Run; 2])> {
        let edges = edges_from_to(self.model.architecture(), &senders.0, &receivers.0)?;
        Ok((edges, self.pair(prompts, &path_sites(self.model.sizes()))?))
    }
}
