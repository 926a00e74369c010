//! Host body of attention's jets, for one head of a block of rows at a time.
//!
//! A jet divides that of `sum_j p_j v_j` by that of `sum_j p_j`. s_dot is measured from its mean over the keys: a part
//! that all keys share changes no weight, and is not squared. So a first pass over the keys finds the mean.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::attention_second::{self as shader, Params};

use super::blocks::{BLOCK, Band, LANES, ROWS, fetch, over_band, pack, padded};
use super::items::{Item, blocks, each, parts};
use super::scores::Right;
use super::tile::{Along, Sums};
use super::{Layout, capped};
use crate::arguments::params;
use crate::host::exp;

/// Inputs of a jet.
#[derive(Clone, Copy)]
struct Jet<'a> {
    at: Layout,
    p: Params,
    cap: Option<f32>,
    qkv: &'a [f32],
    lse: &'a [f32],
    qkv_jet: &'a [f32],
}

pub(crate) fn jet(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let cap = bound.flag("CAPPED").then_some(p.cap);
    let shader::jet::Bindings { rows, qkv, lse, qkv_jet, z_jet } = shader::jet::Bindings::of(bound.slices());
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let all = blocks(as_u32(rows), 0..z_jet.len() / (2 * at.d()), at.heads);
    let orders = z_jet.chunks_mut(2 * at.d()).map(|row| row.split_at_mut(at.d()));
    let (first, second): (Vec<_>, Vec<_>) = orders.unzip();
    let of_heads = [first, second].map(|rows| parts(rows.into_iter(), &all, [at.heads, at.width]));
    each(Jet { at, p, cap, qkv, lse, qkv_jet }, (&all, at.heads), of_heads);
}

impl Jet<'_> {
    /// Replaces the score of each key of a band, and its derivatives, by the jet of its weight, with s_dot measured
    /// from `center`.
    #[inline(always)]
    fn weigh(&self, [scores, dots, ddots]: [&mut [f32]; 3], band: Band, lse: f32, center: f32) {
        for chunk in band.chunks() {
            let [scores, dots, ddots] = [&mut *scores, &mut *dots, &mut *ddots].map(|row| row.as_chunks_mut().0);
            let (scores, dots): (&mut [f32; LANES], &mut [f32; LANES]) = (&mut scores[chunk], &mut dots[chunk]);
            let ddots: &mut [f32; LANES] = &mut ddots[chunk];
            let [mut slopes, mut seconds] = [[1.0; LANES], [0.0; LANES]];
            for s in scores.iter_mut() {
                *s *= self.p.scale;
            }
            if self.cap.is_some() {
                for ((s, slope), second) in scores.iter_mut().zip(&mut slopes).zip(&mut seconds) {
                    [*s, *slope, *second] = capped(*s, self.cap);
                }
            }
            for i in 0..LANES {
                let p = exp(scores[i] - lse);
                let s_dot = self.p.scale * dots[i];
                let from_center = slopes[i] * s_dot - center;
                let s_ddot = slopes[i] * (self.p.scale * ddots[i]) + seconds[i] * s_dot * s_dot;
                scores[i] = p;
                dots[i] = p * from_center;
                ddots[i] = p * (from_center * from_center + s_ddot);
            }
        }
    }
}

impl WithSimd for Item<'_, '_, Jet<'_>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { args, block, head, .. } = self;
        let Jet { at, p: Params { window, .. }, qkv, lse, qkv_jet, .. } = args;
        let (kv, rows, width, wide) = (head / at.share(), block.rows, at.width, padded(at.width));
        let (columns, scores, of_rows) = (width * BLOCK, ROWS * BLOCK, ROWS * wide);
        let sizes = [columns, columns, columns, BLOCK * wide, scores, scores, scores, of_rows, of_rows, of_rows];
        let [keys, k_dots, k_ddots, values, weights, dots, ddots, sums, sums_dot, sums_ddot] =
            self.scratch.blocks(sizes);
        for sums in [&mut *sums, &mut *sums_dot, &mut *sums_ddot] {
            sums[..rows * wide].fill(0.0);
        }
        let Range { start, .. } = block.tokens();
        let query_row = block.base(start);
        let queries = Along { rows: &qkv[query_row * at.row() + head * width..], stride: at.row() };
        let [q_dots, q_ddots] = [0, 1].map(|order| {
            let first = (2 * block.row + order) * at.row() + head * width;
            Along { rows: &qkv_jet[first..], stride: 2 * at.row() }
        });
        // For each row the sums of weights to zeroth, first and second order; in the first pass relative to no center.
        let (mut centers, mut m) = ([0.0; ROWS], [[0.0; 3]; ROWS]);
        for is_last in [false, true] {
            for (first, count) in block.keys(window) {
                // Keys before the sequence's own have no derivatives.
                let own = block.start().clamp(first, first + count) - first;
                fetch(block.next_keys((first, count)), |t| at.key_and_value(qkv, block.base(t), kv));
                let bands = block.keys_of_rows(window, (first, count));
                let mut own_bands = bands;
                for band in &mut own_bands {
                    *band = band.since(own);
                }
                let (bands, own_bands) = (&bands[..rows], &own_bands[..rows]);
                let of_keys = Right::new((count, 0..count), width, |j| at.key(qkv, block.base(first + j), kv), keys);
                let own_key = |order: usize| move |j: usize| at.key(qkv_jet, 2 * block.own(first + j) + order, kv);
                let of_k_dots = Right::new((count, own..count), width, own_key(0), k_dots);
                of_keys.scores(simd, bands, queries, (weights, BLOCK), false);
                of_keys.scores(simd, bands, q_dots, (dots, BLOCK), false);
                of_k_dots.scores(simd, own_bands, queries, (dots, BLOCK), true);
                if is_last {
                    let of_k_ddots = Right::new((count, own..count), width, own_key(1), k_ddots);
                    of_keys.scores(simd, bands, q_ddots, (ddots, BLOCK), false);
                    of_k_ddots.scores(simd, own_bands, queries, (ddots, BLOCK), true);
                    for _ in 0..2 {
                        of_k_dots.scores(simd, own_bands, q_dots, (ddots, BLOCK), true);
                    }
                }
                let orders = weights.chunks_mut(BLOCK).zip(dots.chunks_mut(BLOCK)).zip(ddots.chunks_mut(BLOCK));
                for (i, ((p, dots), ddots)) in orders.take(rows).enumerate() {
                    let lse = lse[(query_row + i) * at.heads + head];
                    args.weigh([&mut *p, &mut *dots, &mut *ddots], bands[i], lse, centers[i]);
                    for (m, row) in m[i].iter_mut().zip([p, dots, ddots]) {
                        *m += over_band(row, bands[i], 0.0, |a, b| a + b);
                    }
                }
                if !is_last {
                    continue;
                }
                let along = |rows| Along { rows, stride: BLOCK };
                pack(0..count, |j| at.value(qkv, block.base(first + j), kv), values);
                for (a, c) in [(&*weights, &mut *sums), (&*dots, &mut *sums_dot), (&*ddots, &mut *sums_ddot)] {
                    simd.vectorize(Sums { bands, a: along(a), b: values, c, stride: wide });
                }
                let own_value = |order: usize| move |j: usize| at.value(qkv_jet, 2 * block.own(first + j) + order, kv);
                pack(own..count, own_value(0), values);
                let bands = own_bands;
                simd.vectorize(Sums { bands, a: along(weights), b: values, c: sums_dot, stride: wide });
                for _ in 0..2 {
                    simd.vectorize(Sums { bands, a: along(dots), b: values, c: sums_ddot, stride: wide });
                }
                pack(own..count, own_value(1), values);
                simd.vectorize(Sums { bands, a: along(weights), b: values, c: sums_ddot, stride: wide });
            }
            if !is_last {
                for (center, m) in centers.iter_mut().zip(&mut m).take(rows) {
                    *center = m[1] / m[0];
                    *m = [0.0; 3];
                }
            }
        }
        let [first, second] = self.y;
        for (i, (first, second)) in first.into_iter().zip(second).enumerate() {
            let (m, place) = (m[i], i * wide..i * wide + width);
            let sums = sums[place.clone()].iter().zip(&sums_dot[place.clone()]).zip(&sums_ddot[place]);
            for ((first, second), ((value, dot), ddot)) in first.iter_mut().zip(second).zip(sums) {
                let z = value / m[0];
                *first = (dot - m[1] * z) / m[0];
                *second = (ddot - 2.0 * m[1] * *first - m[2] * z) / m[0];
            }
        }
    }
}
