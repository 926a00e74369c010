//! Products of displacements and derivatives for all edges.

use std::borrow::Cow;

use resolvent_model::{Architecture, Edge, Sizes, StreamEdits, Writer, gaussian};

use crate::nodes::match_norms;

/// The edges whose scores are computed, and the displacements of their writers.
pub(crate) struct Scores<'a> {
    pub(crate) model: &'a Architecture,
    pub(crate) edges: &'a [Edge],
    /// The edits that displacements pass on their way to the readers.
    pub(crate) stream: &'a StreamEdits,
    /// Of the writers' outputs, `[W, T, d]`.
    pub(crate) displacement: &'a [f32],
    /// Whether scores are those of each token, not their sums.
    pub(crate) by_token: bool,
}

/// Readers whose derivatives stay in the cache while the displacements pass.
const READERS: usize = 8;

impl Scores<'_> {
    /// Returns `<g, d>` of each edge for derivatives `[R, T, d]`: at each token, `[E, T]`, or summed over tokens,
    /// `[E]`.
    pub(crate) fn of(&self, gradients: &[f32]) -> Vec<f64> {
        let size = self.displacement.len() / self.writers();
        let (parts, part) = (self.parts(), size / self.parts());
        let sizes = self.sizes();
        let ends = self.edges.iter().map(|edge| (edge.writer.index(sizes), edge.reader.index(sizes)));
        // Writer by writer within a few readers.
        let mut order: Vec<(usize, (usize, usize))> = ends.enumerate().collect();
        order.sort_by_key(|&(_, (writer, reader))| (reader / READERS, writer, reader));
        let mut scores = vec![0.0; order.len() * parts];
        for (n, (writer, reader)) in order {
            let moved = self.displacement[writer * size..][..size].chunks(part);
            let gradient = self.back(self.edges[n], &gradients[reader * size..][..size]);
            let rows = moved.zip(gradient.chunks(part));
            scores[n * parts..][..parts].iter_mut().zip(rows).for_each(|(score, (d, g))| *score = product(d, g));
        }
        scores
    }

    /// Returns the derivative by what the writer of an edge adds, through this edge alone, given that by what the
    /// reader reads.
    fn back<'g>(&self, edge: Edge, gradient: &'g [f32]) -> Cow<'g, [f32]> {
        let to = edge.reader.input(self.model);
        let mut gradient = Cow::Borrowed(gradient);
        if self.stream.lie_between(edge.writer, to) {
            self.stream.back(edge.writer, to, (0, self.sizes().d), gradient.to_mut());
        }
        gradient
    }

    pub(crate) fn sizes(&self) -> &Sizes {
        self.model.sizes()
    }

    /// Returns how many scores an edge has: one, or one for each token.
    pub(crate) fn parts(&self) -> usize {
        if self.by_token { self.tokens() } else { 1 }
    }

    /// Returns the number of scores of all edges.
    pub(crate) fn len(&self) -> usize {
        self.edges.len() * self.parts()
    }

    /// Returns the sums over tokens of scores, or of other numbers of each edge and token, `[E]`.
    pub(crate) fn summed(&self, scores: &[f64]) -> Vec<f64> {
        scores.chunks(self.parts()).map(|of_edge| of_edge.iter().sum()).collect()
    }

    /// Returns the sums of scores over the edges of each of `ends`, such as readers. `end` is the number of an edge's
    /// own. Each has as many sums as an edge has scores.
    pub(crate) fn gathered(&self, scores: &[f64], ends: usize, end: impl Fn(&Edge) -> usize) -> Vec<f64> {
        let parts = self.parts();
        let mut sums = vec![0.0; ends * parts];
        for (edge, each) in self.edges.iter().zip(scores.chunks(parts)) {
            sums[end(edge) * parts..][..parts].iter_mut().zip(each).for_each(|(sum, x)| *sum += x);
        }
        sums
    }

    /// Returns the mean squares of the scores if the displacement of each writer at each token had the same norm and a
    /// random direction, `|g_t|^2 |d_t|^2 / d`, as [`Scores::of`] returns scores. This is exact, not a sample.
    pub(crate) fn random(&self, gradients: &[f32]) -> Vec<f64> {
        let (sizes, d) = (self.sizes(), self.sizes().d);
        let squares = |rows: &[f32]| -> Vec<f64> {
            rows.chunks(d).map(|row| row.iter().map(|&x| f64::from(x).powi(2)).sum()).collect()
        };
        let (moved, chi) = (squares(self.displacement), squares(gradients));
        let tokens = self.tokens();
        let of = |edge: &Edge| {
            let (writer, reader) = (edge.writer.index(sizes) * tokens, edge.reader.index(sizes) * tokens);
            let through = match self.back(*edge, &gradients[reader * d..][..tokens * d]) {
                Cow::Borrowed(_) => Cow::Borrowed(&chi[reader..reader + tokens]),
                Cow::Owned(gradient) => Cow::Owned(squares(&gradient)),
            };
            let both = moved[writer..writer + tokens].iter().zip(&*through);
            let each: Vec<f64> = both.map(|(a, b)| a * b / d as f64).collect();
            if self.by_token { each } else { vec![each.iter().sum()] }
        };
        self.edges.iter().flat_map(of).collect()
    }

    /// Returns displacements `[W, T, d]` in random directions, with the norms that those here have at every token.
    pub(crate) fn randomised(&self, seed: u64) -> Vec<f32> {
        let d = self.sizes().d;
        let mut moved = gaussian(seed, self.displacement.len());
        match_norms(&mut moved, self.displacement, d);
        moved
    }

    /// Returns displacements `[W, T, d]` of other prompts, with the norm of each writer that the displacements here
    /// have.
    pub(crate) fn matched(&self, mut others: Vec<f32>) -> Vec<f32> {
        match_norms(&mut others, self.displacement, self.displacement.len() / self.writers());
        others
    }

    /// Returns the sum of what the writers of these edges, which share a site, move there, `[T, d]`.
    pub(crate) fn written(&self) -> Vec<f32> {
        let size = self.displacement.len() / self.writers();
        let mut writers: Vec<Writer> = self.edges.iter().map(|edge| edge.writer).collect();
        writers.sort_unstable();
        writers.dedup();
        let mut sum = vec![0.0f32; size];
        for &writer in &writers {
            let of_writer = &self.displacement[writer.index(self.sizes()) * size..][..size];
            sum.iter_mut().zip(of_writer).for_each(|(sum, x)| *sum += x);
        }
        if let Some(&writer) = writers.first() {
            self.stream.pass(writer, writer.site(), (0, self.sizes().d), &mut sum);
        }
        sum
    }

    fn writers(&self) -> usize {
        Writer::all(self.sizes()).len()
    }

    /// Returns the number of tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.displacement.len() / self.writers() / self.sizes().d
    }
}

/// Returns `<a, b>`, summed in f64 in eight interleaved parts.
fn product(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use resolvent_model::{Architecture, Reader, tiny};

    use super::*;
    use crate::certificate::dot;

    #[test]
    fn products_of_any_length() {
        for n in [0, 1, 7, 8, 9, 31, 64, 100] {
            let (a, b) = (gaussian(1, n), gaussian(2, n));
            assert!((product(&a, &b) - dot(&a, &b)).abs() < 1e-12, "{n}");
        }
    }

    /// Scores by token are those of displacements at one token alone, and they add up to the sums; so do mean squares.
    #[test]
    fn scores_of_tokens_add_up() {
        let model: Architecture = tiny().into();
        let (sizes, edges, tokens) = (*model.sizes(), Edge::all(&model), 3);
        let displacement = gaussian(1, Writer::all(&sizes).len() * tokens * sizes.d);
        let gradients = gaussian(2, Reader::all(&sizes).len() * tokens * sizes.d);
        let (stream, by_token) = (StreamEdits::default(), false);
        let whole = Scores { model: &model, edges: &edges, stream: &stream, displacement: &displacement, by_token };
        let each = Scores { by_token: true, ..whole };
        assert_eq!((whole.len(), each.len()), (edges.len(), edges.len() * tokens));
        let near = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-10);
        let by_token = each.of(&gradients);
        assert!(near(&each.summed(&by_token), &whole.of(&gradients)));
        assert!(near(&each.summed(&each.random(&gradients)), &whole.random(&gradients)));
        assert_eq!(whole.summed(&whole.of(&gradients)), whole.of(&gradients));
        for t in 0..tokens {
            let at = |(n, x): (usize, &f32)| if n / sizes.d % tokens == t { *x } else { 0.0 };
            let alone: Vec<f32> = displacement.iter().enumerate().map(at).collect();
            let alone = Scores { displacement: &alone, ..whole }.of(&gradients);
            let of_token: Vec<f64> = by_token.iter().skip(t).step_by(tokens).copied().collect();
            assert!(near(&of_token, &alone), "{t}");
        }
    }
}
