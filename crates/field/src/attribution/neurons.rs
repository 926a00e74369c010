//! Neurons through all paths: their values times the derivatives by them, summed over tokens, and the largest at single
//! tokens.

use resolvent_model::{Mode, Observable, ProbedRun, Run, Site, Source, along_of, captures};

use crate::certificate::{Certificate, dot, narrow, norm};
use crate::derivatives::derivatives;
use crate::error::Result;
use crate::labelled::Labelled;

/// Largest difference of the derivative along a row of neurons by reverse and by forward mode, over the product of
/// their lengths.
const SAME_DERIVATIVE: f64 = 2e-5;

/// A neuron at a token, with its value times the derivative by it.
#[derive(Clone, Copy)]
struct At {
    block: usize,
    token: usize,
    neuron: usize,
    effect: f32,
}

/// Adds `neurons_first_order [L, inner]` and, of the `listed` neurons at single tokens with the largest effects,
/// `neuron_places [N, 3]` (block, token, neuron) and `neuron_effects [N]`.
///
/// Blocks are read in parts that fit the device's memory for a batch. Certificate `forward_reverse`: the effects of the
/// row of neurons with the largest one add up to the derivative along this row by forward mode.
pub(super) fn with_first_order(
    result: Labelled,
    run: &Run,
    observable: &Observable,
    listed: usize,
) -> Result<Labelled> {
    let (sizes, tokens) = (*run.model().sizes(), run.tokens().len());
    // The values and the derivatives of a block.
    let block = 8 * (tokens * sizes.inner) as u64;
    let part = (run.model().device().batch_bytes() / block.max(1)).clamp(1, sizes.layers as u64) as usize;
    let mut sums = vec![0.0f64; sizes.layers * sizes.inner];
    let mut largest: Vec<At> = Vec::new();
    // Of the row with the largest effect: the source along it, its derivative, and the size of both.
    let mut row: Option<(f32, Source, f64, f64)> = None;
    for first in (0..sizes.layers).step_by(part) {
        let sites: Vec<Site> = (first..sizes.layers.min(first + part)).map(Site::MlpPost).collect();
        let chi = derivatives(run, observable, Mode::Exact, &sites)?;
        let values = captures(&[(run, &sites[..])])?.remove(0);
        for (n, (chi, values)) in chi.iter().zip(&values).enumerate() {
            let block = first + n;
            for (token, (chi, values)) in chi.chunks(sizes.inner).zip(values.chunks(sizes.inner)).enumerate() {
                let mut most = 0.0f32;
                for (neuron, (c, a)) in chi.iter().zip(values).enumerate() {
                    let effect = f64::from(*c) * f64::from(*a);
                    sums[block * sizes.inner + neuron] += effect;
                    most = most.max((effect as f32).abs());
                    if listed > 0 {
                        largest.push(At { block, token, neuron, effect: effect as f32 });
                    }
                }
                if row.as_ref().is_none_or(|row| most > row.0) {
                    let source = Source { site: Site::MlpPost(block), token, vector: values.to_vec() };
                    row = Some((most, source, dot(chi, values), norm(chi) * norm(values)));
                }
                keep(&mut largest, listed);
            }
        }
    }
    let n = largest.len();
    let places = largest.iter().flat_map(|at| [at.block, at.token, at.neuron]).map(|x| x as f32).collect();
    let mut result =
        result.with("neurons_first_order", &[("block", sizes.layers), ("neuron", sizes.inner)], narrow(&sums));
    if listed > 0 {
        result = result.with("neuron_places", &[("listed", n), ("place", 3)], places).with(
            "neuron_effects",
            &[("listed", n)],
            largest.iter().map(|at| at.effect).collect(),
        );
    }
    let Some((_, source, reverse, size)) = row else { return Ok(result) };
    let sources = [source];
    let forward = along_of(&[ProbedRun { run, sources: &sources, observable }])?.remove(0).first;
    let apart = (reverse - forward).abs() / size.max(f64::MIN_POSITIVE);
    result.certify(Certificate::new("forward_reverse", apart, SAME_DERIVATIVE))
}

/// Keeps the `count` largest effects, in descending order; zeros are left out.
fn keep(all: &mut Vec<At>, count: usize) {
    all.retain(|at| at.effect != 0.0);
    all.sort_by(|a, b| b.effect.abs().total_cmp(&a.effect.abs()));
    all.truncate(count);
}
