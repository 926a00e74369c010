//! Finite differences of the last level of the field, as checks of responses.

use resolvent_model::{Edit, EditedPrompt, Run, Site, Source, SourcedRun, captures, jet_of};

use crate::certificate::{Certificate, SLOPE, norm};
use crate::derivatives::responses_all;
use crate::edited::with_sources;
use crate::error::Result;
use crate::noise;
use crate::place::Place;
use crate::slope::{CURVED_FIELD, amplitudes, first_to_pass};

/// A source at a place of a run.
#[derive(Clone, Copy)]
pub struct PlacedSource<'a> {
    /// The run.
    pub run: &'a Run,
    /// Level and token.
    pub place: Place,
    /// `[d]`
    pub vector: &'a [f32],
}

impl PlacedSource<'_> {
    /// Returns the source at an amplitude.
    pub(crate) fn at(&self, amplitude: f64) -> Source {
        let vector = self.vector.iter().map(|x| (amplitude * f64::from(*x)) as f32).collect();
        Source { site: Site::level(self.place.0, self.run.model().sizes()), token: self.place.1, vector }
    }

    /// Returns the edits of the run in which the source is added at an amplitude.
    pub(crate) fn moved(&self, amplitude: f64) -> Vec<Edit> {
        with_sources(self.run, &[self.at(1.0)], amplitude)
    }
}

/// Returns the response fields `[L+1, T, d]` of sources, each in its run. Runs of one batch share passes.
pub(crate) fn responses(sources: &[PlacedSource<'_>]) -> Result<Vec<Vec<f32>>> {
    let placed: Vec<[Source; 1]> = sources.iter().map(|s| [s.at(1.0)]).collect();
    let sourced = sources.iter().zip(&placed).map(|(s, placed)| SourcedRun { run: s.run, sources: placed });
    responses_all(&sourced.collect::<Vec<_>>())
}

/// Compares the central difference of h\[L\] along each source with its response there, relative to the norm of that
/// response.
/// `responses` are whole fields. Runs of one batch share passes.
///
/// As for J, the second order gives the amplitude; see [`crate::slope`].
pub(crate) fn field_slopes(sources: &[PlacedSource<'_>], responses: &[Vec<f32>]) -> Result<Vec<Certificate>> {
    let Some(one) = sources.first() else { return Ok(Vec::new()) };
    let (model, sizes) = (one.run.model(), one.run.model().sizes());
    let (top, d) = ([Site::level(sizes.layers, sizes)], sizes.d);
    let last = |n: usize| &responses[n][sizes.layers * sources[n].run.tokens().len() * d..];
    let first: Vec<f64> = (0..sources.len()).map(|n| norm(last(n))).collect();
    let open: Vec<usize> = (0..sources.len()).filter(|&n| first[n] > 0.0 && norm(sources[n].vector) > 0.0).collect();

    let sites: Vec<[Site; 2]> = open.iter().map(|&n| [Site::level(sources[n].place.0, sizes), top[0]]).collect();
    let values =
        captures(&open.iter().zip(&sites).map(|(&n, sites)| (sources[n].run, &sites[..])).collect::<Vec<_>>())?;
    let second = second_orders(sources, &open, &top)?;
    let noises: Vec<f64> = values.iter().map(|levels| noise::unit(sizes) * norm(&levels[1])).collect();
    let steps: Vec<Vec<f64>> = (0..open.len())
        .map(|i| {
            let source = &sources[open[i]];
            let h = norm(&values[i][0][source.place.1 * d..][..d]) / norm(source.vector);
            amplitudes(CURVED_FIELD, [first[open[i]], second[i]], noises[i], h)
        })
        .collect();
    let checks = first_to_pass(open.len(), &steps, &mut |points| {
        let mut found = Vec::with_capacity(points.len());
        for part in model.passes(points, |&(i, _)| 2 * sources[open[i]].run.tokens().len()) {
            let edits: Vec<Vec<Edit>> =
                part.iter().flat_map(|&(i, a)| [a, -a].map(|a| sources[open[i]].moved(a))).collect();
            let prompts = part.iter().flat_map(|&(i, _)| [sources[open[i]].run.tokens(); 2]).zip(&edits);
            let prompts: Vec<EditedPrompt<'_>> =
                prompts.map(|(tokens, edits)| EditedPrompt { tokens, edits }).collect();
            let moved = model.run_edited(&prompts, &[])?;
            let moved = captures(&moved.iter().map(|run| (run, &top[..])).collect::<Vec<_>>())?;
            for (&(i, a), pair) in part.iter().zip(moved.chunks(2)) {
                let ([up, down], response) = ([0, 1].map(|side| &pair[side][0]), last(open[i]));
                let apart = up.iter().zip(down).zip(response).map(|((up, down), response)| {
                    ((f64::from(*up) - f64::from(*down)) / (2.0 * a) - f64::from(*response)).powi(2)
                });
                let size = first[open[i]];
                let check = Certificate::new("slope", apart.sum::<f64>().sqrt() / size, SLOPE);
                found.push(check.with_noise(noises[i] / (a * size)));
            }
        }
        Ok(found)
    })?;
    // A source without a response has no slope.
    let mut all = vec![Certificate::new("slope", 0.0, SLOPE); sources.len()];
    open.into_iter().zip(checks).for_each(|(n, check)| all[n] = check);
    Ok(all)
}

/// Returns the norm of the second order at h\[L\] of each source that is named by `open`; 0 where a run has none.
fn second_orders(sources: &[PlacedSource<'_>], open: &[usize], top: &[Site]) -> Result<Vec<f64>> {
    let curved: Vec<usize> = (0..open.len()).filter(|&i| sources[open[i]].run.has_second_order()).collect();
    let placed: Vec<[Source; 1]> = curved.iter().map(|&i| [sources[open[i]].at(1.0)]).collect();
    let sourced = curved
        .iter()
        .zip(&placed)
        .map(|(&i, sources_of)| SourcedRun { run: sources[open[i]].run, sources: sources_of });
    let mut squares = vec![0.0; open.len()];
    jet_of(&sourced.collect::<Vec<_>>(), top, &mut |order, chunk| {
        if order == 1 {
            squares[curved[chunk.sequence]] += norm(chunk.rows).powi(2);
        }
    })?;
    Ok(squares.into_iter().map(f64::sqrt).collect())
}
