//! What the families from Llama on share: the names of fields, and their defaults.

use super::modules::{BEFORE, Biases, Modules, Norms};
use super::rotary::Pairs;
use super::{Activation, Architecture, AttentionPlan, Fields, NormKind, Rotary, Sizes};
use crate::error::Result;

/// What a family says about its blocks, beside the shared fields.
pub(super) struct Decoder {
    pub(super) family: &'static str,
    pub(super) norm: NormKind,
    pub(super) norms: Norms,
    pub(super) biases: Biases,
    /// The field that names the activation, and the activation of files without it.
    pub(super) activation: (&'static str, Activation),
    /// Whether attention and MLP of a block both read its input.
    pub(super) parallel: bool,
    pub(super) modules: Modules,
    pub(super) unstated: Unstated,
    pub(super) rope: Rope,
    /// The field with the epsilon of the norms, and the epsilon of files without it.
    pub(super) eps: (&'static str, f64),
    /// Whether the embeddings are tied, if the file does not say so.
    pub(super) tied: bool,
}

/// Where the rotary embedding of all blocks comes from.
#[derive(Clone, Copy)]
pub(super) enum Rope {
    /// The family reads its embeddings itself, or has none.
    Own,
    /// Heads are rotated as a whole. The base of the wavelengths, if the file has none.
    Whole(f64),
    /// The first columns of a head are rotated. The base, and the share of these columns, if the file has none.
    Share(f64, f64),
}

/// Sizes of files that do not state them: the defaults of the family's own library. The text model in a multimodal file
/// often states only the sizes that differ from these.
#[derive(Clone, Copy)]
pub(super) struct Unstated {
    pub(super) vocab: usize,
    pub(super) d: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// `None`: as many as there are query heads.
    pub(super) kv_heads: Option<usize>,
    /// `None`: the width of the residual stream over the number of heads.
    pub(super) d_head: Option<usize>,
    pub(super) n_ctx: usize,
}

impl Unstated {
    /// The sizes of Llama 2 7B, from which several libraries took their defaults.
    pub(super) const LLAMA: Self = Self {
        vocab: 32_000,
        d: 4096,
        inner: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        d_head: None,
        n_ctx: 2048,
    };
}

impl Decoder {
    /// Returns what Llama says about its blocks, from which most families differ in a few fields.
    pub(super) fn llama(family: &'static str) -> Self {
        Self {
            family,
            norm: NormKind::Rms { offset: 0 },
            norms: BEFORE,
            biases: Biases::default(),
            activation: ("hidden_act", Activation::Silu),
            parallel: false,
            modules: Modules::LLAMA,
            unstated: Unstated::LLAMA,
            rope: Rope::Whole(10_000.0),
            eps: ("rms_norm_eps", 1e-6),
            tied: false,
        }
    }

    /// Reads the shared fields. Every block attends to all tokens, with one rotary embedding.
    pub(super) fn read(self, fields: &Fields<'_>) -> Result<Architecture> {
        let sizes = sizes(fields, &self.unstated)?;
        self.of(sizes, fields)
    }

    /// Reads the shared fields except the sizes.
    pub(super) fn of(self, sizes: Sizes, fields: &Fields<'_>) -> Result<Architecture> {
        let plan = AttentionPlan { scale: (sizes.d_head as f64).powf(-0.5), window: None, rotary: None };
        let eps = fields.positive(self.eps.0, fields.number(self.eps.0, self.eps.1)?)?;
        let tied = fields.flag("tie_word_embeddings", self.tied)?;
        let read = |theta, share| {
            let share = ("partial_rotary_factor", "partial_rotary_factor", share);
            rotary(fields, &sizes, [("rope_theta", "rope_theta", theta), share])
        };
        let rotary = match self.rope {
            Rope::Own => Vec::new(),
            Rope::Whole(theta) => {
                whole_heads(fields)?;
                one_scaling(fields)?.iter().try_for_each(whole_heads)?;
                vec![read(theta, 1.0)?]
            }
            Rope::Share(theta, share) => vec![read(theta, share)?],
        };
        let plan = AttentionPlan { rotary: (!rotary.is_empty()).then_some(0), ..plan };
        let gated = self.modules.mlp.is_gated();
        Ok(Architecture {
            family: self.family,
            sizes,
            norm: self.norm,
            eps,
            attention: vec![plan; sizes.layers],
            rotary,
            score_cap: None,
            activation: fields.activation(self.activation.0, self.activation.1, gated)?,
            gated,
            parallel: self.parallel,
            embedding_scale: 1.0,
            logit_cap: None,
            layout: self.modules.layout(&sizes, self.norms, self.biases, tied),
        })
    }
}

/// Reads the sizes.
fn sizes(fields: &Fields<'_>, unstated: &Unstated) -> Result<Sizes> {
    let d = fields.size_or("hidden_size", unstated.d)?;
    let heads = fields.size_or("num_attention_heads", unstated.heads)?;
    // A null leaves the choice to the other sizes; a field that is absent has the default of the library.
    let optional = |name: &str, default: Option<usize>| match fields.has(name) {
        true => fields.size_or_none(name),
        false => Ok(default),
    };
    let d_head = match optional("head_dim", unstated.d_head)? {
        Some(width) => width,
        None if heads > 0 && d.is_multiple_of(heads) => d / heads,
        None => {
            return Err(fields.error(format!(
                "`hidden_size` is {d}, which `num_attention_heads` = {heads} does not divide, and there is no `head_dim`"
            )));
        }
    };
    let sizes = Sizes {
        layers: fields.size_or("num_hidden_layers", unstated.layers)?,
        d,
        heads,
        kv_heads: optional("num_key_value_heads", unstated.kv_heads)?.unwrap_or(heads),
        d_head,
        inner: fields.size_or("intermediate_size", unstated.inner)?,
        vocab: fields.size_or("vocab_size", unstated.vocab)?,
        n_ctx: fields.size_or("max_position_embeddings", unstated.n_ctx)?,
    };
    sizes.check().map_err(|message| fields.error(message))?;
    Ok(sizes)
}

/// Kinds of layers, as `layer_types` names them.
pub(super) const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];

/// A number of the rotary embedding: its name in the object that describes scaling, its older name beside that object,
/// and its default.
pub(super) type Older = (&'static str, &'static str, f64);

/// Reads the rotary embedding: from `rope_parameters`, or from `rope_scaling` and the older names beside it. The
/// numbers are the base, and the share of the columns of a head that rotate.
pub(super) fn rotary(fields: &Fields<'_>, sizes: &Sizes, numbers: [Older; 2]) -> Result<Rotary> {
    let scaling = one_scaling(fields)?;
    if let Some(kind) = scaling.and_then(|s| KINDS.into_iter().find(|kind| s.has(kind))) {
        let message = format!("`rope_parameters` has `{kind}`; this family has one rotary embedding for all layers");
        return Err(fields.error(message));
    }
    let number = |(name, older, default): Older| match scaling.map(|s| s.number_or_none(name)).transpose()?.flatten() {
        Some(number) => Ok(number),
        None => fields.number(older, default),
    };
    let [base, share] = numbers;
    // Beside the scaling, this length has priority.
    let trained = fields.number_or_none("original_max_position_embeddings")?;
    rotary_of(fields, scaling.as_ref(), sizes, [number(base)?, number(share)?], trained)
}

/// Returns `rope_parameters`, or the older `rope_scaling`.
///
/// # Errors
/// The file has both. Hugging Face's library then ignores part of `rope_parameters`.
pub(super) fn one_scaling<'a>(fields: &Fields<'a>) -> Result<Option<Fields<'a>>> {
    match (fields.object("rope_parameters")?, fields.object("rope_scaling")?) {
        (Some(_), Some(_)) => Err(fields.error("it has both `rope_parameters` and `rope_scaling`; remove one of them")),
        (parameters, scaling) => Ok(parameters.or(scaling)),
    }
}

/// Returns a rotary embedding with a base, of a share of the columns of a head. `trained` is the length of the training
/// prompts, if the file states it beside the scaling.
fn rotary_of(
    fields: &Fields<'_>,
    scaling: Option<&Fields<'_>>,
    sizes: &Sizes,
    [theta, share]: [f64; 2],
    trained: Option<f64>,
) -> Result<Rotary> {
    let pairs = Pairs { columns: (sizes.d_head as f64 * share) as usize, base: theta };
    if !(theta.is_finite() && theta > 1.0) {
        return Err(fields.error(format!("the base of the rotary embedding is {theta}; it must exceed 1")));
    }
    if pairs.columns == 0 || 2 * pairs.count() > sizes.d_head {
        let Pairs { columns, .. } = pairs;
        let message = format!("{columns} columns of a head of {} rotate; they must fit into it in pairs", sizes.d_head);
        return Err(fields.error(message));
    }
    Rotary::read(pairs, scaling, trained, sizes.n_ctx)
}

/// Checks that an object which describes a rotary embedding rotates whole heads, as in the families from Llama on.
fn whole_heads(fields: &Fields<'_>) -> Result<()> {
    match fields.number("partial_rotary_factor", 1.0)? {
        1.0 => Ok(()),
        share => Err(fields.error(format!("`partial_rotary_factor` is {share}; this family rotates whole heads"))),
    }
}

/// Refuses a `yarn` without truncation: transformers ignores the key where kinds of layers have rotary embeddings.
fn truncated(scaling: &Fields<'_>) -> Result<()> {
    match scaling.flag("truncate", true)? {
        true => Ok(()),
        false => Err(scaling.error("`truncate` is false, which transformers ignores in this family; remove it")),
    }
}

/// Reads two rotary embeddings, of which the second is that of sliding layers. `older` names the field with the base of
/// each in older files, and the base if the file has none.
pub(super) fn two_rotaries(model: &mut Architecture, fields: &Fields<'_>, older: [(&str, f64); 2]) -> Result<()> {
    one_scaling(fields)?;
    let both = fields.object("rope_parameters")?;
    if both.is_some_and(|both| both.get("rope_type").is_some() && !KINDS.iter().any(|kind| both.has(kind))) {
        return Err(fields.error("`rope_parameters` must have `full_attention` and `sliding_attention`"));
    }
    let read = |kind: &str, (older, theta): (&str, f64), scaling: Option<Fields<'_>>| {
        let scaling = match &both {
            Some(both) => both.object(kind)?,
            None => scaling,
        };
        let theta = match scaling.map(|s| s.number_or_none("rope_theta")).transpose()?.flatten() {
            Some(theta) => theta,
            None => fields.number(older, theta)?,
        };
        scaling.iter().try_for_each(whole_heads)?;
        scaling.iter().try_for_each(truncated)?;
        rotary_of(fields, scaling.as_ref(), &model.sizes, [theta, 1.0], None)
    };
    let whole = read("full_attention", older[0], fields.object("rope_scaling")?)?;
    let sliding = read("sliding_attention", older[1], None)?;
    model.rotary = vec![whole, sliding];
    model.attention.iter_mut().for_each(|plan| plan.rotary = Some(usize::from(plan.window.is_some())));
    Ok(())
}

/// Gives the blocks of a model their windows: `window` where `layer_types` says so, or else where `slides` does.
pub(super) fn slide(
    model: &mut Architecture,
    fields: &Fields<'_>,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<()> {
    let windows = windows(fields, window, model.sizes.layers, slides)?;
    model.attention.iter_mut().zip(windows).for_each(|(plan, window)| plan.window = window);
    Ok(())
}

/// Gives the blocks of a model their windows where `use_sliding_window` is set and the window is not null; `slides`
/// then says which, unless `layer_types` does.
pub(super) fn slide_if_used(
    model: &mut Architecture,
    fields: &Fields<'_>,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<()> {
    if !fields.flag("use_sliding_window", false)? {
        return match fields.texts("layer_types")?.is_some_and(|types| types.contains(&"sliding_attention")) {
            false => Ok(()),
            true => Err(fields.error("`layer_types` has sliding_attention, but `use_sliding_window` is not true")),
        };
    }
    slide(model, fields, window, |l| window.is_some() && slides(l))
}

/// Returns `sliding_window`, or the default of the family's library if the file does not state it. A null means that
/// there is none.
pub(super) fn sliding_window(fields: &Fields<'_>, default: Option<usize>) -> Result<Option<usize>> {
    if fields.has("sliding_window") { fields.size_or_none("sliding_window") } else { Ok(default) }
}

fn windows(
    fields: &Fields<'_>,
    window: Option<usize>,
    layers: usize,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>> {
    let window = |slides: bool| match (slides, window) {
        (false, _) => Ok(None),
        (true, Some(window)) if window > 0 => Ok(Some(window)),
        (true, _) => Err(fields.error("`sliding_window` must be at least 1, because some layers slide")),
    };
    let Some(types) = fields.texts("layer_types")? else {
        return (0..layers).map(|l| window(slides(l))).collect();
    };
    if types.len() != layers {
        return Err(fields.error(format!("`layer_types` has {} entries for {layers} layers", types.len())));
    }
    let of = |kind: &str| match KINDS.iter().position(|known| *known == kind) {
        Some(index) => window(index == 1),
        None => Err(fields.error(format!(
            "`layer_types` has `{}`; supported are full_attention and sliding_attention",
            crate::error::shown(kind)
        ))),
    };
    types.into_iter().map(of).collect()
}
