//! Writers, readers and edges in results, and the sensitivities at the outputs of writers.

use std::borrow::Cow;

use resolvent_model::{Edge, Mode, Model, Observable, Reader, Run, Site, Sizes, StreamEdits, Writer, path_sites};

use crate::certificate::norm;
use crate::derivatives::derivatives;
use crate::error::Result;
use crate::labelled::Labelled;

/// Returns the names of all writers, separated by commas.
pub(crate) fn writer_names(sizes: &Sizes) -> String {
    Writer::all(sizes).iter().map(Writer::to_string).collect::<Vec<_>>().join(",")
}

/// Adds the array `edges [E, 2]`, and the names of the nodes that it counts.
pub(crate) fn with_edges(result: Labelled, model: &Model, edges: &[Edge]) -> Labelled {
    let sizes = model.sizes();
    let readers: Vec<String> = Reader::all(sizes).iter().map(Reader::to_string).collect();
    let ends = |edge: &Edge| [edge.writer.index(sizes) as f32, edge.reader.index(sizes) as f32];
    result.note("writers", writer_names(sizes)).note("readers", readers.join(",")).with(
        "edges",
        &[("edge", edges.len()), ("end", 2)],
        edges.iter().flat_map(ends).collect(),
    )
}

/// The sensitivities of an observable at all levels and at the outputs of all writers.
pub(crate) struct Sensitivities {
    sites: Vec<Site>,
    rows: Vec<Vec<f32>>,
    levels: usize,
    stream: StreamEdits,
    d: usize,
}

impl Sensitivities {
    /// Computes them in one backward pass.
    pub(crate) fn new(run: &Run, observable: &Observable) -> Result<Self> {
        let levels = run.levels();
        let sites: Vec<Site> = levels.iter().copied().chain(path_sites(run.model().sizes())).collect();
        let rows = derivatives(run, observable, Mode::Exact, &sites)?;
        Ok(Self { sites, rows, levels: levels.len(), stream: StreamEdits::of(run), d: run.model().sizes().d })
    }

    /// Returns the sensitivity field `[L+1, T, d]`.
    pub(crate) fn field(&self) -> Vec<f32> {
        self.rows[..self.levels].concat()
    }

    /// Returns the derivative `[T, d]` by the output of a writer: of a head, before the edits of attention's whole
    /// output.
    pub(crate) fn by(&self, writer: Writer) -> Cow<'_, [f32]> {
        let at = self.sites.iter().position(|site| *site == writer.site());
        let mut rows = Cow::Borrowed(at.map_or(&[][..], |at| &self.rows[at]));
        if self.stream.lie_between(writer, writer.site()) {
            self.stream.back(writer, writer.site(), (0, self.d), rows.to_mut());
        }
        rows
    }
}

/// Returns the rows of the last `to` of `from` tokens of each writer, `[W, to, d]`.
pub(crate) fn last_rows(rows: &[f32], [from, to]: [usize; 2], d: usize) -> Vec<f32> {
    rows.chunks(from * d).flat_map(|of_writer| &of_writer[(from - to) * d..]).copied().collect()
}

/// Gives each piece of `size` elements of `rows` the norm that the piece of `own` has. Zeros stay zeros.
pub(crate) fn match_norms(rows: &mut [f32], own: &[f32], size: usize) {
    for (piece, own) in rows.chunks_mut(size).zip(own.chunks(size)) {
        let (from, to) = (norm(piece), norm(own));
        let share = if from > 0.0 { (to / from) as f32 } else { 0.0 };
        piece.iter_mut().for_each(|x| *x *= share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_rows_of_each_writer() {
        assert_eq!(last_rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [4, 2], 1), [3.0, 4.0, 7.0, 8.0]);
        assert_eq!(last_rows(&[1.0, 2.0, 3.0, 4.0], [2, 1], 2), [3.0, 4.0]);
    }
}
