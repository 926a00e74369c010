//! Causal multi-head attention, fused: `z_i = sum_j softmax_j(scale q_i . k_j) v_j`.  `[rows, 3d] -> [rows, d]`
//!
//! Online softmax, O(T) memory; any head up to 128 wide. Residuals: q, k, v `[primal, 3d]`, z `[primal, d]` and the
//! log of each row's sum of exponentials `[primal, heads]`. For tokens that its sequence does not own, a row of a
//! ragged primal reads keys and values from the residuals of the base run.

use std::sync::Arc;

use resolvent_engine::{Bound, Device, Kernel, Recording, Result, Tensor, as_u32};
use resolvent_shaders::Entry;
use resolvent_shaders::attention::{self as shader, Params};

use crate::arguments::{launch, params};
use crate::attention_second;
use crate::host::{axpy, dot, each_row_simd, each_two_rows_simd, exp, row_body, sum, two_rows_body};
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder, accumulate, switch};
use crate::rows::{Row, Rows};
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

impl Attention {
    /// Records a launch over the batch rows from `first` on.
    fn launch<'a, E: Entry<Slot = &'a Tensor, Params = Params>>(
        &self,
        rec: &mut Recording,
        kernel: &'static Kernel,
        (rows, first): (&Rows, usize),
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

    /// Records the vjp of the rows from `first` on, with its result in `bar [rows, 3d]`.
    pub(crate) fn launch_vjp(
        &self,
        rec: &mut Recording,
        rows: (&Rows, usize),
        residuals: &Residuals,
        [z_bar, bar]: [&Tensor; 2],
    ) -> Result<()> {
        let ([qkv, z_saved, lse_saved], table) = (residuals.get(), rows.0.table());
        let kv = |mean_saved| shader::vjp_kv::Bindings { rows: table, qkv, mean_saved, lse_saved, z_bar, qkv_bar: bar };
        if self.frozen {
            // Only values have cotangents. The launch writes zeros to the other columns, and does not read the means.
            return self.launch(rec, &VJP_KV, rows, kv(lse_saved), 4.0);
        }
        let mean = rec.tensor("attention.mean", &[("rows", rows.0.count()), ("heads", self.heads)])?;
        let q = shader::vjp_q::Bindings { rows: table, qkv, z_saved, lse_saved, z_bar, qkv_bar: bar, mean: &mean };
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
        self.launch(rec, &PRIMAL, (rows, 0), buffers, 4.0)?;
        Ok(Outcome { residuals: Residuals::new(&[qkv, &z, &lse]), y: z })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let ([qkv, z_saved, lse_saved], [wide, narrow]) = (residuals.get(), self.widths(rows));
        let qkv_dot = x_dot[0];
        qkv_dot.expect(NAME, &wide)?;
        let z_dot = rec.tensor("attention.dot", &narrow)?;
        let table = rows.table();
        let buffers = shader::jvp::Bindings { rows: table, qkv, z_saved, lse_saved, qkv_dot, z_dot: &z_dot };
        self.launch(rec, &JVP, (rows, 0), buffers, self.flops(10.0))?;
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
        self.launch_vjp(rec, (rows, 0), residuals, [y_bar, &bar])?;
        accumulate(rec, vec![bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

impl Nonlinear for Attention {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        attention_second::jet_of(self, rec, rows, residuals, x_jet[0])
    }

    fn tangent(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Outcome> {
        let z_dot = self.jvp(rec, rows, residuals, x_dot)?;
        Ok(Outcome { residuals: Residuals::new(&[x_dot[0], &z_dot]), y: z_dot })
    }

    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: HvpResiduals<'_>,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let bar = attention_second::hvp_of(self, rec, rows, residuals, y_bar)?;
        accumulate(rec, vec![bar], so_far)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: jvp };
static VJP_Q: Kernel = Kernel { shader: &shader::VJP_Q, host: vjp_q };
static VJP_KV: Kernel = Kernel { shader: &shader::VJP_KV, host: vjp_kv };

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

fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { rows, qkv, base, z, lse } = shader::primal::Bindings::of(bound.slices());
    let at = Layout::new(p.heads, p.d_head);
    let args = Primal { at, scale: p.scale, rows: as_u32(rows), qkv, base };
    each_two_rows_simd::<PrimalRow>([z, lse], [at.d(), at.heads], args);
}

/// Inputs of the primal.
#[derive(Clone, Copy)]
struct Primal<'a> {
    at: Layout,
    scale: f32,
    rows: &'a [u32],
    qkv: &'a [f32],
    base: &'a [f32],
}

two_rows_body!(PrimalRow<'a>(Primal<'a>) = primal_row);

#[inline(always)]
fn primal_row(args: Primal<'_>, row: usize, [z, lse]: [&mut [f32]; 2]) {
    let Primal { at, scale, rows, qkv, base } = args;
    let r = Row::read(rows, row);
    // Key (part 1) or value (2) of token j: from the sequence if it owns the token, else from the base run.
    let of = |j: usize, part: usize, head: usize| match j >= r.start {
        true => at.part(qkv, r.own(j), part, head),
        false => at.part(base, r.base(row, j), part, head),
    };
    let mut weights = vec![0.0; r.token(row) + 1];
    for (head, (z, lse)) in z.chunks_mut(at.width).zip(lse).enumerate() {
        let q = at.part(qkv, row, 0, head);
        for (j, w) in weights.iter_mut().enumerate() {
            *w = scale * dot(q, of(j, 1, head));
        }
        let top = weights.iter().copied().fold(f32::MIN, f32::max);
        for w in &mut weights {
            *w = exp(*w - top);
        }
        let total = sum([&weights], |[w]| w);
        *lse = top + total.ln();
        z.fill(0.0);
        for (j, w) in weights.iter().enumerate() {
            axpy(w / total, of(j, 2, head), z);
        }
    }
}

/// Inputs of the derivatives: the shared primal, and the tangent or cotangent `t`.
#[derive(Clone, Copy)]
struct Shared<'a> {
    at: Layout,
    p: Params,
    rows: &'a [u32],
    qkv: &'a [f32],
    /// z in jvp and vjp_q, the means in vjp_kv.
    residuals: &'a [f32],
    lse: &'a [f32],
    t: &'a [f32],
    frozen: bool,
}

impl Shared<'_> {
    /// Returns the weight that the query of base row i gives to a key.
    #[inline(always)]
    fn weight(&self, q: &[f32], key: &[f32], i: usize, head: usize) -> f32 {
        exp(self.p.scale * dot(q, key) - self.lse[i * self.at.heads + head])
    }
}

fn jvp(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::jvp::Bindings::of(bound.slices());
    let shader::jvp::Bindings { rows, qkv, z_saved: residuals, lse_saved: lse, qkv_dot: t, z_dot } = buffers;
    let at = Layout::new(p.heads, p.d_head);
    let inputs = Shared { at, p, rows: as_u32(rows), qkv, residuals, lse, t, frozen };
    each_row_simd::<JvpRow>(z_dot, at.d(), inputs);
}

row_body!(JvpRow<'a>(Shared<'a>) = jvp_row);

#[inline(always)]
fn jvp_row(args: Shared<'_>, row: usize, z_dot: &mut [f32]) {
    let Shared { at, p: Params { scale, .. }, qkv, residuals: z, t: qkv_dot, .. } = args;
    let r = Row::read(args.rows, row);
    for (head, z_dot) in z_dot.chunks_mut(at.width).enumerate() {
        let (q, q_dot) = (at.part(qkv, r.primal, 0, head), at.part(qkv_dot, row, 0, head));
        let mut drift = 0.0;
        z_dot.fill(0.0);
        // For keys before the sequence's own, only the weights have a tangent.
        let first = if args.frozen { r.start } else { 0 };
        for j in first..=r.token(row) {
            let base = r.base(row, j);
            let key = at.part(qkv, base, 1, head);
            let w = args.weight(q, key, r.primal, head);
            if args.frozen {
                axpy(w, at.part(qkv_dot, r.own(j), 2, head), z_dot);
                continue;
            }
            let mut s_dot = dot(q_dot, key);
            if j >= r.start {
                s_dot += dot(q, at.part(qkv_dot, r.own(j), 1, head));
                axpy(w, at.part(qkv_dot, r.own(j), 2, head), z_dot);
            }
            let shift = w * scale * s_dot;
            drift += shift;
            axpy(shift, at.part(qkv, base, 2, head), z_dot);
        }
        axpy(-drift, at.head(z, r.primal, head), z_dot);
    }
}

fn vjp_q(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::vjp_q::Bindings::of(bound.slices());
    let shader::vjp_q::Bindings { rows, qkv, z_saved: residuals, lse_saved: lse, z_bar: t, qkv_bar: bar, mean } =
        buffers;
    let at = Layout::new(p.heads, p.d_head);
    let inputs = Shared { at, p, rows: as_u32(rows), qkv, residuals, lse, t, frozen };
    each_two_rows_simd::<VjpQRow>([bar, mean], [3 * at.d(), at.heads], inputs);
}

two_rows_body!(VjpQRow<'a>(Shared<'a>) = vjp_q_row);

#[inline(always)]
fn vjp_q_row(args: Shared<'_>, row: usize, [bar, mean]: [&mut [f32]; 2]) {
    let Shared { at, p: Params { scale, .. }, qkv, residuals: z, t, .. } = args;
    if row < args.p.first as usize {
        return;
    }
    let r = Row::read(args.rows, row);
    for (head, (q_bar, mean)) in bar[..at.d()].chunks_mut(at.width).zip(mean).enumerate() {
        let (q, z_bar) = (at.part(qkv, r.primal, 0, head), at.head(t, row, head));
        *mean = dot(z_bar, at.head(z, r.primal, head));
        q_bar.fill(0.0);
        for j in 0..=r.token(row) {
            let base = r.base(row, j);
            let (key, value) = (at.part(qkv, base, 1, head), at.part(qkv, base, 2, head));
            let ds = args.weight(q, key, r.primal, head) * (dot(z_bar, value) - *mean);
            axpy(scale * ds, key, q_bar);
        }
    }
}

fn vjp_kv(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::vjp_kv::Bindings::of(bound.slices());
    let shader::vjp_kv::Bindings { rows, qkv, mean_saved: residuals, lse_saved: lse, z_bar: t, qkv_bar: bar } = buffers;
    let at = Layout::new(p.heads, p.d_head);
    let inputs = Shared { at, p, rows: as_u32(rows), qkv, residuals, lse, t, frozen };
    each_row_simd::<VjpKvRow>(bar, 3 * at.d(), inputs);
}

row_body!(VjpKvRow<'a>(Shared<'a>) = vjp_kv_row);

#[inline(always)]
fn vjp_kv_row(args: Shared<'_>, row: usize, bar: &mut [f32]) {
    let Shared { at, p: Params { scale, .. }, qkv, residuals: mean, t, .. } = args;
    if row < args.p.first as usize {
        return;
    }
    let r = Row::read(args.rows, row);
    if args.frozen {
        bar[..at.d()].fill(0.0);
    }
    let (k_bars, v_bars) = bar[at.d()..].split_at_mut(at.d());
    let parts = k_bars.chunks_mut(at.width).zip(v_bars.chunks_mut(at.width));
    for (head, (k_bar, v_bar)) in parts.enumerate() {
        let (key, value) = (at.part(qkv, r.primal, 1, head), at.part(qkv, r.primal, 2, head));
        k_bar.fill(0.0);
        v_bar.fill(0.0);
        for i in r.token(row)..r.end {
            let (base, own) = (r.base(row, i), r.own(i));
            let (q, z_bar) = (at.part(qkv, base, 0, head), at.head(t, own, head));
            let w = args.weight(q, key, base, head);
            axpy(w, z_bar, v_bar);
            if args.frozen {
                continue;
            }
            let ds = w * (dot(z_bar, value) - mean[own * at.heads + head]);
            axpy(scale * ds, q, k_bar);
        }
    }
}
