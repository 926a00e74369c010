//! Attention to second order, fused: jets, and the tangent of the vjp for sequences with a shared cotangent
//! ([`crate::Op::hvp`]).
//!
//! A jet is one launch. An hvp is three: the means over each query's keys, the sums of each query over its keys, and
//! the sums of each key over its queries.

use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::attention_second::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::{launch, params};
use crate::attention::{self, Attention, Layout, RowsFrom, capped, first_key, last_query};
use crate::host::{axpy, dot, each_row_simd, exp, row_body};
use crate::op::{HvpResiduals, Nonlinear, Op, Outcome, Residuals};
use crate::rows::{Row, Rows, shared_row};

const NAME: &str = "attention_second";

fn params_of(op: &Attention, shared_from: usize) -> Params {
    let [heads, kv_heads, d_head] = [op.heads, op.kv_heads, op.d_head].map(|n| n as u32);
    let (shared_from, window, (cap, _)) = (shared_from as u32, op.window_param(), op.cap_param());
    Params { heads, d_head, scale: op.scale, shared_from, kv_heads, window, cap }
}

/// Returns `z_jet [2 rows, d]` for `qkv_jet [2 rows, w]`.
pub(crate) fn jet_of(
    op: &Attention,
    rec: &mut Recording,
    rows: &Rows,
    residuals: &Residuals,
    qkv_jet: &Tensor,
) -> Result<Tensor> {
    let ([qkv, _, lse], r, d) = (residuals.get(), rows.count(), op.heads * op.d_head);
    qkv_jet.expect(NAME, &[("2 rows", 2 * r), ("w", op.row())])?;
    let z_jet = rec.tensor("attention.jet", &[("rows", 2 * r), ("d", d)])?;
    let buffers = shader::jet::Bindings { rows: rows.table(), qkv, lse, qkv_jet, z_jet: &z_jet };
    let launch = launch(&JET, params_of(op, 0), buffers, [op.heads as u32, r as u32, 1])
        .variant(op.variant(rec.device(), r))
        .constants(&[op.cap_param().1]);
    rec.launch(launch.work(24.0 * d as f64 * op.pairs(rows), 20.0 * (r * d) as f64))?;
    Ok(z_jet)
}

/// Returns `qkv_bar [rows, w]` for `z_bar [rows, d]`, from the residuals of the primal and of the tangent pass.
pub(crate) fn hvp_of(
    op: &Attention,
    rec: &mut Recording,
    rows: &Rows,
    HvpResiduals { primal, paired }: HvpResiduals<'_>,
    z_bar: &Tensor,
) -> Result<Tensor> {
    let (r, heads, d) = (rows.count(), op.heads, op.heads * op.d_head);
    let ([qkv, z, lse], [qkv_dot, z_dot]) = (primal.get(), paired.residuals.get());
    z_bar.expect(NAME, &[("rows", r), ("d", d)])?;
    qkv_dot.expect(NAME, &[("rows", paired.rows), ("w", op.row())])?;
    let bar = rec.tensor("attention.bar", &[("rows", r), ("w", op.row())])?;
    let means = rec.tensor("attention.means", &[("tangent_rows", paired.rows), ("heads", heads), ("mean", 4)])?;
    let params = params_of(op, rows.shared_from());
    let (tangent_rows, pairs) = (paired.rows, d as f64 * op.pairs(&rows.prefix(paired.rows)));
    let variant = op.variant(rec.device(), tangent_rows);
    let (table, z_bars, means_saved, qkv_bars) = (rows.table(), z_bar, &means, &bar);
    let (grid, capped) = ([heads as u32, tangent_rows as u32, 1], op.cap_param().1);
    let mut record = |launch: Launch, flops_per_pair: f64| {
        rec.launch(
            launch.variant(variant).constants(&[capped]).work(flops_per_pair * pairs, 40.0 * (tangent_rows * d) as f64),
        )
    };
    let mean = shader::mean::Bindings { rows: table, qkv, lse, qkv_dot, z_bars, z, z_dot, means: &means };
    record(launch(&MEAN, params, mean, grid), 6.0)?;
    let query = shader::query::Bindings { rows: table, qkv, lse, qkv_dot, z_bars, means_saved, qkv_bars };
    record(launch(&QUERY, params, query, grid), 16.0)?;
    let key = shader::key::Bindings { rows: table, qkv, lse, qkv_dot, z_bars, means_saved, qkv_bars };
    record(launch(&KEY, params, key, [op.kv_heads as u32, grid[1], 1]), 20.0)?;
    op.launch_vjp(rec, RowsFrom { rows, first: paired.rows }, primal, z_bar, &bar)?;
    Ok(bar)
}

impl Nonlinear for Attention {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        jet_of(self, rec, rows, residuals, x_jet[0])
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
        let bar = hvp_of(self, rec, rows, residuals, y_bar)?;
        accumulate(rec, vec![bar], so_far)
    }
}

static JET: Kernel = Kernel { shader: &shader::JET, host: attention::jet };
static MEAN: Kernel = Kernel { shader: &shader::MEAN, host: mean };
static QUERY: Kernel = Kernel { shader: &shader::QUERY, host: query };
static KEY: Kernel = Kernel { shader: &shader::KEY, host: key };

/// These kernels.
pub(crate) static KERNELS: &[&Kernel] = &[&JET, &MEAN, &QUERY, &KEY];

/// Inputs of the kernels of an hvp.
#[derive(Clone, Copy)]
struct Shared<'a> {
    at: Layout,
    p: Params,
    cap: Option<f32>,
    rows: &'a [u32],
    qkv: &'a [f32],
    lse: &'a [f32],
    qkv_dot: &'a [f32],
    z_bar: &'a [f32],
}

impl Shared<'_> {
    /// Returns the weight that the query of base row i gives to a key, and both derivatives of the soft-cap. A sole key
    /// has weight 1: the primal rounds scores differently, and what cancels must be zero.
    #[inline(always)]
    fn weight(&self, q: &[f32], key: &[f32], (i, head): (usize, usize), is_sole: bool) -> [f32; 3] {
        let [score, slope, second] = capped(self.p.scale * dot(q, key), self.cap);
        [if is_sole { 1.0 } else { exp(score - self.lse[i * self.at.heads + head]) }, slope, second]
    }

    /// Returns whether a query sees its own token's key only.
    #[inline(always)]
    fn is_sole(&self, token: usize) -> bool {
        first_key(token, self.p.window) == token
    }

    /// Returns the number of rows with a tangent.
    #[inline(always)]
    fn tangent_rows(&self) -> usize {
        self.qkv_dot.len() / self.at.row()
    }

    /// Returns the row of the shared cotangent for the token of batch row `row`.
    #[inline(always)]
    fn shared_cotangent(&self, row: usize) -> usize {
        shared_row(self.rows, self.p.shared_from, row)
    }

    /// Returns the derivatives of the score and of the weight of a pair.
    #[inline(always)]
    fn score_terms(&self, pair: Pair<'_>) -> ScoreTerms {
        let Self { at, qkv, qkv_dot, z_bar, .. } = *self;
        let Pair { head, query, base_query: i, key, base_key: j, is_sole, shared_cotangent, means } = pair;
        let kv = head / at.share();
        let (q, k, v) = (at.query(qkv, i, head), at.key(qkv, j, kv), at.value(qkv, j, kv));
        let [p, slope, second] = self.weight(q, k, (i, head), is_sole);
        let own = at.head(z_bar, query, head);
        let bar = at.head(z_bar, shared_cotangent, head);
        let s_dot = self.p.scale * (dot(at.query(qkv_dot, query, head), k) + dot(q, at.key(qkv_dot, key, kv)));
        let from_center = slope * s_dot - means[0];
        let e = dot(bar, v) - means[1];
        let e_dot = dot(own, v) + dot(bar, at.value(qkv_dot, key, kv)) - means[2];
        let ds_dot = slope * (from_center * e + e_dot) + second * s_dot * e;
        ScoreTerms { ds_dot: p * ds_dot, ds: p * slope * e, p_dot: p * from_center, p }
    }
}

/// A query and a key of one head.
#[derive(Clone, Copy)]
struct Pair<'a> {
    head: usize,
    /// Batch row and base row of the query.
    query: usize,
    base_query: usize,
    /// Batch row and base row of the key.
    key: usize,
    base_key: usize,
    /// Whether the query sees no other key.
    is_sole: bool,
    /// Row of the query's shared cotangent.
    shared_cotangent: usize,
    /// Means over the query's keys.
    means: &'a [f32],
}

/// The weight of a pair, its tangent, the cotangent of the score, and the tangent of that.
struct ScoreTerms {
    ds_dot: f32,
    ds: f32,
    p_dot: f32,
    p: f32,
}

/// Returns the params of a launch, and its soft-cap if it has one.
fn inputs(bound: &Bound<'_>) -> (Params, Option<f32>) {
    let p: Params = params(bound);
    (p, bound.flag("CAPPED").then_some(p.cap))
}

fn mean(bound: Bound<'_>) {
    let (p, cap) = inputs(&bound);
    let buffers = shader::mean::Bindings::of(bound.slices());
    let shader::mean::Bindings { rows, qkv, lse, qkv_dot, z_bars, z, z_dot, means } = buffers;
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let shared = Shared { at, p, cap, rows: as_u32(rows), qkv, lse, qkv_dot, z_bar: z_bars };
    each_row_simd::<MeanRow>(means, 4 * shared.at.heads, MeanInputs { shared, z, z_dot });
}

#[derive(Clone, Copy)]
struct MeanInputs<'a> {
    shared: Shared<'a>,
    z: &'a [f32],
    z_dot: &'a [f32],
}

row_body!(MeanRow<'a>(MeanInputs<'a>) = mean_row);

#[inline(always)]
fn mean_row(MeanInputs { shared, z, z_dot }: MeanInputs<'_>, row: usize, means: &mut [f32]) {
    let Shared { at, qkv, qkv_dot, z_bar, .. } = shared;
    let r = Row::read(shared.rows, row);
    for (head, means) in means.chunks_mut(4).enumerate() {
        let value = at.head(z, r.primal, head);
        let bar = at.head(z_bar, shared.shared_cotangent(row), head);
        let mut mu = 0.0;
        let (q, q_dot, kv) = (at.query(qkv, r.primal, head), at.query(qkv_dot, row, head), head / at.share());
        for j in first_key(r.token(row), shared.p.window)..=r.token(row) {
            let key = at.key(qkv, r.base(row, j), kv);
            let [p, slope, _] = shared.weight(q, key, (r.primal, head), shared.is_sole(r.token(row)));
            let s_dot = dot(q_dot, key) + dot(q, at.key(qkv_dot, r.own(j), kv));
            mu += p * shared.p.scale * slope * s_dot;
        }
        let d_dot = dot(at.head(z_bar, row, head), value) + dot(bar, at.head(z_dot, row, head));
        means.copy_from_slice(&[mu, dot(bar, value), d_dot, 0.0]);
    }
}

fn query(bound: Bound<'_>) {
    let (p, cap) = inputs(&bound);
    let buffers = shader::query::Bindings::of(bound.slices());
    let shader::query::Bindings { rows, qkv, lse, qkv_dot, z_bars, means_saved, qkv_bars } = buffers;
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let shared = Shared { at, p, cap, rows: as_u32(rows), qkv, lse, qkv_dot, z_bar: z_bars };
    each_row_simd::<QueryRow>(qkv_bars, at.row(), SumInputs { shared, means: means_saved });
}

/// Inputs of the sums over the keys of a query, and over the queries of a key.
#[derive(Clone, Copy)]
struct SumInputs<'a> {
    shared: Shared<'a>,
    means: &'a [f32],
}

row_body!(QueryRow<'a>(SumInputs<'a>) = query_row);

#[inline(always)]
fn query_row(SumInputs { shared, means }: SumInputs<'_>, row: usize, bar: &mut [f32]) {
    let Shared { at, qkv, qkv_dot, .. } = shared;
    if row >= shared.tangent_rows() {
        return;
    }
    let r = Row::read(shared.rows, row);
    let shared_cotangent = shared.shared_cotangent(row);
    for (head, q_bar) in bar[..at.d()].chunks_mut(at.width).enumerate() {
        let means = &means[4 * (row * at.heads + head)..][..4];
        q_bar.fill(0.0);
        let kv = head / at.share();
        for j in first_key(r.token(row), shared.p.window)..=r.token(row) {
            let (key, base_key) = (r.own(j), r.base(row, j));
            let is_sole = shared.is_sole(r.token(row));
            let pair = Pair { head, query: row, base_query: r.primal, key, base_key, is_sole, shared_cotangent, means };
            let ScoreTerms { ds_dot, ds, .. } = shared.score_terms(pair);
            axpy(shared.p.scale * ds_dot, at.key(qkv, base_key, kv), q_bar);
            axpy(shared.p.scale * ds, at.key(qkv_dot, key, kv), q_bar);
        }
    }
}

fn key(bound: Bound<'_>) {
    let (p, cap) = inputs(&bound);
    let buffers = shader::key::Bindings::of(bound.slices());
    let shader::key::Bindings { rows, qkv, lse, qkv_dot, z_bars, means_saved, qkv_bars } = buffers;
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let shared = Shared { at, p, cap, rows: as_u32(rows), qkv, lse, qkv_dot, z_bar: z_bars };
    each_row_simd::<KeyRow>(qkv_bars, at.row(), SumInputs { shared, means: means_saved });
}

row_body!(KeyRow<'a>(SumInputs<'a>) = key_row);

#[inline(always)]
fn key_row(SumInputs { shared, means }: SumInputs<'_>, row: usize, bar: &mut [f32]) {
    let Shared { at, qkv, qkv_dot, z_bar, .. } = shared;
    if row >= shared.tangent_rows() {
        return;
    }
    let r = Row::read(shared.rows, row);
    let (k_bars, v_bars) = bar[at.d()..].split_at_mut(at.kv_d());
    let parts = k_bars.chunks_mut(at.width).zip(v_bars.chunks_mut(at.width));
    for (kv, (k_bar, v_bar)) in parts.enumerate() {
        k_bar.fill(0.0);
        v_bar.fill(0.0);
        for head in kv * at.share()..(kv + 1) * at.share() {
            for i in r.token(row)..last_query(r.token(row), shared.p.window, r.end) {
                let (query, base_query) = (r.own(i), r.base(row, i));
                let shared_cotangent = shared.shared_cotangent(query);
                let means = &means[4 * (query * at.heads + head)..][..4];
                let (is_sole, base_key) = (shared.is_sole(i), r.primal);
                let pair = Pair { head, query, base_query, key: row, base_key, is_sole, shared_cotangent, means };
                let ScoreTerms { ds_dot, ds, p_dot, p } = shared.score_terms(pair);
                axpy(shared.p.scale * ds_dot, at.query(qkv, base_query, head), k_bar);
                axpy(p, at.head(z_bar, query, head), v_bar);
                axpy(shared.p.scale * ds, at.query(qkv_dot, query, head), k_bar);
                axpy(p_dot, at.head(z_bar, shared_cotangent, head), v_bar);
            }
        }
    }
}
