//! Host body of attention's primal: softmax over blocks of keys, for one head of a block of rows at a time.

use pulp::{Simd, WithSimd};
use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::attention::{self as shader, Params};

use super::blocks::{BLOCK, Band, LANES, ROWS, fetch, over_band, pack, padded};
use super::items::{Item, blocks, each, parts};
use super::scores::Right;
use super::tile::{Along, Sums};
use super::{Layout, capped};
use crate::arguments::params;
use crate::host::exp;

/// Inputs of the primal.
#[derive(Clone, Copy)]
struct Primal<'a> {
    at: Layout,
    p: Params,
    cap: Option<f32>,
    qkv: &'a [f32],
    base: &'a [f32],
}

/// Returns the soft-cap of a launch, if it has one.
pub(super) fn cap_of(bound: &Bound<'_>) -> Option<f32> {
    bound.flag("CAPPED").then(|| params::<Params>(bound).cap)
}

pub(super) fn primal(bound: Bound<'_>) {
    let (p, cap) = (params::<Params>(&bound), cap_of(&bound));
    let shader::primal::Bindings { rows, qkv, base, z, lse } = shader::primal::Bindings::of(bound.slices());
    let at = Layout::new([p.heads, p.kv_heads, p.d_head]);
    let all = blocks(as_u32(rows), 0..z.len() / at.d(), at.heads);
    let z = parts(z.chunks_mut(at.d()), &all, [at.heads, at.width]);
    let lse = parts(lse.chunks_mut(at.heads), &all, [at.heads, 1]);
    each(Primal { at, p, cap, qkv, base }, (&all, at.heads), [z, lse]);
}

impl WithSimd for Item<'_, '_, Primal<'_>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { args: Primal { at, p: Params { scale, window, .. }, cap, qkv, base }, block, head, .. } = self;
        let (kv, rows, wide) = (head / at.share(), block.rows, padded(at.width));
        let sizes = [at.width * BLOCK, BLOCK * wide, ROWS * BLOCK, ROWS * wide];
        let [keys, values, weights, sums] = self.scratch.blocks(sizes);
        sums[..rows * wide].fill(0.0);
        // For each row the largest score so far, and the sum of exponentials of scores relative to it.
        let mut running = [[f32::MIN, 0.0]; ROWS];
        // Key and value of a token: from the sequence if it owns the token, else from the base run.
        let of = |t: usize| match t >= block.start() {
            true => (qkv, block.own(t)),
            false => (base, block.base(t)),
        };
        let queries = Along { rows: &qkv[block.row * at.row() + head * at.width..], stride: at.row() };
        for (first, count) in block.keys(window) {
            let key = |j: usize| at.key(of(first + j).0, of(first + j).1, kv);
            let of_keys = Right::new((count, 0..count), at.width, key, keys);
            pack(0..count, |j| at.value(of(first + j).0, of(first + j).1, kv), values);
            fetch(block.next_keys((first, count)), |t| at.key_and_value(of(t).0, of(t).1, kv));
            let bands = &block.keys_of_rows(window, (first, count))[..rows];
            of_keys.scores(simd, bands, queries, (weights, BLOCK), false);
            let of_rows = weights.chunks_mut(BLOCK).zip(sums.chunks_mut(wide)).zip(&mut running);
            for ((scores, sums), ([top, total], &band)) in of_rows.zip(bands).map(|((a, r), band)| (a, (r, band))) {
                if band.is_empty() {
                    continue;
                }
                let higher = top.max(cap_scores(scores, band, scale, cap));
                if higher > *top {
                    let fade = exp(*top - higher);
                    for sum in sums {
                        *sum *= fade;
                    }
                    (*top, *total) = (higher, *total * fade);
                }
                *total += exponentials(scores, band, *top);
            }
            let a = Along { rows: weights, stride: BLOCK };
            simd.vectorize(Sums { bands, a, b: values, c: sums, stride: wide });
        }
        let [z, lse] = self.y;
        for (((z, lse), sums), [top, total]) in z.into_iter().zip(lse).zip(sums.chunks(wide)).zip(running) {
            for (z, sum) in z.iter_mut().zip(sums) {
                *z = sum / total;
            }
            lse[0] = top + total.ln();
        }
    }
}

/// Scales and caps the scores of a band, and returns the largest one.
#[inline(always)]
fn cap_scores(scores: &mut [f32], band: Band, scale: f32, cap: Option<f32>) -> f32 {
    for scores in &mut scores.as_chunks_mut::<LANES>().0[band.chunks()] {
        for s in scores.iter_mut() {
            *s *= scale;
        }
        if cap.is_some() {
            for s in scores.iter_mut() {
                *s = capped(*s, cap)[0];
            }
        }
    }
    over_band(scores, band, f32::MIN, |a, b| if b > a { b } else { a })
}

/// Replaces the scores of a band by their exponentials relative to `top`, and returns the sum of these.
#[inline(always)]
fn exponentials(scores: &mut [f32], band: Band, top: f32) -> f32 {
    for scores in &mut scores.as_chunks_mut::<LANES>().0[band.chunks()] {
        for s in scores {
            *s = exp(*s - top);
        }
    }
    over_band(scores, band, 0.0, |a, b| a + b)
}
