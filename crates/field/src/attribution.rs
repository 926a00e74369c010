//! Direct attribution: an observable as a sum over what wrote to the residual stream.
//!
//! Let u be the derivative of J by h\[L, t\] with the scale of the final norm frozen. A weighted sum of logits is then
//! an affine function of h\[L\], and h\[L\] is the sum of all writers' outputs and biases. So
//!
//! ```text
//! J  =  constant  +  sum over writers w and tokens t of <u[t], w[t]>  +  the same for biases
//! ```
//!
//! exactly, except for rounding. The constant is J where h\[L\] is zero. The term of a writer is its direct
//! contribution: what passes through other nodes is not in it. An observable that is no weighted sum of logits has
//! these terms too, to first order; they do not add up to J then.

mod controls;
mod neurons;

use resolvent_model::{
    Edit, Mode, Observable, Outputs, Patterns, Run, Site, Sizes, Writer, ends_at_logits, neuron_products, outputs_of,
    path_sites,
};

use crate::certificate::{Certificate, dot, narrow, norm, same, worse};
use crate::derivatives::derivatives;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::nodes::{Sensitivities, writer_names};

/// Options of [`attribute`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttributeOptions {
    /// Whether to add the contributions of every neuron: direct, and through all paths.
    pub neurons: bool,
    /// How many neurons at single tokens are listed, those of the largest contributions through all paths; with
    /// `neurons`.
    pub listed: usize,
    /// Whether to add the attention patterns.
    pub patterns: bool,
    /// Number of other prompts of the set whose outputs are controls, for [`crate::attribute_of_prompts`]; 0 for none.
    pub controls: usize,
}

impl AttributeOptions {
    /// Returns the sites for which runs must be prepared.
    pub fn sites(self, sizes: &Sizes) -> Vec<Site> {
        let neurons = (0..sizes.layers).map(Site::MlpPost).filter(|_| self.neurons);
        path_sites(sizes).into_iter().chain(neurons).collect()
    }
}

/// Tolerance of sums over all parts, relative to the sizes of their terms. They differ by f32 rounding only.
const SUMS: f64 = 1e-4;

/// Decomposes an observable over embedding, heads, MLPs and biases.
///
/// The run must have been prepared for [`AttributeOptions::sites`].
///
/// Arrays: `direct [W, T]`, `first_order [W, T]` (the output times the derivative by it, through all paths),
/// `direct_biases [L, T]` (of attention's outputs), `constant [1]` and `value [1]`; controls of the first two are
/// `random_direct` and `random_first_order [W, T]`, the root mean square over outputs of the same length in all
/// directions. On request `neurons [L, inner]` (direct, summed over tokens), `mlp_biases [L]`, `neurons_first_order
/// [L, inner]` (through all paths, summed over tokens), `neuron_places [N, 3]` (block, token and neuron of the listed
/// ones), `neuron_effects [N]` (their contributions through all paths) and `pattern [L, H, T, T]`. In a run with edits
/// of the stream or of attention's whole output, `direct_edits [L, T]` has what they add within each block. The
/// metadata name the `writers`, separated by commas.
///
/// Certificates: all contributions add up to `<u, h[L]>` (`parts`) and, if J is a weighted sum of uncapped logits, with
/// the constant to J (`adds_up`); the neurons and biases of each MLP whose output is not edited add up to its
/// contribution (`neurons`); forward mode along a row of neurons agrees with their contributions through all paths
/// (`forward_reverse`).
///
/// # Errors
/// A run that was not prepared, an observable that does not fit or reads the field below the last level, a device
/// error, or a check that fails.
pub fn attribute(run: &Run, observable: &Observable, options: AttributeOptions) -> Result<Labelled> {
    attribute_beside(run, &[], observable, options)
}

/// Returns the result of [`attribute`], with the arrays `other_prompts_direct` and `other_prompts_first_order [W, T]`
/// if there are others: the root mean square of the contributions if each output were that of another run, of its last
/// tokens, with the norm that it has here at every token.
pub(crate) fn attribute_beside(
    run: &Run,
    others: &[Run],
    observable: &Observable,
    options: AttributeOptions,
) -> Result<Labelled> {
    let (model, sizes, tokens) = (run.model(), *run.model().sizes(), run.tokens().len());
    ends_at_logits(observable, &sizes)?;
    let d = sizes.d;
    let outputs = outputs_of(&[run])?.remove(0);
    let (last, writers) = (Site::level(sizes.layers, &sizes), Writer::all(&sizes));
    let u = derivatives(run, observable, Mode::FrozenNorm, &[last])?.remove(0);
    let products = |rows: &[f32], u: &[f32]| products(rows, u, d);
    let direct: Vec<f64> = outputs.data.chunks(tokens * d).flat_map(|rows| products(rows, &u)).collect();
    let biases: Vec<f64> = outputs.biases.chunks(tokens * d).flat_map(|rows| products(rows, &u)).collect();
    let chi = Sensitivities::new(run, observable)?;
    // Over random directions of d elements, `<u, w>^2` is `|u|^2 |w|^2 / d` in the mean.
    let random = |rows: &[f32], u: &[f32]| -> Vec<f64> {
        rows.chunks(d).zip(u.chunks(d)).map(|(row, u)| norm(row) * norm(u) / (d as f64).sqrt()).collect()
    };
    let random_direct: Vec<f64> = outputs.data.chunks(tokens * d).flat_map(|rows| random(rows, &u)).collect();
    let (mut first_order, mut random_first_order): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    for &writer in &writers {
        let (rows, chi) = (outputs.get(writer, &sizes), chi.by(writer));
        first_order.extend(products(rows, &chi));
        random_first_order.extend(random(rows, &chi));
    }
    let beside = controls::other_prompts(&outputs, others, &u, &chi)?;
    let value = run.value(observable)?;
    let zero: Vec<Edit> = (0..tokens).map(|t| Edit::ablate(last, t)).collect();
    let constant = run.values_under(&[zero], observable)?[0];

    let edits = edited_parts(run, &u, (&direct, &biases))?;
    let sum: f64 = direct.iter().chain(&biases).chain(edits.iter().flatten()).sum();
    let h = run.capture(last)?;
    let scale = (norm(&u) * norm(&h)).max(f64::MIN_POSITIVE);
    let mut result = Labelled::new("attribute", run)
        .note("observable", observable.to_string())
        .note("writers", writer_names(&sizes))
        .with("direct", &[("writer", writers.len()), ("token", tokens)], narrow(&direct))
        .with("first_order", &[("writer", writers.len()), ("token", tokens)], narrow(&first_order))
        .with("random_direct", &[("writer", writers.len()), ("token", tokens)], narrow(&random_direct))
        .with("random_first_order", &[("writer", writers.len()), ("token", tokens)], narrow(&random_first_order))
        .with("direct_biases", &[("block", sizes.layers), ("token", tokens)], narrow(&biases))
        .with("constant", &[("value", 1)], vec![constant as f32])
        .with("value", &[("value", 1)], vec![value as f32]);
    for (name, each) in controls::NAMES.into_iter().zip(beside.iter().flatten()) {
        result = result.with(name, &[("writer", writers.len()), ("token", tokens)], narrow(each));
    }
    if let Some(edits) = &edits {
        result = result.with("direct_edits", &[("block", sizes.layers), ("token", tokens)], narrow(edits));
    }
    result = result.certify(Certificate::new("parts", (sum - dot(&u, &h)).abs() / scale, SUMS))?;
    let exact = observable.is_linear() && !model.caps_logits();
    result = result.note(
        "exact",
        if exact { "yes" } else { "they are to first order, since J is no weighted sum of uncapped logits" },
    );
    if exact {
        let bound = SUMS.max(same(model));
        let error = (constant + sum - value).abs() / scale.max(value.abs());
        result = result.certify(Certificate::new("adds_up", error, bound))?;
    }
    if options.neurons {
        result = direct_neurons(result, run, (&outputs, &u), &direct)?;
        result = neurons::with_first_order(result, run, observable, options.listed)?;
    }
    if options.patterns {
        let read = Patterns::of(&[run])?;
        let patterns = (0..sizes.layers).map(|l| read.get(0, l)).collect::<std::result::Result<Vec<_>, _>>()?;
        let axes = [("block", sizes.layers), ("head", sizes.heads), ("query", tokens), ("key", tokens)];
        result = result.with("pattern", &axes, patterns.concat());
    }
    Ok(result)
}

/// Returns the products of rows of two arrays, which are `d` wide.
fn products(rows: &[f32], u: &[f32], d: usize) -> Vec<f64> {
    rows.chunks(d).zip(u.chunks(d)).map(|(row, u)| dot(row, u)).collect()
}

/// Returns the direct contributions of edits of the stream and of attention's whole output, `[L, T]` by block: what a
/// block adds at their tokens beside its heads, biases and MLP. `None` without such edits. Edits of the first level
/// belong to the embedding, and those of heads, neurons and MLP outputs to these.
fn edited_parts(run: &Run, u: &[f32], (direct, biases): (&[f64], &[f64])) -> Result<Option<Vec<f64>>> {
    let (sizes, tokens, d) = (run.model().sizes(), run.tokens().len(), run.model().sizes().d);
    let block = |site: Site| match site {
        Site::ResidPre(l) => l.checked_sub(1),
        Site::ResidMid(l) | Site::ResidPost(l) | Site::AttnOut(l) => Some(l),
        _ => None,
    };
    let mut edited: Vec<(usize, usize)> =
        run.edits().iter().filter_map(|edit| Some((block(edit.site)?, edit.token))).collect();
    if edited.is_empty() {
        return Ok(None);
    }
    edited.sort_unstable();
    edited.dedup();
    let (field, mut parts) = (run.field()?, vec![0.0; sizes.layers * tokens]);
    let stream = |level: usize, t: usize| dot(&field[(level * tokens + t) * d..][..d], &u[t * d..][..d]);
    for (l, t) in edited {
        let writers = (0..sizes.heads).map(|h| Writer::Head(l, h)).chain([Writer::Mlp(l)]);
        let written: f64 = writers.map(|writer| direct[writer.index(sizes) * tokens + t]).sum();
        parts[l * tokens + t] = stream(l + 1, t) - stream(l, t) - written - biases[l * tokens + t];
    }
    Ok(Some(parts))
}

/// Adds the direct contribution of every neuron and of the biases beside them.
fn direct_neurons(result: Labelled, run: &Run, (outputs, u): (&Outputs, &[f32]), direct: &[f64]) -> Result<Labelled> {
    let (sizes, tokens) = (run.model().sizes(), run.tokens().len());
    let products = neuron_products(run, u)?;
    let biases: Vec<f64> = outputs.mlp_biases.chunks(tokens * sizes.d).map(|rows| dot(rows, u)).collect();
    let mut worst = 0.0f64;
    for (l, of_block) in products.chunks(sizes.inner).enumerate() {
        // An edit of the output is in the MLP's contribution, and in that of no neuron.
        if run.edits().iter().any(|edit| edit.site == Site::MlpOut(l)) {
            continue;
        }
        let writer = Writer::Mlp(l);
        let sum = of_block.iter().map(|&x| f64::from(x)).sum::<f64>() + biases[l];
        let whole: f64 = direct[writer.index(sizes) * tokens..][..tokens].iter().sum();
        let scale = (norm(u) * norm(outputs.get(writer, sizes))).max(f64::MIN_POSITIVE);
        worst = worse(worst, (sum - whole).abs() / scale);
    }
    result
        .with("neurons", &[("block", sizes.layers), ("neuron", sizes.inner)], products)
        .with("mlp_biases", &[("block", sizes.layers)], narrow(&biases))
        .certify(Certificate::new("neurons", worst, SUMS))
}
