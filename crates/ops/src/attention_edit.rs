//! Attention whose scores and weights are edited at single keys of single queries, head by head.
//!
//! An edit is affine: of a score before the softmax, or of a weight after it. Heads without edits pass the fused
//! kernels of [`crate::attention`]; those with edits are computed again.

mod host;

use std::sync::Arc;

use resolvent_engine::{Device, Error, Kernel, Recording, Result, Tensor};
use resolvent_shaders::Entry;
use resolvent_shaders::attention_edit::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::launch;
use crate::attention::Attention;
use crate::op::{Frozen, Op, Outcome, Residuals, SecondOrder, switch};
use crate::rows::Rows;

const NAME: &str = "attention_edit";

/// The score of a key that is hidden: its weight is exactly zero beside any other score.
pub const HIDDEN: f32 = -1e30;

/// What edits do to one key of a query: `s' = a s + b` for its score, and `p' = c p + d` for its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyMap {
    /// `[a, b]`
    pub score: [f32; 2],
    /// `[c, d]`
    pub weight: [f32; 2],
}

impl KeyMap {
    /// The map of a key without edits.
    pub const SAME: Self = Self { score: [1.0, 0.0], weight: [1.0, 0.0] };

    /// Returns whether the key is hidden whatever its score.
    pub fn hides(&self) -> bool {
        self.score == [0.0, HIDDEN]
    }
}

/// The maps of all keys of one head of one query.
#[derive(Clone, Debug, PartialEq)]
pub struct EditedHead {
    /// Row of the query.
    pub row: usize,
    /// Query head.
    pub head: usize,
    /// By token of the key, up to the query's own.
    pub maps: Vec<KeyMap>,
}

/// Edited heads of the rows of a batch, or of a base run, uploaded.
#[derive(Clone, Debug)]
pub struct HeadEdits {
    /// `[rows, heads]`: 0, or 1 plus the index of the maps.
    chosen: Tensor,
    /// `[maps, keys, 4]`
    maps: Tensor,
    keys: usize,
}

impl HeadEdits {
    /// Uploads edits of some heads of `rows` rows. Fails if there are none, or if one is outside of the rows and heads.
    pub fn new(device: &Device, [rows, heads]: [usize; 2], edited: &[EditedHead]) -> Result<Self> {
        let keys = edited.iter().map(|edited| edited.maps.len()).max().unwrap_or(0);
        if keys == 0 {
            return Err(Error::shape(NAME, "no head of a query is edited"));
        }
        let (mut chosen, mut maps) = (vec![0u32; rows * heads], Vec::<f32>::with_capacity(4 * keys * edited.len()));
        for (i, edited) in edited.iter().enumerate() {
            if edited.row >= rows || edited.head >= heads {
                let (row, head) = (edited.row, edited.head);
                return Err(Error::shape(NAME, format!("row {row}, head {head} is outside of [{rows}, {heads}]")));
            }
            chosen[edited.row * heads + edited.head] = i as u32 + 1;
            let rest = std::iter::repeat_n(&KeyMap::SAME, keys - edited.maps.len());
            for KeyMap { score, weight } in edited.maps.iter().chain(rest) {
                maps.extend(score.iter().chain(weight));
            }
        }
        let chosen = device.upload("chosen", &[("rows", rows), ("heads", heads)], &chosen)?;
        let maps = device.upload("maps", &[("maps", edited.len()), ("keys", keys), ("entry", 4)], &maps)?;
        Ok(Self { chosen, maps, keys })
    }
}

/// Attention with edits of the rows of a base run.
#[derive(Clone, Debug)]
pub struct EditedAttention {
    /// The attention of heads without edits.
    pub attention: Attention,
    /// Edits by rows of the base run.
    pub edits: HeadEdits,
}

impl EditedAttention {
    /// Records z `[rows, d]` of a batch whose rows have the edits, from the rows of queries, keys and values, and from
    /// z without edits. Rows that the batch does not own come from the residuals of the base run's attention.
    fn apply(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        base: Option<&Residuals>,
        [qkv, x]: [&Tensor; 2],
    ) -> Result<Tensor> {
        x.expect(NAME, &self.narrow(rows))?;
        qkv.expect(NAME, &self.wide(rows))?;
        let z = rec.tensor(NAME, &self.narrow(rows))?;
        let (HeadEdits { chosen, maps, .. }, rows_table) = (&self.edits, rows.table());
        // Without a base run every sequence starts at token 0, and the base binding is never read.
        let base = base.map_or(qkv, |residuals| residuals.get::<3>()[0]);
        let buffers = shader::primal::Bindings { rows: rows_table, qkv, chosen, maps, base, x, z: &z };
        self.launch(rec, (&PRIMAL, self.attention.heads), rows, buffers, 6.0)?;
        Ok(z)
    }

    /// Records a launch over all rows of the batch, and as many heads as it computes.
    fn launch<'a, E: Entry<Slot = &'a Tensor, Params = Params>>(
        &self,
        rec: &mut Recording,
        (kernel, columns): (&'static Kernel, usize),
        rows: &Rows,
        buffers: E,
        flops_per_pair: f64,
    ) -> Result<()> {
        let Attention { heads, kv_heads, d_head, scale, .. } = self.attention;
        let d = (heads * d_head) as f64;
        let [heads, kv_heads, d_head, keys] = [heads, kv_heads, d_head, self.edits.keys].map(|n| n as u32);
        let (cap, capped) = self.attention.cap_param();
        let params = Params { heads, kv_heads, d_head, scale, window: self.attention.window_param(), keys, cap };
        let grid = [columns as u32, rows.count() as u32, 1];
        let launch = launch(kernel, params, buffers, grid).constants(&[switch(self.attention.frozen), capped]);
        let [edited, all] = [&self.edits.maps, &self.edits.chosen].map(|t| t.shape().lengths()[0] as f64);
        let share = edited / (all * f64::from(heads));
        rec.launch(launch.work(flops_per_pair * d * self.attention.pairs(rows) * share, 12.0 * d * rows.count() as f64))
    }

    fn wide(&self, rows: &Rows) -> [(&'static str, usize); 2] {
        [("rows", rows.count()), ("w", self.attention.row())]
    }

    fn narrow(&self, rows: &Rows) -> [(&'static str, usize); 2] {
        [("rows", rows.count()), ("d", self.attention.heads * self.attention.d_head)]
    }
}

impl Op for EditedAttention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>> {
        let attention = Attention { frozen: true, ..self.attention };
        frozen.pattern.then(|| Arc::new(Self { attention, edits: self.edits.clone() }) as Arc<dyn Op>)
    }

    fn primal(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        base: Option<&Residuals>,
        inputs: &[&Tensor],
    ) -> Result<Outcome> {
        let Outcome { y, residuals } = self.attention.primal(rec, rows, base, inputs)?;
        Ok(Outcome { y: self.apply(rec, rows, base, [inputs[0], &y])?, residuals })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let ([qkv, ..], others) = (residuals.get::<3>(), self.attention.jvp(rec, rows, residuals, x_dot)?);
        let z_dot = rec.tensor("attention_edit.dot", &self.narrow(rows))?;
        let HeadEdits { chosen, maps, .. } = &self.edits;
        let (qkv_dot, table) = (x_dot[0], rows.table());
        let buffers = shader::jvp::Bindings { rows: table, qkv, chosen, maps, qkv_dot, x_dot: &others, z_dot: &z_dot };
        self.launch(rec, (&JVP, self.attention.heads), rows, buffers, 14.0)?;
        Ok(z_dot)
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let [qkv, ..] = residuals.get::<3>();
        y_bar.expect(NAME, &self.narrow(rows))?;
        let (HeadEdits { chosen, maps, .. }, table, heads) = (&self.edits, rows.table(), self.attention.heads);
        let bar = rec.tensor("attention_edit.others", &self.narrow(rows))?;
        let others = shader::others::Bindings { rows: table, bars: y_bar, chosen, bar: &bar };
        self.launch(rec, (&OTHERS, heads), rows, others, 0.0)?;
        let x_bar = self.attention.vjp(rec, rows, residuals, &bar, &[None])?.swap_remove(0);
        let qkv_bar = rec.tensor("attention_edit.bar", &self.wide(rows))?;
        let sums = rec.tensor("attention_edit.sums", &[("rows", rows.count()), ("heads", heads), ("entry", 2)])?;
        let (z_bar, x_bar, bar) = (y_bar, &x_bar, &qkv_bar);
        let query = shader::vjp_q::Bindings { rows: table, qkv, chosen, maps, z_bar, x_bar, qkv_bar: bar, sums: &sums };
        self.launch(rec, (&VJP_Q, heads), rows, query, 14.0)?;
        let sums_saved = &sums;
        let key = shader::vjp_kv::Bindings { rows: table, qkv, chosen, maps, z_bar, x_bar, qkv_bar: bar, sums_saved };
        self.launch(rec, (&VJP_KV, self.attention.kv_heads), rows, key, 8.0)?;
        accumulate(rec, vec![qkv_bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::without("edits of attention have no second derivatives; use the first order, or leave them out")
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: host::primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: host::jvp };
static OTHERS: Kernel = Kernel { shader: &shader::OTHERS, host: host::others };
static VJP_Q: Kernel = Kernel { shader: &shader::VJP_Q, host: host::vjp_q };
static VJP_KV: Kernel = Kernel { shader: &shader::VJP_KV, host: host::vjp_kv };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &OTHERS, &VJP_Q, &VJP_KV];
