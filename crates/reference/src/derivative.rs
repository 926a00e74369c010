//! Derivatives of a run, all of them by running the primal on dual numbers.
//!
//! With `s` the sources, `a` an amplitude and `h + a s` the run in which `a s` is added at their sites:
//!
//! ```text
//! jvp       d/da h(a), d/da logits(a)                      one run on Dual
//! gradient  dJ/dh[l, t]                                    d runs on Dual, from layer l on
//! jet       J, dJ/da, d2J/da2                              one run on Dual<Dual>
//! along     J(h + a s) at a finite a                       one run on f64
//! ```

use crate::{Dual, Gpt2, Observable, Scalar, Site, Trace};

/// What is added, and where. `vector` is `[d]`; for one head of q, k, v or z it is zero outside the head's columns.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The slab.
    pub site: Site,
    /// Its row.
    pub token: usize,
    /// `[d]`.
    pub vector: &'a [f64],
}

/// The tangents of a run: the run on dual numbers, read out.
#[derive(Clone, Debug)]
pub struct Response {
    /// First-order response of the field `[L+1, T, d]`; exactly zero outside the causal cone.
    pub field: Vec<f64>,
    /// First-order response of the logits `[T, V]`.
    pub logits: Vec<f64>,
    /// The run itself, for the responses inside the blocks.
    pub trace: Trace<Dual<f64>>,
}

/// Runs the model with `amplitude` times every source added, on any scalar.
pub fn run_with<S: Scalar>(model: &Gpt2<f64>, tokens: &[usize], sources: &[Source<'_>], amplitude: S) -> Trace<S> {
    let (d, layers) = (model.config.n_embd, model.config.n_layer);
    for source in sources {
        assert_eq!(source.vector.len(), d, "{:?}: a source is a vector of {d}", source.site);
        assert!(source.site.block() < layers, "{:?}: the model has {layers} blocks", source.site);
        assert!(source.token < tokens.len(), "source at token {} of {}", source.token, tokens.len());
    }
    model.lift::<S>().forward(tokens, &mut |site, chunk| {
        for source in sources.iter().filter(|source| source.site == site) {
            let row = &mut chunk[source.token * d..][..d];
            for (x, &s) in row.iter_mut().zip(source.vector) {
                *x += amplitude * S::from_f64(s);
            }
        }
    })
}

/// First-order response of the whole run to `sources` together.
pub fn jvp(model: &Gpt2<f64>, tokens: &[usize], sources: &[Source<'_>]) -> Response {
    let trace = run_with(model, tokens, sources, Dual::new(0.0, 1.0));
    let tangents = |x: &[Dual<f64>]| x.iter().map(|x| x.tangent).collect::<Vec<f64>>();
    Response { field: tangents(&trace.field), logits: tangents(&trace.logits), trace }
}

/// J, dJ/da and d2J/da2 of J(h + a s) at a = 0.
pub fn jet(model: &Gpt2<f64>, tokens: &[usize], sources: &[Source<'_>], observable: &impl Observable) -> [f64; 3] {
    let amplitude = Dual::new(Dual::new(0.0, 1.0), Dual::new(1.0, 0.0));
    let value = observable.read(&run_with(model, tokens, sources, amplitude));
    [value.primal.primal, value.primal.tangent, value.tangent.tangent]
}

/// J(h + a s) at a finite amplitude.
pub fn along(
    model: &Gpt2<f64>,
    tokens: &[usize],
    sources: &[Source<'_>],
    amplitude: f64,
    observable: &impl Observable,
) -> f64 {
    observable.read(&run_with(model, tokens, sources, amplitude))
}

/// `dJ/dh[layer, token]`, shape `[d]`, for the run whose field `[L+1, T, d]` is given by `base`.
///
/// Exact and slow: one run on duals from `layer` on for every component.
pub fn gradient(
    model: &Gpt2<f64>,
    base: &Trace<f64>,
    layer: usize,
    token: usize,
    observable: &impl Observable,
) -> Vec<f64> {
    gradient_row(&model.lift(), base, layer, token, observable)
}

/// dJ/dh for every row of the field: `[L+1, T, d]`. For tiny models: (L+1) T d runs.
pub fn gradient_field(model: &Gpt2<f64>, base: &Trace<f64>, observable: &impl Observable) -> Vec<f64> {
    let lifted = model.lift();
    let mut field = Vec::with_capacity(base.field.len());
    for layer in 0..=model.config.n_layer {
        for token in 0..base.tokens() {
            field.extend(gradient_row(&lifted, base, layer, token, observable));
        }
    }
    field
}

fn gradient_row(
    model: &Gpt2<Dual<f64>>,
    base: &Trace<f64>,
    layer: usize,
    token: usize,
    observable: &impl Observable,
) -> Vec<f64> {
    let (d, tokens) = (model.config.n_embd, base.tokens());
    let known = &base.field[..(layer + 1) * tokens * d];
    (0..d)
        .map(|i| {
            let mut field: Vec<Dual<f64>> = known.iter().map(|&h| Dual::from_f64(h)).collect();
            field[(layer * tokens + token) * d + i].tangent = 1.0;
            observable.read(&model.resume(field, tokens, &mut |_, _| {})).tangent
        })
        .collect()
}
