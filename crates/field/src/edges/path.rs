//! Path patching of any set of edges, by edits of whole runs.

use std::collections::BTreeMap;

use resolvent_model::{
    Edge, Edit, EditedPrompt, Observable, Outputs, Reader, Run, StreamEdits, outputs_of, path_sites,
};

use crate::error::Result;

/// Returns the value of an observable in `run` where the reader of each edge reads what `senders` has of its writer, at
/// every token, and all else follows.
///
/// A reader of several edges reads all their writers so. Each block needs up to four forward passes of the whole
/// prompt; [`resolvent_model::edge_values`] patches single edges in batches.
///
/// # Errors
/// An edge that the model lacks, a run that was not prepared for [`path_sites`], or a device error.
pub fn path_patch(run: &Run, senders: &Outputs, edges: &[Edge], observable: &Observable) -> Result<f64> {
    let model = run.model();
    edges.iter().try_for_each(|edge| edge.check(model.architecture()))?;
    let mut of_reader: BTreeMap<Reader, Vec<Edge>> = BTreeMap::new();
    edges.iter().for_each(|&edge| of_reader.entry(edge.reader).or_default().push(edge));
    let mut patch = Patch { run, senders, stream: StreamEdits::of(run), edits: run.edits().to_vec() };
    for l in 0..model.sizes().layers {
        let attention = |reader: &Reader| match *reader {
            Reader::Query(block, _) | Reader::Key(block, _) | Reader::Value(block, _) => block == l,
            _ => false,
        };
        patch.readers(of_reader.iter().filter(|(reader, _)| attention(reader)))?;
        patch.readers(of_reader.iter().filter(|(reader, _)| **reader == Reader::Mlp(l)))?;
    }
    if let Some(edges) = of_reader.get(&Reader::Logits) {
        let current = outputs_of(&[&patch.current()?])?.remove(0);
        patch.edits.extend(patch.moved(Reader::Logits, edges, &current));
    }
    Ok(patch.current()?.value(observable)?)
}

/// A run to which the patches of readers are added in the order in which they read.
struct Patch<'a> {
    run: &'a Run,
    senders: &'a Outputs,
    /// The run's own edits of the stream; those that are added act after them.
    stream: StreamEdits,
    edits: Vec<Edit>,
}

impl Patch<'_> {
    /// Returns the run under the edits so far.
    fn current(&self) -> Result<Run> {
        let prompt = EditedPrompt { tokens: self.run.tokens(), edits: &self.edits };
        Ok(self.run.model().run_edited(&[prompt], &path_sites(self.run.model().sizes()))?.remove(0))
    }

    /// Returns the edits that move what a reader reads by the displacements of its edges' writers.
    fn moved(&self, reader: Reader, edges: &[Edge], current: &Outputs) -> Vec<Edit> {
        let (model, d) = (self.run.model(), current.d);
        let (sizes, site) = (model.sizes(), reader.input(model.architecture()));
        let mut sum = vec![0.0f64; current.tokens * d];
        for edge in edges {
            let both = self.senders.get(edge.writer, sizes).iter().zip(current.get(edge.writer, sizes));
            let mut rows: Vec<f32> = both.map(|(a, b)| a - b).collect();
            self.stream.pass(edge.writer, site, (0, d), &mut rows);
            sum.iter_mut().zip(rows).for_each(|(sum, x)| *sum += f64::from(x));
        }
        let row = |(t, row): (usize, &[f64])| Edit::add(site, t, row.iter().map(|&x| x as f32).collect());
        sum.chunks(d).enumerate().map(row).collect()
    }

    /// Puts in place what these readers compute of their moved input.
    fn readers<'e>(&mut self, of: impl Iterator<Item = (&'e Reader, &'e Vec<Edge>)>) -> Result<()> {
        let of: Vec<(&Reader, &Vec<Edge>)> = of.collect();
        if of.is_empty() {
            return Ok(());
        }
        let model = self.run.model();
        let current = outputs_of(&[&self.current()?])?.remove(0);
        let with = |(reader, edges): &(&Reader, &Vec<Edge>)| {
            [self.edits.clone(), self.moved(**reader, edges, &current)].concat()
        };
        let edits: Vec<Vec<Edit>> = of.iter().map(with).collect();
        let prompt = |edits| EditedPrompt { tokens: self.run.tokens(), edits };
        let prompts: Vec<EditedPrompt<'_>> = edits.iter().map(|edits| prompt(&edits[..])).collect();
        let runs = model.run_edited(&prompts, &path_sites(model.sizes()))?;
        for ((reader, _), run) in of.iter().zip(&runs) {
            let Some(site) = reader.output() else { continue };
            let values = run.capture(site)?;
            let rows = values.chunks(site.width(model.sizes())).enumerate();
            self.edits.extend(rows.map(|(t, row)| Edit::put(site, t, row.to_vec())));
        }
        Ok(())
    }
}
