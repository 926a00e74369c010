//! `Model.path_patch`: direct paths between chosen heads and MLPs.

use pyo3::prelude::*;
use resolvent::field::{Case, path_patch};
use resolvent::model::{Edge, Reader, Writer, outputs_of, path_sites};

use crate::classes::PyModel;
use crate::failure::{Failure, Result, value_error};
use crate::lists::Many;
use crate::observable::Given;
use crate::work::detached;

#[pymethods]
impl PyModel {
    /// Path patching: what J gains in the corrupted prompt if each receiver reads the clean outputs of the senders, at
    /// every token, by direct paths alone. All of these paths are patched together: J(patched) - J(corrupted).
    ///
    /// `senders` are writers: `a0.h1` (a head), `m3` (an MLP), `input` (the embedding). `receivers` are readers:
    /// `a3.h5<q>`, `<k>` or `<v>` (queries, keys or values of a head), `m3`, `logits`. Pairs whose sender does not
    /// write before the receiver reads are left out. `edges(exact=True)` patches every path by itself.
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
        let (architecture, sizes) = (self.model.architecture(), self.model.sizes());
        let writers = senders.0.iter().map(|name| Ok(name.parse()?)).collect::<Result<Vec<Writer>>>()?;
        let readers = receivers.0.iter().map(|name| Ok(name.parse()?)).collect::<Result<Vec<Reader>>>()?;
        let (known_writers, known_readers) = (Writer::all(sizes), Reader::all(sizes));
        if let Some(unknown) = writers.iter().find(|writer| !known_writers.contains(writer)) {
            return Err(value_error(format!("the model has no sender {unknown}")));
        }
        if let Some(unknown) = readers.iter().find(|reader| !known_readers.contains(reader)) {
            return Err(value_error(format!("the model has no receiver {unknown}")));
        }
        let wanted = |edge: &Edge| writers.contains(&edge.writer) && readers.contains(&edge.reader);
        let edges: Vec<Edge> = Edge::all(architecture).into_iter().filter(wanted).collect();
        if edges.is_empty() {
            return Err(value_error("no sender writes before a receiver reads; give senders of earlier blocks"));
        }
        let sites = path_sites(self.model.sizes());
        let prepared = |prompt, what| self.prepared(prompt, &sites, what);
        let (clean, corrupted) = (prepared(clean, "the clean run")?, prepared(corrupted, "the corrupted run")?);
        let j = observable.get().beside(py, &corrupted, &clean)?;
        detached(py, |_| {
            Case { clean: &clean, corrupted: &corrupted, observable: &j }.check()?;
            let of_senders = outputs_of(&[&clean])?.remove(0);
            Ok::<_, Failure>(path_patch(&corrupted, &of_senders, &edges, &j)? - corrupted.value(&j)?)
        })
    }
}
