//! Host bodies of the kernels of edited attention.

use rayon::prelude::*;
use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::attention_edit::{self as shader, Params};

use crate::arguments::params;
use crate::attention::{Layout, capped, first_key, last_query};
use crate::host::{axpy, dot, each_row, exp};
use crate::rows::Row;

/// What all kernels read.
#[derive(Clone, Copy)]
struct Shared<'a> {
    at: Layout,
    p: Params,
    cap: Option<f32>,
    frozen: bool,
    rows: &'a [u32],
    qkv: &'a [f32],
    chosen: &'a [u32],
    maps: &'a [f32],
}

/// Returns the params of a launch, its soft-cap if it has one, and whether weights are frozen.
fn inputs(bound: &Bound<'_>) -> (Params, Option<f32>, bool) {
    let p: Params = params(bound);
    (p, bound.flag("CAPPED").then_some(p.cap), bound.flag("FROZEN"))
}

impl<'a> Shared<'a> {
    fn new((p, cap, frozen): (Params, Option<f32>, bool), [rows, qkv, chosen, maps]: [&'a [f32]; 4]) -> Self {
        let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
        Self { at, p, cap, frozen, rows: as_u32(rows), qkv, chosen: as_u32(chosen), maps }
    }

    /// Returns the maps `[keys, 4]` of a head in row `row` of the table of edits, if it has any.
    fn maps(&self, row: usize, head: usize) -> Option<&'a [f32]> {
        let size = 4 * self.p.keys as usize;
        let map = (self.chosen[row * self.at.heads + head] as usize).checked_sub(1)?;
        Some(&self.maps[map * size..][..size])
    }

    /// Returns the edited score of a query and a key, and the slope of the cap.
    fn score(&self, map: &[f32], q: &[f32], k: &[f32]) -> [f32; 2] {
        let [s, slope, _] = capped(self.p.scale * dot(q, k), self.cap);
        [map[0] * s + map[1], slope]
    }

    /// Returns the tokens of the keys that the query of a batch row sees.
    fn keys(&self, r: &Row, row: usize) -> std::ops::RangeInclusive<usize> {
        first_key(r.token(row), self.p.window)..=r.token(row)
    }

    /// Returns the weights of a query of the base run before their edits, by key, each with the slope of the cap.
    fn weights(&self, maps: &[f32], r: &Row, row: usize, head: usize) -> (Vec<[f32; 2]>, f32) {
        let (q, kv) = (self.at.query(self.qkv, r.primal, head), head / self.at.share());
        let score = |j: usize| self.score(&maps[4 * j..], q, self.at.key(self.qkv, r.base(row, j), kv));
        softmax(self.keys(r, row).map(score).collect())
    }
}

/// Turns scores into weights; also returns the log of the sum of exponentials.
fn softmax(mut scores: Vec<[f32; 2]>) -> (Vec<[f32; 2]>, f32) {
    let top = scores.iter().map(|[s, _]| *s).fold(f32::MIN, f32::max);
    // `exp` has a smallest value above zero, and a hidden key has none.
    scores.iter_mut().for_each(|[s, _]| *s = if *s - top < -100.0 { 0.0 } else { exp(*s - top) });
    let total: f32 = scores.iter().map(|[w, _]| w).sum();
    scores.iter_mut().for_each(|[w, _]| *w /= total);
    (scores, top + total.ln())
}

pub(super) fn primal(bound: Bound<'_>) {
    let inputs = inputs(&bound);
    let shader::primal::Bindings { rows, qkv, chosen, maps, base, x, z } = shader::primal::Bindings::of(bound.slices());
    let shared = Shared::new(inputs, [rows, qkv, chosen, maps]);
    let at = shared.at;
    each_row(z, at.d(), |row, z| {
        let r = Row::read(shared.rows, row);
        let of = |j: usize| if j >= r.start { (qkv, r.own(j)) } else { (base, r.base(row, j)) };
        for (head, z) in z.chunks_mut(at.width).enumerate() {
            let Some(maps) = shared.maps(row, head) else {
                z.copy_from_slice(at.head(x, row, head));
                continue;
            };
            let (q, kv) = (at.query(qkv, row, head), head / at.share());
            let score = |j: usize| {
                let (data, own) = of(j);
                shared.score(&maps[4 * j..], q, at.key(data, own, kv))
            };
            z.fill(0.0);
            for (j, [weight, _]) in shared.keys(&r, row).zip(softmax(shared.keys(&r, row).map(score).collect()).0) {
                let (data, own) = of(j);
                axpy(maps[4 * j + 2] * weight + maps[4 * j + 3], at.value(data, own, kv), z);
            }
        }
    });
}

pub(super) fn jvp(bound: Bound<'_>) {
    let inputs = inputs(&bound);
    let shader::jvp::Bindings { rows, qkv, chosen, maps, qkv_dot, x_dot, z_dot } =
        shader::jvp::Bindings::of(bound.slices());
    let shared = Shared::new(inputs, [rows, qkv, chosen, maps]);
    let at = shared.at;
    each_row(z_dot, at.d(), |row, z_dot| {
        let r = Row::read(shared.rows, row);
        for (head, z_dot) in z_dot.chunks_mut(at.width).enumerate() {
            let Some(maps) = shared.maps(r.primal, head) else {
                z_dot.copy_from_slice(at.head(x_dot, row, head));
                continue;
            };
            let kv = head / at.share();
            let (q, q_dot) = (at.query(qkv, r.primal, head), at.query(qkv_dot, row, head));
            let tangent = |(j, [weight, slope]): (usize, [f32; 2])| {
                let k = at.key(qkv, r.base(row, j), kv);
                let mut s_dot = dot(q_dot, k);
                if j >= r.start {
                    s_dot += dot(q, at.key(qkv_dot, r.own(j), kv));
                }
                [weight, maps[4 * j] * slope * shared.p.scale * s_dot]
            };
            let weights = shared.weights(maps, &r, row, head).0;
            let weights: Vec<[f32; 2]> = shared.keys(&r, row).zip(weights).map(tangent).collect();
            let drift: f32 = weights.iter().map(|[weight, u]| weight * u).sum();
            z_dot.fill(0.0);
            for (j, [weight, u]) in shared.keys(&r, row).zip(weights) {
                let [factor, add] = [maps[4 * j + 2], maps[4 * j + 3]];
                if !shared.frozen {
                    axpy(factor * weight * (u - drift), at.value(qkv, r.base(row, j), kv), z_dot);
                }
                if j >= r.start {
                    axpy(factor * weight + add, at.value(qkv_dot, r.own(j), kv), z_dot);
                }
            }
        }
    });
}

pub(super) fn others(bound: Bound<'_>) {
    let inputs = inputs(&bound);
    let shader::others::Bindings { rows, bars, chosen, bar } = shader::others::Bindings::of(bound.slices());
    let shared = Shared::new(inputs, [rows, &[], chosen, &[]]);
    let at = shared.at;
    each_row(bar, at.d(), |row, bar| {
        let r = Row::read(shared.rows, row);
        for (head, bar) in bar.chunks_mut(at.width).enumerate() {
            match shared.chosen[r.primal * at.heads + head] {
                0 => bar.copy_from_slice(at.head(bars, row, head)),
                _ => bar.fill(0.0),
            }
        }
    });
}

pub(super) fn vjp_q(bound: Bound<'_>) {
    let inputs = inputs(&bound);
    let shader::vjp_q::Bindings { rows, qkv, chosen, maps, z_bar, x_bar, qkv_bar, sums } =
        shader::vjp_q::Bindings::of(bound.slices());
    let shared = Shared::new(inputs, [rows, qkv, chosen, maps]);
    let at = shared.at;
    // Queries of all rows are in the first columns of `qkv_bar`, whose other columns the next launch writes.
    let both = qkv_bar.par_chunks_mut(at.row()).zip(sums.par_chunks_mut(2 * at.heads)).enumerate();
    both.for_each(|(row, (bar, sums))| {
        let r = Row::read(shared.rows, row);
        for (head, q_bar) in bar[..at.d()].chunks_mut(at.width).enumerate() {
            q_bar.copy_from_slice(at.query(x_bar, row, head));
            sums[2 * head..][..2].fill(0.0);
            let Some(maps) = shared.maps(r.primal, head) else { continue };
            let (kv, own_bar) = (head / at.share(), at.head(z_bar, row, head));
            let (weights, log_sum) = shared.weights(maps, &r, row, head);
            let dp = |j: usize| maps[4 * j + 2] * dot(own_bar, at.value(qkv, r.base(row, j), kv));
            let d: f32 = shared.keys(&r, row).zip(&weights).map(|(j, [weight, _])| weight * dp(j)).sum();
            sums[2 * head..][..2].copy_from_slice(&[d, log_sum]);
            if shared.frozen {
                continue;
            }
            for (j, [weight, slope]) in shared.keys(&r, row).zip(weights) {
                let ds = maps[4 * j] * slope * weight * (dp(j) - d) * shared.p.scale;
                axpy(ds, at.key(qkv, r.base(row, j), kv), q_bar);
            }
        }
    });
}

pub(super) fn vjp_kv(bound: Bound<'_>) {
    let inputs = inputs(&bound);
    let shader::vjp_kv::Bindings { rows, qkv, chosen, maps, z_bar, x_bar, qkv_bar, sums_saved } =
        shader::vjp_kv::Bindings::of(bound.slices());
    let shared = Shared::new(inputs, [rows, qkv, chosen, maps]);
    let at = shared.at;
    each_row(qkv_bar, at.row(), |row, bar| {
        let (r, t) = (Row::read(shared.rows, row), Row::read(shared.rows, row).token(row));
        bar[at.d()..].copy_from_slice(&x_bar[row * at.row() + at.d()..][..2 * at.kv_d()]);
        let (k_bars, v_bars) = bar[at.d()..].split_at_mut(at.kv_d());
        for (kv, (k_bar, v_bar)) in k_bars.chunks_mut(at.width).zip(v_bars.chunks_mut(at.width)).enumerate() {
            let (k, v) = (at.key(qkv, r.primal, kv), at.value(qkv, r.primal, kv));
            for head in kv * at.share()..(kv + 1) * at.share() {
                for i in t..last_query(t, shared.p.window, r.end) {
                    let (query, base) = (r.own(i), r.base(row, i));
                    let Some(maps) = shared.maps(base, head) else { continue };
                    let [d, log_sum] = [0, 1].map(|n| sums_saved[2 * (query * at.heads + head) + n]);
                    let (q, own_bar, map) = (at.query(qkv, base, head), at.head(z_bar, query, head), &maps[4 * t..]);
                    let [s, slope] = shared.score(map, q, k);
                    let weight = if s - log_sum < -100.0 { 0.0 } else { exp(s - log_sum) };
                    axpy(map[2] * weight + map[3], own_bar, v_bar);
                    if !shared.frozen {
                        let ds = map[0] * slope * weight * (map[2] * dot(own_bar, v) - d) * shared.p.scale;
                        axpy(ds, q, k_bar);
                    }
                }
            }
        }
    });
}
