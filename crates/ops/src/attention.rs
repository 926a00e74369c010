//! Causal multi-head attention, fused: `z_i = sum_j softmax_j(scale q_i . k_j) v_j`.
//! `[rows, w] -> [rows, heads d_head]`
//!
//! A row has all queries, then all keys, then all values: `w = (heads + 2 kv_heads) d_head`. Online softmax, O(T)
//! memory; any head up to 256 wide. Residuals: the rows `[primal, w]`, z `[primal, heads d_head]` and the log of each
//! row's sum of exponentials `[primal, heads]`. For tokens that its sequence does not own, a row of a
//! ragged primal reads keys and values from the residuals of the base run.

mod blocks;
mod derivatives;
mod host;
mod items;
mod jets;
mod scores;
mod tile;

use std::sync::Arc;

use resolvent_engine::{Device, Error, Kernel, Recording, Result, Shape, Tensor};
use resolvent_shaders::Entry;
use resolvent_shaders::attention::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::launch;
use crate::host::tanh_d;
use crate::op::{Frozen, Op, Outcome, Residuals, SecondOrder, switch};
use crate::rows::Rows;
use crate::splice::{RowPlan, RowSource};
use crate::tuning::{self, Family, Size};

pub(crate) use jets::jet;

const NAME: &str = "attention";

/// Widest head that the kernels support.
pub const MAX_D_HEAD: usize = 256;

/// Alignment of what a launch binds, in bytes.
const ALIGNMENT: usize = 256;

/// Widest head of the variants whose names do not end in `_wide`.
const NARROW_D_HEAD: usize = 128;

/// Attention over rows of queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; divides `heads`. Consecutive query heads share one.
    pub kv_heads: usize,
    /// Width of a head, at most [`MAX_D_HEAD`].
    pub d_head: usize,
    /// Factor of the scores, usually `1 / sqrt(d_head)`.
    pub scale: f32,
    /// Soft-cap c of the scaled scores, which become `c tanh(s / c)`.
    pub cap: Option<f32>,
    /// How many keys a query sees, its own included; `None` if it sees all earlier ones.
    pub window: Option<usize>,
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
    /// Returns attention whose query heads have keys and values of their own, over all earlier tokens, with scores
    /// divided by `sqrt(d_head)`.
    pub fn new(heads: usize, d_head: usize) -> Self {
        let scale = (d_head as f32).powf(-0.5);
        Self { heads, kv_heads: heads, d_head, scale, cap: None, window: None, frozen: false }
    }

    /// Returns the length of a row of queries, keys and values.
    pub fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.d_head
    }

    /// Checks that the kernels support these sizes.
    fn check(&self) -> Result<()> {
        let Self { heads, kv_heads, d_head, .. } = *self;
        let fail = |reason: String| Err(Error::shape(NAME, reason));
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return fail(format!("{kv_heads} key heads must divide {heads} query heads"));
        }
        if d_head == 0 || d_head > MAX_D_HEAD {
            return fail(format!("a head is {d_head} wide; it must be 1 to {MAX_D_HEAD}"));
        }
        if self.window == Some(0) {
            return fail("a window of 0 hides all keys; it must be at least 1".to_owned());
        }
        match self.cap {
            Some(cap) if !(cap.is_finite() && cap > 0.0) => fail(format!("the soft-cap is {cap}; it must be positive")),
            _ => Ok(()),
        }
    }

    /// Returns the first key that a query at `token` sees.
    pub fn first_key(&self, token: usize) -> usize {
        first_key(token, self.window_param())
    }

    /// Returns the window as the kernels read it.
    pub(crate) fn window_param(&self) -> u32 {
        self.window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX))
    }

    /// Returns the soft-cap as the kernels read it, and the constant that switches it on.
    pub(crate) fn cap_param(&self) -> (f32, (&'static str, f64)) {
        (self.cap.unwrap_or(1.0), ("CAPPED", f64::from(u8::from(self.cap.is_some()))))
    }

    /// Returns the number of pairs of a query and a key: no more than the window for each row.
    pub(crate) fn pairs(&self, rows: &Rows) -> f64 {
        self.window.map_or(f64::INFINITY, |window| rows.count() as f64 * window as f64).min(rows.pairs())
    }

    /// Records a launch over some rows of the batch, and as many heads as it computes.
    fn launch<'a, E: Entry<Slot = &'a Tensor, Params = Params>>(
        &self,
        rec: &mut Recording,
        (kernel, columns): (&'static Kernel, usize),
        RowsFrom { rows, first }: RowsFrom<'_>,
        buffers: E,
        flops_per_pair: f64,
    ) -> Result<()> {
        let [first, heads, kv_heads, d_head] = [first, self.heads, self.kv_heads, self.d_head].map(|n| n as u32);
        let (cap, capped) = self.cap_param();
        let params = Params { first, heads, d_head, scale: self.scale, kv_heads, window: self.window_param(), cap };
        let (d, all) = ((self.heads * self.d_head) as f64, rows.count() as u32);
        let (n, share) = (all - first, f64::from(all - first) / f64::from(all));
        let launch = launch(kernel, params, buffers, [columns as u32, n, 1])
            .variant(self.variant(rec.device(), n as usize))
            .constants(&[switch(self.frozen), capped]);
        rec.launch(launch.work(flops_per_pair * d * self.pairs(rows) * share, 20.0 * d * f64::from(n)))
    }

    /// Selects the variant for a launch over `rows` rows.
    pub(crate) fn variant(&self, device: &Device, rows: usize) -> &'static str {
        let variant = tuning::choose(device, Family::Attention, Size::of(rows), self.d_head.is_multiple_of(4));
        // A requested variant that does not exist stays as it is: the launch then fails with the reason.
        let wide = || tuning::of_wide_heads(variant).unwrap_or(variant);
        if self.d_head > NARROW_D_HEAD { wide() } else { variant }
    }

    /// Records the vjp of some rows, with its result in `qkv_bar [rows, w]`.
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
        // A key sums over the queries of all heads that share it.
        let of_keys = (&VJP_KV, self.kv_heads);
        if self.frozen {
            // Only values have cotangents. The launch writes zeros to the other columns, and does not read the means.
            return self.launch(rec, of_keys, rows, kv(lse_saved), 4.0);
        }
        let mean = rec.tensor("attention.mean", &[("rows", rows.rows.count()), ("heads", self.heads)])?;
        let q = shader::vjp_q::Bindings { rows: table, qkv, z_saved, lse_saved, z_bar, qkv_bar, mean: &mean };
        self.launch(rec, (&VJP_Q, self.heads), rows, q, 6.0)?;
        self.launch(rec, of_keys, rows, kv(&mean), 8.0)
    }

    /// Returns the operations of a jvp per pair and element. With frozen weights, a score and a value remain of `all`.
    fn flops(&self, all: f64) -> f64 {
        if self.frozen { 4.0 } else { all }
    }

    fn widths(&self, rows: &Rows) -> [[(&'static str, usize); 2]; 2] {
        [[("rows", rows.count()), ("w", self.row())], [("rows", rows.count()), ("d", self.heads * self.d_head)]]
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
        self.check()?;
        let (qkv, [wide, narrow]) = (inputs[0], self.widths(rows));
        qkv.expect(NAME, &wide)?;
        let z = rec.tensor("attention", &narrow)?;
        let lse = rec.tensor("attention.lse", &[("rows", rows.count()), ("heads", self.heads)])?;
        // Without a base run every sequence starts at token 0, and the base binding is never read.
        let base = base.map_or(qkv, |residuals| residuals.get::<3>()[0]);
        let buffers = shader::primal::Bindings { rows: rows.table(), qkv, base, z: &z, lse: &lse };
        self.launch(rec, (&PRIMAL, self.heads), RowsFrom::all(rows), buffers, 4.0)?;
        Ok(Outcome { residuals: Residuals::new(&[qkv, &z, &lse]), y: z })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let ([qkv, z_saved, lse_saved], [wide, narrow]) = (residuals.get(), self.widths(rows));
        let qkv_dot = x_dot[0];
        qkv_dot.expect(NAME, &wide)?;
        let z_dot = rec.tensor("attention.dot", &narrow)?;
        let table = rows.table();
        let buffers = shader::jvp::Bindings { rows: table, qkv, z_saved, lse_saved, qkv_dot, z_dot: &z_dot };
        self.launch(rec, (&JVP, self.heads), RowsFrom::all(rows), buffers, self.flops(10.0))?;
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

/// Rows of queries, keys and values of a prompt that grows: what the primal of later tokens reads of earlier ones.
#[derive(Clone, Debug)]
pub struct Past {
    /// The rows `[capacity, w]`, of which the first ones are written.
    rows: Tensor,
    /// Residuals of the primal of the prompt. Primals of later tokens read only their rows.
    residuals: Residuals,
}

impl Past {
    /// Returns the past of the tokens whose primal saved these residuals.
    pub fn new(residuals: &Residuals) -> Self {
        Self { rows: residuals.get::<3>()[0].clone(), residuals: residuals.clone() }
    }

    /// Returns the residuals of a base run that has these rows.
    pub fn base(&self) -> Residuals {
        let [_, z, lse] = self.residuals.get();
        Residuals::new(&[&self.rows, z, lse])
    }

    /// Returns the past with one more token, number `at`, whose primal saved `new`.
    ///
    /// The row is written after the others if there is room for it. Otherwise all rows move to a tensor with room for
    /// at most `most` rows. Where rows are not aligned, as those of tiny models, all of them move each time.
    pub fn with(&self, rec: &mut Recording, at: usize, new: &Residuals, most: usize) -> Result<Self> {
        let (row, device) = (new.get::<3>()[0], rec.device().clone());
        let [capacity, width] = [0, 1].map(|i| self.rows.shape().lengths()[i]);
        let is_aligned = (4 * width).is_multiple_of(ALIGNMENT);
        if at < capacity && is_aligned {
            let shape = Shape::new(&[("rows", 1), ("d", width)]);
            let place = Tensor::view(self.rows.buffer().clone(), self.rows.range().start + at * width, shape)?;
            RowPlan::new(&device, width, &[RowSource::X(0)], &[])?.primal_into(rec, row, row, &place)?;
            return Ok(self.clone());
        }
        let room = if is_aligned { most.min(2 * at).saturating_sub(at + 1) } else { 0 };
        let sources = (0..at).map(RowSource::Base).chain([RowSource::X(0)]);
        let sources: Vec<RowSource> = sources.chain(vec![RowSource::Zero; room]).collect();
        let rows = RowPlan::new(&device, width, &sources, &[])?.primal(rec, row, &self.rows)?;
        Ok(Self { rows, residuals: self.residuals.clone() })
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: host::primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: derivatives::jvp };
static VJP_Q: Kernel = Kernel { shader: &shader::VJP_Q, host: derivatives::vjp_q };
static VJP_KV: Kernel = Kernel { shader: &shader::VJP_KV, host: derivatives::vjp_kv };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &VJP_Q, &VJP_KV];

/// Layout of heads in rows of queries, keys and values, and in rows of z.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) width: usize,
}

impl Layout {
    pub(crate) fn new([heads, kv_heads, d_head]: [u32; 3]) -> Self {
        Self { heads: heads as usize, kv_heads: kv_heads as usize, width: d_head as usize }
    }

    /// Returns the width of z, and of the queries.
    pub(crate) fn d(self) -> usize {
        self.heads * self.width
    }

    /// Returns the length of a row of queries, keys and values.
    pub(crate) fn row(self) -> usize {
        self.d() + 2 * self.kv_d()
    }

    /// Returns the width of all keys.
    pub(crate) fn kv_d(self) -> usize {
        self.kv_heads * self.width
    }

    /// Returns the number of query heads that share a key head.
    #[inline(always)]
    pub(crate) fn share(self) -> usize {
        self.heads / self.kv_heads
    }

    /// Returns the query of `head` in row `row`.
    #[inline(always)]
    pub(crate) fn query(self, data: &[f32], row: usize, head: usize) -> &[f32] {
        &data[row * self.row() + head * self.width..][..self.width]
    }

    /// Returns the key of key head `head` in row `row`.
    #[inline(always)]
    pub(crate) fn key(self, data: &[f32], row: usize, head: usize) -> &[f32] {
        self.query(data, row, self.heads + head)
    }

    /// Returns the value of key head `head` in row `row`.
    #[inline(always)]
    pub(crate) fn value(self, data: &[f32], row: usize, head: usize) -> &[f32] {
        self.query(data, row, self.heads + self.kv_heads + head)
    }

    /// Returns both.
    #[inline(always)]
    pub(crate) fn key_and_value(self, data: &[f32], row: usize, head: usize) -> [&[f32]; 2] {
        [self.key(data, row, head), self.value(data, row, head)]
    }

    /// Returns `head` of row `row` of z.
    #[inline(always)]
    pub(crate) fn head(self, data: &[f32], row: usize, head: usize) -> &[f32] {
        &data[(row * self.heads + head) * self.width..][..self.width]
    }
}

/// Returns the first key that a query at token `t` sees.
#[inline(always)]
pub(crate) fn first_key(t: usize, window: u32) -> usize {
    (t + 1).saturating_sub(window as usize)
}

/// Returns the end of the queries that see a key at token `t`, for a sequence that ends at `end`.
#[inline(always)]
pub(crate) fn last_query(t: usize, window: u32, end: usize) -> usize {
    t + (end - t).min(window as usize)
}

/// A score after the soft-cap, `c tanh(s / c)`, with its first and second derivative; the score itself without a cap.
#[inline(always)]
pub(crate) fn capped(s: f32, cap: Option<f32>) -> [f32; 3] {
    let Some(c) = cap else { return [s, 1.0, 0.0] };
    let u = (s / c).tanh();
    let slope = tanh_d(s / c);
    [c * u, slope, -2.0 * u * slope / c]
}
