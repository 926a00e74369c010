//! Host bodies of attention's derivatives, for one head of a block of rows at a time.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::attention::{self as shader, Params};

use super::blocks::{BLOCK, Band, LANES, ROWS, fetch, over_band, pack, padded};
use super::host::cap_of;
use super::items::{Item, blocks, each, parts};
use super::scores::Right;
use super::tile::{Across, Along, Sums, score};
use super::{Layout, capped, first_key};
use crate::arguments::params;
use crate::host::exp;

/// Inputs of the derivatives: the shared primal, and the tangent or cotangent `t`.
#[derive(Clone, Copy)]
struct Shared<'a> {
    at: Layout,
    p: Params,
    qkv: &'a [f32],
    /// z in jvp and vjp_q, the means in vjp_kv.
    residuals: &'a [f32],
    lse: &'a [f32],
    t: &'a [f32],
    frozen: bool,
    cap: Option<f32>,
}

impl<'a> Shared<'a> {
    /// Returns the queries of base rows from `row` on.
    #[inline(always)]
    fn queries(&self, row: usize, head: usize) -> Along<'a> {
        Along { rows: &self.qkv[row * self.at.row() + head * self.at.width..], stride: self.at.row() }
    }

    /// Returns the factor of cotangents of a query's scores. It is zero if the query sees its own key only, whose
    /// weight is constant: the difference that would be zero is rounded.
    #[inline(always)]
    fn scale_of(&self, token: usize) -> f32 {
        if first_key(token, self.p.window) == token { 0.0 } else { self.p.scale }
    }

    /// Returns the cotangents of z of batch rows from `row` on.
    #[inline(always)]
    fn z_bars(&self, row: usize, head: usize) -> Along<'a> {
        Along { rows: &self.t[row * self.at.d() + head * self.at.width..], stride: self.at.d() }
    }

    /// Replaces the scores of a band by weights, and `others` by what `f` makes of (the other, the weight, the slope of
    /// the soft-cap).
    #[inline(always)]
    fn weigh(&self, [scores, others]: [&mut [f32]; 2], band: Band, lse: f32, f: impl Fn(f32, f32, f32) -> f32) {
        for chunk in band.chunks() {
            let scores = &mut scores.as_chunks_mut::<LANES>().0[chunk];
            let others = &mut others.as_chunks_mut::<LANES>().0[chunk];
            let mut slopes = [1.0; LANES];
            for s in scores.iter_mut() {
                *s *= self.p.scale;
            }
            if self.cap.is_some() {
                for (s, slope) in scores.iter_mut().zip(&mut slopes) {
                    [*s, *slope, _] = capped(*s, self.cap);
                }
            }
            for ((s, other), slope) in scores.iter_mut().zip(others).zip(slopes) {
                *s = exp(*s - lse);
                *other = f(*other, *s, slope);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Jvp<'a>(Shared<'a>);

pub(super) fn jvp(bound: Bound<'_>) {
    let (p, frozen, cap) = (params::<Params>(&bound), bound.flag("FROZEN"), cap_of(&bound));
    let buffers = shader::jvp::Bindings::of(bound.slices());
    let shader::jvp::Bindings { rows, qkv, z_saved: residuals, lse_saved: lse, qkv_dot: t, z_dot } = buffers;
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let all = blocks(as_u32(rows), 0..z_dot.len() / at.d(), at.heads);
    let z_dot = parts(z_dot.chunks_mut(at.d()), &all, [at.heads, at.width]);
    let none = z_dot.iter().map(|_| Vec::new()).collect();
    each(Jvp(Shared { at, p, qkv, residuals, lse, t, frozen, cap }), (&all, at.heads), [z_dot, none]);
}

impl WithSimd for Item<'_, '_, Jvp<'_>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { args: Jvp(args), block, head, .. } = self;
        let Shared { at, p: Params { scale, window, .. }, qkv, residuals: z, lse, t: qkv_dot, frozen, .. } = args;
        let (kv, rows, width, wide) = (head / at.share(), block.rows, at.width, padded(at.width));
        let (columns, of_keys, scores) = (width * BLOCK, BLOCK * wide, ROWS * BLOCK);
        let sizes = [columns, of_keys, columns, of_keys, scores, scores, ROWS * wide];
        let [keys, values, k_dots, v_dots, weights, shifts, sums] = self.scratch.blocks(sizes);
        sums[..rows * wide].fill(0.0);
        let mut drifts = [0.0; ROWS];
        let tokens = block.tokens();
        let query_row = block.base(tokens.start);
        let queries = args.queries(query_row, head);
        let q_dots = Along { rows: &qkv_dot[block.row * at.row() + head * width..], stride: at.row() };
        for (first, count) in block.keys(window) {
            // Keys before the sequence's own have no tangent: only their weights do, unless these are frozen.
            let own = block.start().clamp(first, first + count) - first;
            if frozen && own == count {
                continue;
            }
            let seen = block.keys_of_rows(window, (first, count));
            let bands = &seen[..rows];
            let mut own_bands = seen;
            for band in &mut own_bands {
                *band = band.since(own);
            }
            let own_bands = &own_bands[..rows];
            fetch(block.next_keys((first, count)), |t| at.key_and_value(qkv, block.base(t), kv));
            let key = |j: usize| at.key(qkv, block.base(first + j), kv);
            let of_keys = Right::new((count, 0..count), width, key, keys);
            of_keys.scores(simd, bands, queries, (weights, BLOCK), false);
            if !frozen {
                of_keys.scores(simd, bands, q_dots, (shifts, BLOCK), false);
                if own < count {
                    let k_dot = |j: usize| at.key(qkv_dot, block.own(first + j), kv);
                    let of_k_dots = Right::new((count, own..count), width, k_dot, k_dots);
                    of_k_dots.scores(simd, own_bands, queries, (shifts, BLOCK), true);
                }
            }
            for (i, (weights, shifts)) in weights.chunks_mut(BLOCK).zip(shifts.chunks_mut(BLOCK)).take(rows).enumerate()
            {
                let lse = lse[(query_row + i) * at.heads + head];
                args.weigh([weights, shifts], bands[i], lse, |s_dot, w, slope| w * scale * slope * s_dot);
                drifts[i] += over_band(shifts, bands[i], 0.0, |a, b| a + b);
            }
            if own < count {
                pack(own..count, |j| at.value(qkv_dot, block.own(first + j), kv), v_dots);
                let a = Along { rows: weights, stride: BLOCK };
                simd.vectorize(Sums { bands: own_bands, a, b: v_dots, c: sums, stride: wide });
            }
            if !frozen {
                pack(0..count, |j| at.value(qkv, block.base(first + j), kv), values);
                let a = Along { rows: shifts, stride: BLOCK };
                simd.vectorize(Sums { bands, a, b: values, c: sums, stride: wide });
            }
        }
        let [z_dot, _] = self.y;
        for (i, (z_dot, sums)) in z_dot.into_iter().zip(sums.chunks(wide)).enumerate() {
            let drift = if frozen { 0.0 } else { drifts[i] };
            for ((z_dot, sum), z) in z_dot.iter_mut().zip(sums).zip(at.head(z, query_row + i, head)) {
                *z_dot = sum - drift * z;
            }
        }
    }
}

#[derive(Clone, Copy)]
struct VjpQ<'a>(Shared<'a>);

pub(super) fn vjp_q(bound: Bound<'_>) {
    let (p, frozen, cap) = (params::<Params>(&bound), bound.flag("FROZEN"), cap_of(&bound));
    let buffers = shader::vjp_q::Bindings::of(bound.slices());
    let shader::vjp_q::Bindings { rows, qkv, z_saved: residuals, lse_saved: lse, z_bar: t, qkv_bar: bar, mean } =
        buffers;
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let first = p.first as usize;
    let all = blocks(as_u32(rows), first..bar.len() / at.row(), at.heads);
    let q_bars = bar.chunks_mut(at.row()).skip(first).map(|row| &mut row[..at.d()]);
    let q_bars = parts(q_bars, &all, [at.heads, at.width]);
    let means = parts(mean.chunks_mut(at.heads).skip(first), &all, [at.heads, 1]);
    each(VjpQ(Shared { at, p, qkv, residuals, lse, t, frozen, cap }), (&all, at.heads), [q_bars, means]);
}

impl WithSimd for Item<'_, '_, VjpQ<'_>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { args: VjpQ(args), block, head, .. } = self;
        let Shared { at, p: Params { window, .. }, qkv, residuals: z, lse, t: z_bar, .. } = args;
        let (kv, rows, width, wide) = (head / at.share(), block.rows, at.width, padded(at.width));
        let sizes = [width * BLOCK, width * BLOCK, BLOCK * wide, ROWS * BLOCK, ROWS * BLOCK, ROWS * wide];
        let [keys, values, key_rows, weights, ds, sums] = self.scratch.blocks(sizes);
        sums[..rows * wide].fill(0.0);
        let query_row = block.base(block.tokens().start);
        let [q_bars, mut means] = self.y;
        for (i, mean) in means.iter_mut().enumerate() {
            // Where attention reads one key, z is its value, and the mean has the bits of dp: their difference is 0.
            mean[0] = score(simd, at.head(z_bar, block.row + i, head), at.head(z, query_row + i, head));
        }
        for (first, count) in block.keys(window) {
            let key = |j: usize| at.key(qkv, block.base(first + j), kv);
            let of_keys = Right::new((count, 0..count), width, key, keys);
            let value = |j: usize| at.value(qkv, block.base(first + j), kv);
            let of_values = Right::new((count, 0..count), width, value, values);
            fetch(block.next_keys((first, count)), |t| at.key_and_value(qkv, block.base(t), kv));
            pack(0..count, key, key_rows);
            let bands = &block.keys_of_rows(window, (first, count))[..rows];
            of_keys.scores(simd, bands, args.queries(query_row, head), (weights, BLOCK), false);
            of_values.scores(simd, bands, args.z_bars(block.row, head), (ds, BLOCK), false);
            for (i, (weights, ds)) in weights.chunks_mut(BLOCK).zip(ds.chunks_mut(BLOCK)).take(rows).enumerate() {
                let (lse, mean) = (lse[(query_row + i) * at.heads + head], means[i][0]);
                let scale = args.scale_of(block.tokens().start + i);
                args.weigh([weights, ds], bands[i], lse, |dp, w, slope| scale * (w * slope * (dp - mean)));
            }
            let a = Along { rows: ds, stride: BLOCK };
            simd.vectorize(Sums { bands, a, b: key_rows, c: sums, stride: wide });
        }
        put(q_bars, sums, wide);
    }
}

/// Writes the rows of a block `[rows, stride]`.
fn put(rows: Vec<&mut [f32]>, block: &[f32], stride: usize) {
    rows.into_iter().zip(block.chunks(stride)).for_each(|(row, block)| row.copy_from_slice(&block[..row.len()]));
}

#[derive(Clone, Copy)]
struct VjpKv<'a>(Shared<'a>);

pub(super) fn vjp_kv(bound: Bound<'_>) {
    let (p, frozen, cap) = (params::<Params>(&bound), bound.flag("FROZEN"), cap_of(&bound));
    let buffers = shader::vjp_kv::Bindings::of(bound.slices());
    let shader::vjp_kv::Bindings { rows, qkv, mean_saved: residuals, lse_saved: lse, z_bar: t, qkv_bar: bar } = buffers;
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let first = p.first as usize;
    let all = blocks(as_u32(rows), first..bar.len() / at.row(), at.kv_heads);
    if frozen {
        bar.par_chunks_mut(at.row()).skip(first).for_each(|row| row[..at.d()].fill(0.0));
    }
    let of_keys = bar.chunks_mut(at.row()).skip(first).map(|row| row[at.d()..].split_at_mut(at.kv_d()));
    let (k_bars, v_bars): (Vec<_>, Vec<_>) = of_keys.unzip();
    let of_heads = [k_bars, v_bars].map(|bars| parts(bars.into_iter(), &all, [at.kv_heads, at.width]));
    each(VjpKv(Shared { at, p, qkv, residuals, lse, t, frozen, cap }), (&all, at.kv_heads), of_heads);
}

impl WithSimd for Item<'_, '_, VjpKv<'_>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { args: VjpKv(args), block, head: kv, .. } = self;
        let Shared { at, p: Params { window, .. }, qkv, residuals: mean, lse, t: z_bar, frozen, .. } = args;
        let (rows, width, wide) = (block.rows, at.width, padded(at.width));
        let (columns, of_queries, scores, of_rows) = (width * ROWS, BLOCK * wide, BLOCK * ROWS, ROWS * wide);
        let sizes = [columns, columns, of_queries, of_queries, scores, scores, of_rows, of_rows];
        let [keys, values, queries, z_bars, weights, ds, k_sums, v_sums] = self.scratch.blocks(sizes);
        k_sums[..rows * wide].fill(0.0);
        v_sums[..rows * wide].fill(0.0);
        let Range { start, .. } = block.tokens();
        let key = |j: usize| at.key(qkv, block.base(start + j), kv);
        let value = |j: usize| at.value(qkv, block.base(start + j), kv);
        let of_keys = Right::new((rows, 0..rows), width, key, keys);
        let of_values = Right::new((rows, 0..rows), width, value, values);
        for head in kv * at.share()..(kv + 1) * at.share() {
            for (first, count) in block.queries(window) {
                fetch(block.next_queries(window, (first, count)), |t| {
                    [at.query(qkv, block.base(t), head), at.head(z_bar, block.own(t), head)]
                });
                pack(0..count, |i| at.query(qkv, block.base(first + i), head), queries);
                pack(0..count, |i| at.head(z_bar, block.own(first + i), head), z_bars);
                let bands = &block.rows_of_queries(window, (first, count))[..count];
                of_keys.scores(simd, bands, args.queries(block.base(first), head), (weights, ROWS), false);
                if !frozen {
                    of_values.scores(simd, bands, args.z_bars(block.own(first), head), (ds, ROWS), false);
                }
                for (i, (weights, ds)) in weights.chunks_mut(ROWS).zip(ds.chunks_mut(ROWS)).take(count).enumerate() {
                    let lse = lse[block.base(first + i) * at.heads + head];
                    let mean = if frozen { 0.0 } else { mean[block.own(first + i) * at.heads + head] };
                    let scale = args.scale_of(first + i);
                    args.weigh([weights, ds], bands[i], lse, |dp, w, slope| scale * (w * slope * (dp - mean)));
                }
                let bands = &block.queries_of_rows(window, (first, count))[..rows];
                simd.vectorize(Sums { bands, a: Across(weights), b: z_bars, c: v_sums, stride: wide });
                if !frozen {
                    simd.vectorize(Sums { bands, a: Across(ds), b: queries, c: k_sums, stride: wide });
                }
            }
        }
        let [k_bars, v_bars] = self.y;
        put(k_bars, k_sums, wide);
        put(v_bars, v_sums, wide);
    }
}
