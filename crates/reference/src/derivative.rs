//! Derivatives of a run. Each of them runs the primal on dual numbers.
//!
//! With `s` the sources, `a` an amplitude and `h + a s` the run in which `a s` is added at their sites:
//!
//! ```text
//! jvp       d/da h(a), d/da logits(a)                      one run on Dual
//! gradient  dJ/dh[l, t]                                    d runs on Dual, from layer l on
//! jet       J, dJ/da, d2J/da2                              one run on Dual<Dual>
//! along     J(h + a s) at a finite a                       one run on f64
//! ```

use crate::site::Hook;
use crate::{Dual, FamilyModel, Gpt2, Observable, Scalar, Site, Trace};

/// A model that runs on any scalar; its parameters are constants.
pub trait Model {
    /// Returns the number of blocks, L.
    fn layers(&self) -> usize;
    /// Runs the model on `tokens [T]`.
    fn forward_on<S: Scalar>(&self, tokens: &[usize], hook: &mut Hook<'_, S>) -> Trace<S>;
    /// Returns the function that resumes from `field [l+1, T, d]` with T tokens.
    fn resume_on<S: Scalar>(&self) -> impl Fn(Vec<S>, usize) -> Trace<S>;
}

impl Model for Gpt2<f64> {
    fn layers(&self) -> usize {
        self.config.n_layer
    }
    fn forward_on<S: Scalar>(&self, tokens: &[usize], hook: &mut Hook<'_, S>) -> Trace<S> {
        self.lift().forward(tokens, hook)
    }
    fn resume_on<S: Scalar>(&self) -> impl Fn(Vec<S>, usize) -> Trace<S> {
        let lifted = self.lift();
        move |field, tokens| lifted.resume(field, tokens, &mut |_, _| {})
    }
}

impl Model for FamilyModel {
    fn layers(&self) -> usize {
        self.features.layers
    }
    fn forward_on<S: Scalar>(&self, tokens: &[usize], hook: &mut Hook<'_, S>) -> Trace<S> {
        self.forward(tokens, hook)
    }
    fn resume_on<S: Scalar>(&self) -> impl Fn(Vec<S>, usize) -> Trace<S> {
        move |field, tokens| self.resume(field, tokens, &mut |_, _| {})
    }
}

/// A tangent to add at a site. `vector` is as wide as the site, `[d]` but for q, k, v and z of a [`FamilyModel`]; for
/// one head of q, k, v or z it is zero outside the head's columns.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The site.
    pub site: Site,
    /// The token, a row of the site.
    pub token: usize,
    /// `[width]`.
    pub vector: &'a [f64],
}

/// The tangents of a run on dual numbers.
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
pub fn run_with<S: Scalar>(model: &impl Model, tokens: &[usize], sources: &[Source<'_>], amplitude: S) -> Trace<S> {
    let layers = model.layers();
    for source in sources {
        assert!(source.site.block() < layers, "{:?}: the model has {layers} blocks", source.site);
        assert!(source.token < tokens.len(), "source at token {} of {}", source.token, tokens.len());
    }
    model.forward_on(tokens, &mut |site, chunk: &mut [S]| {
        let width = chunk.len() / tokens.len();
        for source in sources.iter().filter(|source| source.site == site) {
            assert_eq!(source.vector.len(), width, "{site:?}: a source is a vector of {width}");
            let row = &mut chunk[source.token * width..][..width];
            for (x, &s) in row.iter_mut().zip(source.vector) {
                *x += amplitude * S::from_f64(s);
            }
        }
    })
}

/// Returns the first-order response of the whole run to `sources` together.
pub fn jvp(model: &impl Model, tokens: &[usize], sources: &[Source<'_>]) -> Response {
    let trace = run_with(model, tokens, sources, Dual::new(0.0, 1.0));
    let tangents = |x: &[Dual<f64>]| x.iter().map(|x| x.tangent).collect::<Vec<f64>>();
    Response { field: tangents(&trace.field), logits: tangents(&trace.logits), trace }
}

/// Returns J, dJ/da and d2J/da2 of J(h + a s) at a = 0.
pub fn jet(model: &impl Model, tokens: &[usize], sources: &[Source<'_>], observable: &impl Observable) -> [f64; 3] {
    let amplitude = Dual::new(Dual::new(0.0, 1.0), Dual::new(1.0, 0.0));
    let value = observable.read(&run_with(model, tokens, sources, amplitude));
    [value.primal.primal, value.primal.tangent, value.tangent.tangent]
}

/// Returns J(h + a s) at a finite amplitude.
pub fn along(
    model: &impl Model,
    tokens: &[usize],
    sources: &[Source<'_>],
    amplitude: f64,
    observable: &impl Observable,
) -> f64 {
    observable.read(&run_with(model, tokens, sources, amplitude))
}

/// Returns `dJ/dh[layer, token]`, shape `[d]`, for the run whose field `[L+1, T, d]` is given by `base`.
///
/// Exact and slow: each component takes one run on duals, from `layer` on.
pub fn gradient(
    model: &impl Model,
    base: &Trace<f64>,
    layer: usize,
    token: usize,
    observable: &impl Observable,
) -> Vec<f64> {
    gradient_row(&model.resume_on(), base, layer, token, observable)
}

/// Returns dJ/dh for every row of the field: `[L+1, T, d]`. For tiny models: (L+1) T d runs.
pub fn gradient_field(model: &impl Model, base: &Trace<f64>, observable: &impl Observable) -> Vec<f64> {
    let resume = model.resume_on();
    let rows = (0..=model.layers()).flat_map(|layer| (0..base.tokens()).map(move |token| (layer, token)));
    rows.flat_map(|(layer, token)| gradient_row(&resume, base, layer, token, observable)).collect()
}

fn gradient_row(
    resume: &impl Fn(Vec<Dual<f64>>, usize) -> Trace<Dual<f64>>,
    base: &Trace<f64>,
    layer: usize,
    token: usize,
    observable: &impl Observable,
) -> Vec<f64> {
    let (d, tokens) = (base.h(0, 0).len(), base.tokens());
    let known = &base.field[..(layer + 1) * tokens * d];
    (0..d)
        .map(|i| {
            let mut field: Vec<Dual<f64>> = known.iter().map(|&h| Dual::from_f64(h)).collect();
            field[(layer * tokens + token) * d + i].tangent = 1.0;
            observable.read(&resume(field, tokens)).tangent
        })
        .collect()
}
