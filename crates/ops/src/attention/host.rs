//! Host bodies of attention's kernels.

use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::attention::{self as shader, Params};

use super::Layout;
use crate::arguments::params;
use crate::host::{axpy, dot, each_row_simd, each_two_rows_simd, exp, row_body, sum, two_rows_body};
use crate::rows::Row;

pub(super) fn primal(bound: Bound<'_>) {
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

pub(super) fn jvp(bound: Bound<'_>) {
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

pub(super) fn vjp_q(bound: Bound<'_>) {
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

pub(super) fn vjp_kv(bound: Bound<'_>) {
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
