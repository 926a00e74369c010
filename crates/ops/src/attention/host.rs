//! Host bodies of attention's kernels.

use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::attention::{self as shader, Params};

use super::{Layout, capped, first_key, last_query};
use crate::arguments::params;
use crate::host::{axpy, dot, each_row_simd, each_two_rows_simd, exp, row_body, sum, two_rows_body};
use crate::rows::Row;

pub(super) fn primal(bound: Bound<'_>) {
    let (p, cap) = (params::<Params>(&bound), cap_of(&bound));
    let shader::primal::Bindings { rows, qkv, base, z, lse } = shader::primal::Bindings::of(bound.slices());
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let args = Primal { at, p, cap, rows: as_u32(rows), qkv, base };
    each_two_rows_simd::<PrimalRow>([z, lse], [at.d(), at.heads], args);
}

/// Inputs of the primal.
#[derive(Clone, Copy)]
struct Primal<'a> {
    at: Layout,
    p: Params,
    cap: Option<f32>,
    rows: &'a [u32],
    qkv: &'a [f32],
    base: &'a [f32],
}

/// Returns the soft-cap of a launch, if it has one.
fn cap_of(bound: &Bound<'_>) -> Option<f32> {
    bound.flag("CAPPED").then(|| params::<Params>(bound).cap)
}

two_rows_body!(PrimalRow<'a>(Primal<'a>) = primal_row);

#[inline(always)]
fn primal_row(args: Primal<'_>, row: usize, [z, lse]: [&mut [f32]; 2]) {
    let Primal { at, p: Params { scale, window, .. }, cap, rows, qkv, base } = args;
    let r = Row::read(rows, row);
    // Key and value of token j: from the sequence if it owns the token, else from the base run.
    let of = |j: usize| match j >= r.start {
        true => (qkv, r.own(j)),
        false => (base, r.base(row, j)),
    };
    let first = first_key(r.token(row), window);
    let mut weights = vec![0.0; r.token(row) + 1 - first];
    for (head, (z, lse)) in z.chunks_mut(at.width).zip(lse).enumerate() {
        let (q, kv) = (at.query(qkv, row, head), head / at.share());
        for (j, w) in (first..).zip(&mut weights) {
            let (data, own) = of(j);
            *w = capped(scale * dot(q, at.key(data, own, kv)), cap)[0];
        }
        let top = weights.iter().copied().fold(f32::MIN, f32::max);
        for w in &mut weights {
            *w = exp(*w - top);
        }
        let total = sum([&weights], |[w]| w);
        *lse = top + total.ln();
        z.fill(0.0);
        for (j, w) in (first..).zip(&weights) {
            let (data, own) = of(j);
            axpy(w / total, at.value(data, own, kv), z);
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
    cap: Option<f32>,
}

impl Shared<'_> {
    /// Returns the weight that the query of base row i gives to a key, and the slope of the soft-cap.
    #[inline(always)]
    fn weight(&self, q: &[f32], key: &[f32], i: usize, head: usize) -> (f32, f32) {
        let [score, slope, _] = capped(self.p.scale * dot(q, key), self.cap);
        (exp(score - self.lse[i * self.at.heads + head]), slope)
    }
}

pub(super) fn jvp(bound: Bound<'_>) {
    let (p, frozen, cap) = (params::<Params>(&bound), bound.flag("FROZEN"), cap_of(&bound));
    let buffers = shader::jvp::Bindings::of(bound.slices());
    let shader::jvp::Bindings { rows, qkv, z_saved: residuals, lse_saved: lse, qkv_dot: t, z_dot } = buffers;
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let inputs = Shared { at, p, rows: as_u32(rows), qkv, residuals, lse, t, frozen, cap };
    each_row_simd::<JvpRow>(z_dot, at.d(), inputs);
}

row_body!(JvpRow<'a>(Shared<'a>) = jvp_row);

#[inline(always)]
fn jvp_row(args: Shared<'_>, row: usize, z_dot: &mut [f32]) {
    let Shared { at, p: Params { scale, window, .. }, qkv, residuals: z, t: qkv_dot, .. } = args;
    let r = Row::read(args.rows, row);
    let seen = first_key(r.token(row), window);
    for (head, z_dot) in z_dot.chunks_mut(at.width).enumerate() {
        let kv = head / at.share();
        let (q, q_dot) = (at.query(qkv, r.primal, head), at.query(qkv_dot, row, head));
        let mut drift = 0.0;
        z_dot.fill(0.0);
        // For keys before the sequence's own, only the weights have a tangent.
        let first = if args.frozen { seen.max(r.start) } else { seen };
        for j in first..=r.token(row) {
            let base = r.base(row, j);
            let key = at.key(qkv, base, kv);
            let (w, slope) = args.weight(q, key, r.primal, head);
            if args.frozen {
                axpy(w, at.value(qkv_dot, r.own(j), kv), z_dot);
                continue;
            }
            let mut s_dot = dot(q_dot, key);
            if j >= r.start {
                s_dot += dot(q, at.key(qkv_dot, r.own(j), kv));
                axpy(w, at.value(qkv_dot, r.own(j), kv), z_dot);
            }
            let shift = w * scale * slope * s_dot;
            drift += shift;
            axpy(shift, at.value(qkv, base, kv), z_dot);
        }
        axpy(-drift, at.head(z, r.primal, head), z_dot);
    }
}

pub(super) fn vjp_q(bound: Bound<'_>) {
    let (p, frozen, cap) = (params::<Params>(&bound), bound.flag("FROZEN"), cap_of(&bound));
    let buffers = shader::vjp_q::Bindings::of(bound.slices());
    let shader::vjp_q::Bindings { rows, qkv, z_saved: residuals, lse_saved: lse, z_bar: t, qkv_bar: bar, mean } =
        buffers;
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let inputs = Shared { at, p, rows: as_u32(rows), qkv, residuals, lse, t, frozen, cap };
    each_two_rows_simd::<VjpQRow>([bar, mean], [at.row(), at.heads], inputs);
}

two_rows_body!(VjpQRow<'a>(Shared<'a>) = vjp_q_row);

#[inline(always)]
fn vjp_q_row(args: Shared<'_>, row: usize, [bar, mean]: [&mut [f32]; 2]) {
    let Shared { at, p: Params { scale, window, .. }, qkv, residuals: z, t, .. } = args;
    if row < args.p.first as usize {
        return;
    }
    let r = Row::read(args.rows, row);
    for (head, (q_bar, mean)) in bar[..at.d()].chunks_mut(at.width).zip(mean).enumerate() {
        let kv = head / at.share();
        let (q, z_bar) = (at.query(qkv, r.primal, head), at.head(t, row, head));
        *mean = dot(z_bar, at.head(z, r.primal, head));
        q_bar.fill(0.0);
        for j in first_key(r.token(row), window)..=r.token(row) {
            let base = r.base(row, j);
            let (key, value) = (at.key(qkv, base, kv), at.value(qkv, base, kv));
            let (w, slope) = args.weight(q, key, r.primal, head);
            let ds = w * slope * (dot(z_bar, value) - *mean);
            axpy(scale * ds, key, q_bar);
        }
    }
}

pub(super) fn vjp_kv(bound: Bound<'_>) {
    let (p, frozen, cap) = (params::<Params>(&bound), bound.flag("FROZEN"), cap_of(&bound));
    let buffers = shader::vjp_kv::Bindings::of(bound.slices());
    let shader::vjp_kv::Bindings { rows, qkv, mean_saved: residuals, lse_saved: lse, z_bar: t, qkv_bar: bar } = buffers;
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let inputs = Shared { at, p, rows: as_u32(rows), qkv, residuals, lse, t, frozen, cap };
    each_row_simd::<VjpKvRow>(bar, at.row(), inputs);
}

row_body!(VjpKvRow<'a>(Shared<'a>) = vjp_kv_row);

#[inline(always)]
fn vjp_kv_row(args: Shared<'_>, row: usize, bar: &mut [f32]) {
    let Shared { at, p: Params { scale, window, .. }, qkv, residuals: mean, t, .. } = args;
    if row < args.p.first as usize {
        return;
    }
    let r = Row::read(args.rows, row);
    if args.frozen {
        bar[..at.d()].fill(0.0);
    }
    let (k_bars, v_bars) = bar[at.d()..].split_at_mut(at.kv_d());
    let parts = k_bars.chunks_mut(at.width).zip(v_bars.chunks_mut(at.width));
    for (kv, (k_bar, v_bar)) in parts.enumerate() {
        let (key, value) = (at.key(qkv, r.primal, kv), at.value(qkv, r.primal, kv));
        k_bar.fill(0.0);
        v_bar.fill(0.0);
        for head in kv * at.share()..(kv + 1) * at.share() {
            for i in r.token(row)..last_query(r.token(row), window, r.end) {
                let (base, own) = (r.base(row, i), r.own(i));
                let (q, z_bar) = (at.query(qkv, base, head), at.head(t, own, head));
                let (w, slope) = args.weight(q, key, base, head);
                axpy(w, z_bar, v_bar);
                if args.frozen {
                    continue;
                }
                let ds = w * slope * (dot(z_bar, value) - mean[own * at.heads + head]);
                axpy(scale * ds, q, k_bar);
            }
        }
    }
}
