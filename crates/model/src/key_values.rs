//! A key-value cache: a prompt grows token by token, and each new token costs one row.
//!
//! A new token is a batch with one row. Attention reads the keys and values of all earlier tokens as those of a base
//! run. No other op reads earlier tokens, so the cache has only the rows of queries, keys and values of each block.

use resolvent_engine::Tensor;
use resolvent_ops::Span;
use resolvent_ops::attention::Past;

use crate::batch::{Batch, PassDirection, Sequence};
use crate::checkpoint::first_non_finite;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::passes::{Keep, Origin, Trace, forward};
use crate::program::Program;
use crate::run::{Run, retained};

/// A prompt with the keys and values of its tokens, to which tokens are appended.
///
/// ```
/// use resolvent_engine::Device;
/// use resolvent_model::{KeyValueCache, Model, RandomWeights, tiny};
///
/// let model = Model::random(&Device::host(), tiny(), RandomWeights::new(7))?;
/// let mut cache = KeyValueCache::new(&model, &[3, 1, 4], &[])?;
/// cache.push(1)?;
/// let again = model.run(&[3, 1, 4, 1], &[])?.logits_at(3)?;
/// assert!(cache.logits()?.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-5));
/// # Ok::<(), resolvent_model::Error>(())
/// ```
pub struct KeyValueCache {
    model: Model,
    program: Program,
    tokens: Vec<u32>,
    /// By node of the program: the rows of attention. `None` for other ops.
    past: Vec<Option<Past>>,
    /// Output of the final norm.
    normed: Tensor,
    /// Row of `normed` that has the last token.
    last: usize,
}

impl KeyValueCache {
    /// Runs a prompt under edits, which are at its own tokens.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn new(model: &Model, prompt: &[u32], edits: &[Edit]) -> Result<Self> {
        let Run { base, .. } = model.run(prompt, edits)?;
        let mut past = vec![None; base.trace.residuals.len()];
        base.program.attention_nodes().for_each(|node| past[node] = base.trace.residuals[node].as_ref().map(Past::new));
        let (program, normed, last) = (base.program.clone(), base.normed.clone(), prompt.len() - 1);
        Ok(Self { model: model.clone(), program, tokens: prompt.to_vec(), past, normed, last })
    }

    /// Returns the tokens of the prompt and those that were appended.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Appends a token.
    ///
    /// # Errors
    /// A token outside of the vocabulary, no position left, or a device error.
    pub fn push(&mut self, token: u32) -> Result<()> {
        let (model, sizes, device) = (&self.model, self.model.sizes(), self.model.device());
        let at = self.tokens.len();
        if token as usize >= sizes.vocab {
            return Err(Error::Place(format!("token #{token}: the vocabulary ends at #{}", sizes.vocab - 1)));
        }
        if at >= sizes.n_ctx {
            let message = format!("the model has {at} positions, and the prompt fills them: use a shorter one");
            return Err(Error::Prompt { message });
        }
        let mut rec = device.record();
        let span = Span { primal: 0, start: at, end: at + 1 };
        let sequence = Sequence { id: 0, span, join: 0, scheduled: Vec::new() };
        let batch = Batch::new(device, &[sequence], PassDirection::Forward)?;
        rec.scope("embed");
        let position = if model.architecture().layout.positions.is_some() { at as u32 } else { 0 };
        let [ids, positions] = [("tokens", token), ("positions", position)]
            .map(|(name, number)| device.upload(name, &[("rows", 1)], &[number]));
        let rows = model.0.weights.embed.primal(&mut rec, &ids?, &positions?)?;
        let residuals = self.past.iter().map(|past| past.as_ref().map(Past::base)).collect();
        let base = Trace { values: vec![None; self.program.values()], residuals };
        let top = self.program.head_input;
        let keep = Keep { values: [top].into(), residuals: true, narrow: None };
        let bottom = self.program.field[0];
        let trace = forward(&self.program, &mut rec, &batch, Origin::Rows { base: &base, at: bottom, rows }, &keep)?;
        let most = sizes.n_ctx.min((device.info().max_binding / (4 * sizes.qkv_width() as u64)) as usize);
        let mut past = self.past.clone();
        for (past, new) in past.iter_mut().zip(&trace.residuals) {
            if let (Some(past), Some(new)) = (past, new) {
                *past = past.with(&mut rec, at, new, most)?;
            }
        }
        rec.scope("ln_f");
        let last = retained(&trace, top)?;
        let normed = self.program.final_norm.primal(&mut rec, &batch.rows, None, &[last])?.y;
        device.submit(rec)?;
        (self.past, self.normed, self.last) = (past, normed, 0);
        self.tokens.push(token);
        Ok(())
    }

    /// Returns the logits `[V]` at the last token.
    ///
    /// # Errors
    /// A logit that is not finite, or a device error.
    pub fn logits(&self) -> Result<Vec<f32>> {
        let device = self.model.device();
        let mut rec = device.record();
        rec.scope("unembed");
        let logits = self.model.logits(&mut rec, &self.normed, &[self.last])?;
        device.submit(rec)?;
        let logits = device.read(&logits)?;
        match first_non_finite(&logits) {
            None => Ok(logits),
            Some(at) => Err(Error::NotFinite {
                what: "the logit".to_owned(),
                value: logits[at],
                place: format!("token {}, entry #{at}", self.tokens.len() - 1),
                cause: "a value of the run leaves the range of f32".to_owned(),
            }),
        }
    }
}
