//! The tangent of attention's vjp, fused, for the runs of a batch that share one cotangent: see [`crate::Op::hvp`].
//!
//! Three launches: means over each query's keys, then a query's sums over keys, then a key's sums over queries.

use bytemuck::{Pod, Zeroable};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::attention_hvp as shader;

use crate::attention::{Attention, Layout};
use crate::host::{axpy, dot, each_row_simd, exp};
use crate::op::{Bend, Kept};
use crate::rows::{Row, Rows};

const NAME: &str = "attention_hvp";

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    heads: u32,
    d_head: u32,
    scale: f32,
    /// Rows with a tangent.
    bent: u32,
    /// First row of the plain cotangent.
    plain: u32,
    pad: [u32; 3],
}

/// `qkv_bar [rows, 3d]` for `z_bar [rows, d]`: `kept` is what the primal and then the tangent kept, six tensors.
pub(crate) fn record(
    op: &Attention,
    rec: &mut Recording,
    rows: &Rows,
    (kept, bend): (&Kept, Bend<'_>),
    z_bar: &Tensor,
) -> Result<Tensor> {
    let (r, heads, d) = (rows.count(), op.heads, op.heads * op.d_head);
    let ([qkv, z, lse], [qkv_dot, z_dot]) = (kept.get(), bend.kept.get());
    z_bar.expect(NAME, &[("rows", r), ("d", d)])?;
    qkv_dot.expect(NAME, &[("rows", bend.rows), ("3d", 3 * d)])?;
    let bar = rec.tensor("attention.bar", &[("rows", r), ("3d", 3 * d)])?;
    let means = rec.tensor("attention.means", &[("rows", r), ("heads", heads), ("mean", 4)])?;
    let params = Params {
        heads: heads as u32,
        d_head: op.d_head as u32,
        scale: op.scale,
        bent: bend.rows as u32,
        plain: bend.plain as u32,
        pad: [0; 3],
    };
    let shared = [rows.table(), qkv, lse, qkv_dot, z_bar];
    let mut launch = |kernel, own: &[&Tensor], flops_per_pair: f64| {
        let bindings: Vec<&Tensor> = shared.iter().chain(own).copied().collect();
        let launch = Launch::new(kernel, params, &bindings, [heads as u32, r as u32, 1]);
        rec.launch(launch.work(flops_per_pair * d as f64 * rows.pairs(), 40.0 * (r * d) as f64))
    };
    launch(&MEAN, &[z, z_dot, &means], 6.0)?;
    launch(&QUERY, &[&means, &bar], 16.0)?;
    launch(&KEY, &[&means, &bar], 20.0)?;
    Ok(bar)
}

static MEAN: Kernel = Kernel { shader: &shader::MEAN, host: mean };
static QUERY: Kernel = Kernel { shader: &shader::QUERY, host: query };
static KEY: Kernel = Kernel { shader: &shader::KEY, host: key };

/// These kernels.
pub(crate) static KERNELS: &[&Kernel] = &[&MEAN, &QUERY, &KEY];

/// What all three read.
#[derive(Clone, Copy)]
struct Shared<'a> {
    at: Layout,
    p: Params,
    rows: &'a [u32],
    qkv: &'a [f32],
    lse: &'a [f32],
    qkv_dot: &'a [f32],
    z_bar: &'a [f32],
}

impl<'a> Shared<'a> {
    fn new(p: Params, [rows, qkv, lse, qkv_dot, z_bar]: [&'a [f32]; 5]) -> Self {
        Self { at: Layout::new(p.heads, p.d_head), p, rows: as_u32(rows), qkv, lse, qkv_dot, z_bar }
    }

    /// The row of the plain cotangent for a row with a tangent; `None` without one.
    #[inline(always)]
    fn plain(&self, r: &Row, row: usize) -> Option<usize> {
        (row < self.p.bent as usize).then(|| self.p.plain as usize + row - r.first)
    }

    /// ds_dot, ds, p_dot and p between the query of batch row `query`, base row `i`, and the key of batch row `key`, base
    /// row `j`; `means` are the query's, and `plain` its row of z_bar.
    #[inline(always)]
    fn pull(
        &self,
        head: usize,
        [query, i, key, j]: [usize; 4],
        plain: Option<usize>,
        means: &[f32],
    ) -> [f32; 4] {
        let Self { at, qkv, qkv_dot, z_bar, .. } = *self;
        let (q, k, v) = (at.part(qkv, i, 0, head), at.part(qkv, j, 1, head), at.part(qkv, j, 2, head));
        let p = exp(self.p.scale * dot(q, k) - self.lse[i * at.heads + head]);
        let own = at.head(z_bar, query, head);
        let Some(plain) = plain else {
            return [p * (dot(own, v) - means[2]), 0.0, 0.0, p];
        };
        let bar = at.head(z_bar, plain, head);
        let s_dot = dot(at.part(qkv_dot, query, 0, head), k) + dot(q, at.part(qkv_dot, key, 1, head));
        let from_center = self.p.scale * s_dot - means[0];
        let e = dot(bar, v) - means[1];
        let e_dot = dot(own, v) + dot(bar, at.part(qkv_dot, key, 2, head)) - means[2];
        [p * (from_center * e + e_dot), p * e, p * from_center, p]
    }
}

fn mean(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([rows, qkv, lse, qkv_dot, z_bar, z, z_dot], [means]) = bound.slices();
    let shared = Shared::new(p, [rows, qkv, lse, qkv_dot, z_bar]);
    each_row_simd(means, 4 * shared.at.heads, (shared, z, z_dot), mean_row);
}

#[inline(always)]
fn mean_row((shared, z, z_dot): (Shared<'_>, &[f32], &[f32]), row: usize, means: &mut [f32]) {
    let Shared { at, qkv, qkv_dot, z_bar, .. } = shared;
    let r = Row::read(shared.rows, row);
    for (head, means) in means.chunks_mut(4).enumerate() {
        let value = at.head(z, r.primal, head);
        let own = dot(at.head(z_bar, row, head), value);
        means.copy_from_slice(&[0.0, 0.0, own, 0.0]);
        let Some(plain) = shared.plain(&r, row) else { continue };
        let bar = at.head(z_bar, plain, head);
        let (q, q_dot) = (at.part(qkv, r.primal, 0, head), at.part(qkv_dot, row, 0, head));
        for j in 0..=r.token(row) {
            let key = at.part(qkv, r.base(row, j), 1, head);
            let p = exp(shared.p.scale * dot(q, key) - shared.lse[r.primal * at.heads + head]);
            let s_dot = dot(q_dot, key) + dot(q, at.part(qkv_dot, r.own(j), 1, head));
            means[0] += p * shared.p.scale * s_dot;
        }
        means[1] = dot(bar, value);
        means[2] += dot(bar, at.head(z_dot, row, head));
    }
}

fn query(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([rows, qkv, lse, qkv_dot, z_bar, means], [bar]) = bound.slices();
    let shared = Shared::new(p, [rows, qkv, lse, qkv_dot, z_bar]);
    each_row_simd(bar, 3 * shared.at.d(), (shared, means), query_row);
}

#[inline(always)]
fn query_row((shared, means): (Shared<'_>, &[f32]), row: usize, bar: &mut [f32]) {
    let Shared { at, qkv, qkv_dot, .. } = shared;
    let r = Row::read(shared.rows, row);
    let plain = shared.plain(&r, row);
    for (head, q_bar) in bar[..at.d()].chunks_mut(at.width).enumerate() {
        let means = &means[4 * (row * at.heads + head)..][..4];
        q_bar.fill(0.0);
        for j in 0..=r.token(row) {
            let (key, base) = (r.own(j), r.base(row, j));
            let [ds_dot, ds, ..] = shared.pull(head, [row, r.primal, key, base], plain, means);
            axpy(shared.p.scale * ds_dot, at.part(qkv, base, 1, head), q_bar);
            if plain.is_some() {
                axpy(shared.p.scale * ds, at.part(qkv_dot, key, 1, head), q_bar);
            }
        }
    }
}

fn key(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([rows, qkv, lse, qkv_dot, z_bar, means], [bar]) = bound.slices();
    let shared = Shared::new(p, [rows, qkv, lse, qkv_dot, z_bar]);
    each_row_simd(bar, 3 * shared.at.d(), (shared, means), key_row);
}

#[inline(always)]
fn key_row((shared, means): (Shared<'_>, &[f32]), row: usize, bar: &mut [f32]) {
    let Shared { at, qkv, qkv_dot, z_bar, .. } = shared;
    let r = Row::read(shared.rows, row);
    let (k_bars, v_bars) = bar[at.d()..].split_at_mut(at.d());
    let parts = k_bars.chunks_mut(at.width).zip(v_bars.chunks_mut(at.width));
    for (head, (k_bar, v_bar)) in parts.enumerate() {
        k_bar.fill(0.0);
        v_bar.fill(0.0);
        for i in r.token(row)..r.end {
            let (query, base) = (r.own(i), r.base(row, i));
            let plain = shared.plain(&r, query);
            let means = &means[4 * (query * at.heads + head)..][..4];
            let [ds_dot, ds, p_dot, p] = shared.pull(head, [query, base, row, r.primal], plain, means);
            axpy(shared.p.scale * ds_dot, at.part(qkv, base, 0, head), k_bar);
            axpy(p, at.head(z_bar, query, head), v_bar);
            if let Some(plain) = plain {
                axpy(shared.p.scale * ds, at.part(qkv_dot, query, 0, head), k_bar);
                axpy(p_dot, at.head(z_bar, plain, head), v_bar);
            }
        }
    }
}
