//! A run: one forward pass, stored on the device with what linearisations need.

use std::collections::BTreeSet;
use std::sync::Arc;

use resolvent_engine::{Device, Recording, Shape, Tensor};
use resolvent_ops::add::add;
use resolvent_ops::embed::Embed;
use resolvent_ops::{Residuals, Span};

use crate::arch::Sizes;
use crate::batch::{Batch, PassDirection, ScheduledChange, ScheduledEdit, Sequence, hidden_query, hides_all};
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::head_results::splits;
use crate::model::Model;
use crate::passes::{Keep, Origin, Trace, forward};
use crate::program::{Program, ValueId};
use crate::prompt::check_prompt;
use crate::site::Site;
use crate::splits::{most_rows, split_by};
use crate::taken::resolved;

/// Options of a run: its edits, and the sites that it prepares.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Edits, in the order in which they act.
    pub edits: Vec<Edit>,
    /// Sites that will be captured, edited or given a source later.
    ///
    /// The outputs of attention, of single heads and of the MLP are fused into the residual add unless they are named
    /// here or in an edit; embeddings likewise, where the model learns positions. All other sites are always available.
    pub sites: Vec<Site>,
}

/// A prompt as tokens, and the edits of its run.
#[derive(Clone, Copy, Debug)]
pub struct EditedPrompt<'a> {
    /// Tokens of the prompt.
    pub tokens: &'a [u32],
    /// Edits, in the order in which they act.
    pub edits: &'a [Edit],
}

/// A forward pass of one prompt: its field, its logits, and the base that sweeps and linearisations share.
///
/// Clones share the base.
#[derive(Clone)]
pub struct Run {
    pub(crate) base: Arc<Base>,
    prompt: usize,
}

/// The forward pass of one prompt, or of several in one batch.
pub(crate) struct Base {
    pub(crate) model: Model,
    pub(crate) program: Program,
    prompts: Vec<Prompt>,
    pub(crate) trace: Trace,
    /// Output of the final norm, `[rows, d]`.
    pub(crate) normed: Tensor,
    /// Residuals of [`Program::final_norm`].
    pub(crate) head_residuals: Residuals,
}

struct Prompt {
    tokens: Vec<u32>,
    edits: Vec<Edit>,
    /// First row of the prompt in the values of the trace.
    first: usize,
}

impl Base {
    fn new(model: &Model, edited: &[EditedPrompt<'_>], program: Program) -> Result<Self> {
        let mut rec = model.device().record();
        let base = Self::record(&mut rec, model, edited, program)?;
        model.device().submit(rec)?;
        Ok(base)
    }

    /// Records the pass. The base can be read once the recording has been submitted.
    pub(crate) fn record(
        rec: &mut Recording,
        model: &Model,
        edited: &[EditedPrompt<'_>],
        program: Program,
    ) -> Result<Self> {
        let (sizes, device) = (model.sizes(), model.device());
        let (mut sequences, mut prompts, mut first) = (Vec::with_capacity(edited.len()), Vec::new(), 0);
        for (id, EditedPrompt { tokens, edits }) in edited.iter().enumerate() {
            let span = Span { primal: first, start: 0, end: tokens.len() };
            let scheduled = scheduled(sizes, &program, &resolved(device, &program, None, edits)?, Edit::primal_edit)?;
            sequences.push(Sequence { id, span, join: 0, scheduled });
            prompts.push(Prompt { tokens: tokens.to_vec(), edits: edits.to_vec(), first });
            first += tokens.len();
        }
        let batch = Batch::new(device, &sequences, PassDirection::Forward)?;
        rec.scope("embed");
        let prompts_of_rows = edited.iter().flat_map(|prompt| prompt.tokens.iter().copied().enumerate());
        let (positions, ids): (Vec<usize>, Vec<u32>) = prompts_of_rows.unzip();
        let embedded = embedded(rec, (model, &program), &ids, &positions)?;
        let keep = Keep { values: program.site_values(), residuals: true, narrow: None };
        let trace = forward(&program, rec, &batch, Origin::Embedded(embedded), &keep)?;
        let program = program.with_edits(|attention, value| batch.head_edits(device, (attention, value), first))?;
        rec.scope("ln_f");
        let last = retained(&trace, program.head_input)?;
        let head = program.final_norm.primal(rec, &batch.rows, None, &[last])?;
        let model = model.clone();
        Ok(Self { model, program, prompts, trace, normed: head.y, head_residuals: head.residuals })
    }
}

/// Records the first value of a list for tokens at positions: h\[0\], or the rows of tokens and of positions side by
/// side.
fn embedded(
    rec: &mut Recording,
    (model, program): (&Model, &Program),
    ids: &[u32],
    positions: &[usize],
) -> Result<Tensor> {
    let (device, embed, rows) = (model.device(), &model.0.weights.embed, ids.len());
    let learned = model.architecture().layout.positions.is_some();
    let positions: Vec<u32> = positions.iter().map(|&t| if learned { t as u32 } else { 0 }).collect();
    let ids = device.upload("tokens", &[("rows", rows)], ids)?;
    let positions = device.upload("positions", &[("rows", rows)], &positions)?;
    if !program.embeds_apart() {
        return Ok(embed.primal(rec, &ids, &positions)?);
    }
    let d = embed.wte.d;
    let none = device.upload("positions", &[("positions", 1), ("d", d)], &vec![0.0f32; d])?;
    let first = device.upload("positions", &[("rows", rows)], &vec![0u32; rows])?;
    let of_tokens = Embed { wpe: none, ..embed.clone() }.primal(rec, &ids, &first)?;
    let of_positions = Embed { scale: 0.0, ..embed.clone() }.primal(rec, &ids, &positions)?;
    let [tokens, places] = Program::embeddings(model.sizes());
    let [of_tokens, of_positions] = [tokens.spread(rec, &of_tokens)?, places.spread(rec, &of_positions)?];
    Ok(add(rec, &of_tokens, &of_positions)?)
}

/// Returns the list of operations that runs with values at `sites` need. Fails if a site does not fit the model.
fn prepare(model: &Model, sites: &BTreeSet<Site>) -> Result<Program> {
    let sizes = model.sizes();
    sites.iter().try_for_each(|s| s.check(sizes).map(|_| ()))?;
    if sites.iter().all(|&site| model.0.program.edited(site).is_some()) {
        return Ok(model.0.program.clone());
    }
    let splits = splits(model.device(), (&model.0.weights, sizes), sites)?;
    let program = Program::new(model.architecture(), &model.0.weights, sites, &splits);
    match sites.iter().find(|&&site| program.edited(site).is_none()) {
        Some(site) => Err(Error::Place(format!("{site}: this model has no such site; {}", site.missing()))),
        None => Ok(program),
    }
}

impl Model {
    /// Returns whether the model has a site: the block, the head, and a value of this kind.
    pub fn has_site(&self, site: Site) -> bool {
        match site {
            // Every head has one; preparing a run would read weights.
            Site::Result(..) => site.check(self.sizes()).is_ok(),
            _ => prepare(self, &BTreeSet::from([site])).is_ok(),
        }
    }

    /// Runs `tokens` under `edits`, and stores the field and what linearisations need.
    ///
    /// # Errors
    /// An empty or too long prompt, a token outside of the vocabulary, an edit that does not fit, or a device error.
    pub fn run(&self, tokens: &[u32], edits: &[Edit]) -> Result<Run> {
        let runs = Run::batch(self, &[EditedPrompt { tokens, edits }], &[])?;
        runs.into_iter().next().ok_or_else(|| Error::Place("a prompt has a run".to_owned()))
    }

    /// Like [`Model::run`], prepared for the sites that `options` name.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_with(&self, tokens: &[u32], options: &RunOptions) -> Result<Run> {
        self.run_all(&[tokens], options)?.pop().ok_or_else(|| Error::Place("a prompt has a run".to_owned()))
    }

    /// Runs every prompt under the same options, in one batch as far as memory allows.
    ///
    /// Sweeps over these runs share batches too; see [`crate::values_of`].
    ///
    /// # Errors
    /// As [`Model::run`], for any of the prompts.
    pub fn run_all<P: AsRef<[u32]>>(&self, prompts: &[P], options: &RunOptions) -> Result<Vec<Run>> {
        let prompts = prompts.iter().map(|p| EditedPrompt { tokens: p.as_ref(), edits: &options.edits });
        let prompts: Vec<EditedPrompt<'_>> = prompts.collect();
        Run::batch(self, &prompts, &options.sites)
    }

    /// Like [`Model::run_all`], with edits of its own for each prompt. Values at `sites` can be read and edited.
    ///
    /// # Errors
    /// As [`Model::run`], for any of the prompts.
    pub fn run_edited(&self, prompts: &[EditedPrompt<'_>], sites: &[Site]) -> Result<Vec<Run>> {
        Run::batch(self, prompts, sites)
    }

    /// Splits items into parts whose prompts one forward pass takes together, as [`Model::run_all`] splits prompts.
    /// `tokens` returns the number of tokens of an item.
    pub fn passes<'i, T>(&self, items: &'i [T], tokens: impl Fn(&T) -> usize) -> Vec<&'i [T]> {
        split_by(items, self.most_prompt_rows(), tokens)
    }

    /// Returns how many tokens of all prompts together one forward pass takes. [`Model::run_all`] splits more.
    pub fn most_prompt_rows(&self) -> usize {
        // A run stores every site of every block, so its rows need more memory than those of a sweep.
        most_rows(self, self.architecture().block_elements() * self.sizes().layers)
    }
}

impl Run {
    /// Runs every prompt under its own edits, with as many prompts in one pass as fit. Values at `sites` can be read.
    pub(crate) fn batch(model: &Model, prompts: &[EditedPrompt<'_>], sites: &[Site]) -> Result<Vec<Self>> {
        let sizes = model.sizes();
        for EditedPrompt { tokens, edits } in prompts {
            check_prompt(sizes, tokens)?;
            edits.iter().try_for_each(|e| e.check(sizes, tokens.len()))?;
        }
        let edited = prompts.iter().flat_map(|prompt| prompt.edits).map(|e| e.site);
        let program = prepare(model, &edited.chain(sites.iter().copied()).collect())?;
        let mut runs = Vec::with_capacity(prompts.len());
        for part in model.passes(prompts, |prompt| prompt.tokens.len()) {
            let base = Arc::new(Base::new(model, part, program.clone())?);
            runs.extend((0..part.len()).map(|prompt| Self { base: base.clone(), prompt }));
        }
        Ok(runs)
    }

    /// Returns the tokens of the prompt.
    pub fn tokens(&self) -> &[u32] {
        &self.base.prompts[self.prompt].tokens
    }

    /// Returns the edits of the run.
    pub fn edits(&self) -> &[Edit] {
        &self.base.prompts[self.prompt].edits
    }

    /// Returns whether the run has second derivatives: not under edits of attention scores and patterns.
    pub fn has_second_order(&self) -> bool {
        self.edits().iter().all(|edit| edit.site.key().is_none())
    }

    /// Returns the model.
    pub fn model(&self) -> &Model {
        &self.base.model
    }

    /// Returns whether two runs come from one forward pass, so that later passes share batches.
    pub fn shares_batch(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.base, &other.base)
    }

    pub(crate) fn program(&self) -> &Program {
        &self.base.program
    }

    pub(crate) fn device(&self) -> &Device {
        self.model().device()
    }

    pub(crate) fn sizes(&self) -> &Sizes {
        self.model().sizes()
    }

    /// Returns the span of tokens `start..end` of this prompt, over its rows in the base.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        Span { primal: self.base.prompts[self.prompt].first, start, end }
    }

    /// Returns this prompt's rows of a value of the base, `[T, width]`.
    pub(crate) fn rows_of(&self, value: ValueId) -> Result<Tensor> {
        let all = retained(&self.base.trace, value)?;
        let width = all.shape().lengths()[1];
        let first = all.range().start + self.span(0, 0).primal * width;
        let shape = Shape::new(&[("rows", self.tokens().len()), ("d", width)]);
        Ok(Tensor::view(all.buffer().clone(), first, shape)?)
    }

    /// Returns whether `site` can be captured and edited in this run.
    ///
    /// A fused output cannot: it has a value only if [`RunOptions::sites`] or an edit names it.
    pub fn has(&self, site: Site) -> bool {
        site.check(self.sizes()).is_ok() && self.program().value(site).is_some()
    }

    pub(crate) fn value_of(&self, site: Site) -> Result<ValueId> {
        site.check(self.sizes())?;
        // A site that no run of this model has is named as such.
        let missing = || prepare(self.model(), &BTreeSet::from([site])).err().unwrap_or_else(|| not_prepared(site));
        self.program().value(site).ok_or_else(missing)
    }
}

impl Edit {
    pub(crate) fn primal_edit(&self, sizes: &Sizes) -> Option<ScheduledChange> {
        Some(self.primal(sizes))
    }
}

/// Schedules edits at values of the list.
///
/// `change` returns an edit's change of a row; `None` is the identity, which is left out.
pub(crate) fn scheduled(
    sizes: &Sizes,
    program: &Program,
    edits: &[Edit],
    change: impl Fn(&Edit, &Sizes) -> Option<ScheduledChange>,
) -> Result<Vec<ScheduledEdit>> {
    let mut scheduled = Vec::new();
    for edit in edits {
        let value = program.edited(edit.site).ok_or_else(|| not_prepared(edit.site))?;
        if let Some(key) = edit.site.key() {
            let first = program.first_key(edit.site.layer(), edit.token);
            if key < first {
                let (site, token) = (edit.site, edit.token);
                let message =
                    format!("{site} at token {token}: it sees a window of keys; give one from {first} to {token}");
                return Err(Error::Place(message));
            }
        }
        let from = edit.site.columns(sizes).start;
        scheduled.extend(change(edit, sizes).map(|change| ScheduledEdit { value, token: edit.token, from, change }));
    }
    if let Some((head, token)) = hidden_query(program, &scheduled) {
        return Err(Error::Place(hides_all(head, token)));
    }
    Ok(scheduled)
}

fn not_prepared(site: Site) -> Error {
    if site.key().is_some() {
        let message =
            format!("{site} takes edits only; read scores and patterns with Run::attention_scores and Run::pattern");
        return Error::Place(message);
    }
    Error::Place(format!("{site} is fused into the residual add in this run; name it in RunOptions::sites"))
}

/// Returns a value of the trace. Fails if the forward pass did not retain it.
pub(crate) fn retained(trace: &Trace, value: ValueId) -> Result<&Tensor> {
    trace.values[value].as_ref().ok_or_else(|| Error::Place(format!("this run did not retain value {value}")))
}
