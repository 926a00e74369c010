//! Causal multi-head attention, fused: `z_i = sum_j softmax_j(scale q_i . k_j) v_j`.  `[rows, 3d] -> [rows, d]`
//!
//! Online softmax, O(T) memory; any head up to 128 wide. Residuals: q, k, v `[primal, 3d]`, z `[primal, d]` and the
//! log of each row's sum of exponentials `[primal, heads]`. For tokens that its sequence does not own, a row of a
//! ragged primal reads keys and values from the residuals of the base run.

mod host;

use std::sync::Arc;

use resolvent_engine::{Device, Kernel, Recording, Result, Tensor};
use resolvent_shaders::Entry;
use resolvent_shaders::attention::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::launch;
use crate::op::{Frozen, Op, Outcome, Residuals, SecondOrder, switch};
use crate::rows::Rows;
use crate::tuning::{self, Family, Size};

const NAME: &str = "attention";

/// Widest head that the kernels support.
pub const MAX_D_HEAD: usize = 128;

/// Attention over rows of `[q, k, v]`, each `heads * d_head` wide.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Width of a head, at most [`MAX_D_HEAD`].
    pub d_head: usize,
    /// Factor of the scores, usually `1 / sqrt(d_head)`.
    pub scale: f32,
    /// Whether jvp and vjp freeze the attention weights.
    pub frozen: bool,
}

/// The rows of a batch from `first` on.
#[derive(Clone, Copy)]
pub(crate) struct RowsFrom<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) first: usize,
}

impl<'a> RowsFrom<'a> {
    fn all(rows: &'a Rows) -> Self {
        Self { rows, first: 0 }
    }
}

impl Attention {
    /// Records a launch over some rows of the batch.
    fn launch<'a, E: Entry<Slot = &'a Tensor, Params = Params>>(
        &self,
        rec: &mut Recording,
        kernel: &'static Kernel,
        RowsFrom { rows, first }: RowsFrom<'_>,
        buffers: E,
        flops_per_pair: f64,
    ) -> Result<()> {
        let [first, heads, d_head] = [first, self.heads, self.d_head].map(|n| n as u32);
        let params = Params { first, heads, d_head, scale: self.scale };
        let (d, all) = ((self.heads * self.d_head) as f64, rows.count() as u32);
        let (n, share) = (all - first, f64::from(all - first) / f64::from(all));
        let launch = launch(kernel, params, buffers, [heads, n, 1])
            .variant(self.variant(rec.device(), n as usize))
            .constants(&[switch(self.frozen)]);
        rec.launch(launch.work(flops_per_pair * d * rows.pairs() * share, 20.0 * d * f64::from(n)))
    }

    /// Selects the variant for a launch over `rows` rows.
    pub(crate) fn variant(&self, device: &Device, rows: usize) -> &'static str {
        tuning::choose(device, Family::Attention, Size::of(rows), self.d_head.is_multiple_of(4))
    }

    /// Records the vjp of some rows, with its result in `qkv_bar [rows, 3d]`.
    pub(crate) fn launch_vjp(
        &self,
        rec: &mut Recording,
        rows: RowsFrom<'_>,
        residuals: &Residuals,
        z_bar: &Tensor,
        qkv_bar: &Tensor,
    ) -> Result<()> {
        let ([qkv, z_saved, lse_saved], table) = (residuals.get(), rows.rows.table());
        let kv = |mean_saved| shader::vjp_kv::Bindings { rows: table, qkv, mean_saved, lse_saved, z_bar, qkv_bar };
        if self.frozen {
            // Only values have cotangents. The launch writes zeros to the other columns, and does not read the means.
            return self.launch(rec, &VJP_KV, rows, kv(lse_saved), 4.0);
        }
        let mean = rec.tensor("attention.mean", &[("rows", rows.rows.count()), ("heads", self.heads)])?;
        let q = shader::vjp_q::Bindings { rows: table, qkv, z_saved, lse_saved, z_bar, qkv_bar, mean: &mean };
        self.launch(rec, &VJP_Q, rows, q, 6.0)?;
        self.launch(rec, &VJP_KV, rows, kv(&mean), 8.0)
    }

    /// Returns the operations of a jvp per pair and element. With frozen weights, a score and a value remain of `all`.
    fn flops(&self, all: f64) -> f64 {
        if self.frozen { 4.0 } else { all }
    }

    fn widths(&self, rows: &Rows) -> [[(&'static str, usize); 2]; 2] {
        let d = self.heads * self.d_head;
        [[("rows", rows.count()), ("3d", 3 * d)], [("rows", rows.count()), ("d", d)]]
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>> {
        frozen.pattern.then(|| Arc::new(Self { frozen: true, ..*self }) as Arc<dyn Op>)
    }

    fn primal(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        base: Option<&Residuals>,
        inputs: &[&Tensor],
    ) -> Result<Outcome> {
        let (qkv, [wide, narrow]) = (inputs[0], self.widths(rows));
        qkv.expect(NAME, &wide)?;
        let z = rec.tensor("attention", &narrow)?;
        let lse = rec.tensor("attention.lse", &[("rows", rows.count()), ("heads", self.heads)])?;
        // Without a base run every sequence starts at token 0, and the base binding is never read.
        let base = base.map_or(qkv, |residuals| residuals.get::<3>()[0]);
        let buffers = shader::primal::Bindings { rows: rows.table(), qkv, base, z: &z, lse: &lse };
        self.launch(rec, &PRIMAL, RowsFrom::all(rows), buffers, 4.0)?;
        Ok(Outcome { residuals: Residuals::new(&[qkv, &z, &lse]), y: z })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let ([qkv, z_saved, lse_saved], [wide, narrow]) = (residuals.get(), self.widths(rows));
        let qkv_dot = x_dot[0];
        qkv_dot.expect(NAME, &wide)?;
        let z_dot = rec.tensor("attention.dot", &narrow)?;
        let table = rows.table();
        let buffers = shader::jvp::Bindings { rows: table, qkv, z_saved, lse_saved, qkv_dot, z_dot: &z_dot };
        self.launch(rec, &JVP, RowsFrom::all(rows), buffers, self.flops(10.0))?;
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
        let [wide, narrow] = self.widths(rows);
        y_bar.expect(NAME, &narrow)?;
        let bar = rec.tensor("attention.bar", &wide)?;
        self.launch_vjp(rec, RowsFrom::all(rows), residuals, y_bar, &bar)?;
        accumulate(rec, vec![bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: host::primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: host::jvp };
static VJP_Q: Kernel = Kernel { shader: &shader::VJP_Q, host: host::vjp_q };
static VJP_KV: Kernel = Kernel { shader: &shader::VJP_KV, host: host::vjp_kv };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &VJP_Q, &VJP_KV];

/// Layout of heads in rows of `[q, k, v]` and of z.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) heads: usize,
    pub(crate) width: usize,
}

impl Layout {
    pub(crate) fn new(heads: u32, d_head: u32) -> Self {
        Self { heads: heads as usize, width: d_head as usize }
    }

    pub(crate) fn d(self) -> usize {
        self.heads * self.width
    }

    /// Returns q (part 0), k (1) or v (2) of `head` in row `row`.
    #[inline(always)]
    pub(crate) fn part(self, data: &[f32], row: usize, part: usize, head: usize) -> &[f32] {
        &data[((3 * row + part) * self.heads + head) * self.width..][..self.width]
    }

    /// Returns `head` of row `row` of z.
    #[inline(always)]
    pub(crate) fn head(self, data: &[f32], row: usize, head: usize) -> &[f32] {
        &data[(row * self.heads + head) * self.width..][..self.width]
    }
}
