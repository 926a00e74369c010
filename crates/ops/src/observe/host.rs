//! Host bodies of observe's kernels.

use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::observe::{self as shader, Params};

use super::{NONE, SPAN};
use crate::arguments::params;
use crate::host::{each_row, each_row_simd, each_two_rows_simd, exp, row_body, sum, two_rows_body};

/// The entries of a row that the `i`-th part of all rows covers: its row, and their range within the row.
fn part(p: Params, i: usize) -> (usize, std::ops::Range<usize>) {
    let (vocab, parts) = (p.vocab as usize, p.parts as usize);
    let first = i % parts * SPAN;
    (i / parts, first..vocab.min(first + SPAN))
}

/// What a body reads: the params, and the buffers `B`.
#[derive(Clone, Copy)]
struct Inputs<B> {
    p: Params,
    buffers: B,
}

fn most(x: &[f32]) -> f32 {
    x.iter().copied().fold(x[0], f32::max)
}

pub(super) fn peaks(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::peaks::Bindings::of(bound.slices());
    let inputs = Inputs { p, buffers: buffers.reads() };
    each_row_simd::<PeakRow>(buffers.peak_parts, 4, inputs);
}

row_body!(PeakRow<'a>(Inputs<shader::peaks::Bindings<&'a [f32], ()>>) = peak_row);

#[inline(always)]
fn peak_row(Inputs { p, buffers }: Inputs<shader::peaks::Bindings<&[f32], ()>>, i: usize, out: &mut [f32]) {
    let logits = buffers.logits;
    let (row, span) = part(p, i);
    let x = &logits[row * p.vocab as usize..][span];
    let m = most(x);
    let count = sum([x], |[x]| if x == m { 1.0 } else { 0.0 });
    let others = sum([x], |[x]| if x == m { 0.0 } else { exp(x - m) });
    out.copy_from_slice(&[m, count, others, 0.0]);
}

pub(super) fn totals(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::totals::Bindings { peak, total } = shader::totals::Bindings::of(bound.slices());
    let parts = p.parts as usize;
    each_row(total, 2, |row, out| {
        let mine = &peak[4 * row * parts..][..4 * parts];
        let m = mine.chunks(4).map(|part| part[0]).fold(mine[0], f32::max);
        let (mut count, mut others) = (0.0, 0.0);
        for part in mine.chunks(4) {
            if part[0] == m {
                count += part[1];
                others += part[2];
            } else {
                others += (part[1] + part[2]) * exp(part[0] - m);
            }
        }
        let rest: f32 = (count - 1.0) + others;
        out.copy_from_slice(&[m, f64::from(rest).ln_1p() as f32]);
    });
}

pub(super) fn pick(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::pick::Bindings { logits, ids, picked } = shader::pick::Bindings::of(bound.slices());
    each_row(picked, p.wanted as usize, |row, out| {
        for (out, id) in out.iter_mut().zip(as_u32(ids)) {
            *out = logits[row * p.vocab as usize + *id as usize];
        }
    });
}

pub(super) fn normalise(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::normalise::Bindings::of(bound.slices());
    let shader::normalise::Bindings { logits, totals_in: totals, log_p_out: log_p } = buffers;
    let vocab = p.vocab as usize;
    each_row(log_p, vocab, |row, out| {
        let (m, log_sum) = (totals[2 * row], totals[2 * row + 1]);
        for (out, l) in out.iter_mut().zip(&logits[row * vocab..]) {
            *out = (l - m) - log_sum;
        }
    });
}

/// `exp(x) - 1` for x <= 0, as in the shader.
#[inline(always)]
fn exp_m1(x: f32) -> f32 {
    const SERIES: [f32; 6] = [1.388_888_9e-3, 8.333_333e-3, 4.166_666_7e-2, 1.666_666_7e-1, 0.5, 1.0];
    let near = x * SERIES.iter().fold(0.0, |s, c| s * x + c);
    if x > -0.25 { near } else { exp(x) - 1.0 }
}

/// A term of KL(x || y) + sum y - sum x, as in the shader.
#[inline(always)]
fn divergence(log_x: f32, log_y: f32) -> f32 {
    const SERIES: [f32; 10] = [
        -2.505_210_8e-8,
        2.755_732e-7,
        -2.755_731_9e-6,
        2.480_158_7e-5,
        -1.984_127e-4,
        1.388_888_9e-3,
        -8.333_333e-3,
        4.166_666_7e-2,
        -1.666_666_7e-1,
        0.5,
    ];
    let (d, x) = (log_x - log_y, exp(log_x));
    let near = x * d * d * SERIES.iter().fold(0.0, |s, c| s * d + c);
    let far = x * (d - 1.0) + exp(log_y);
    if d.abs() < 1.0 { near } else { far }
}

/// The row of `rows` that `place` names, or nothing.
#[inline(always)]
fn row_of(rows: &[f32], place: u32, vocab: usize) -> Option<&[f32]> {
    (place != NONE).then(|| &rows[place as usize * vocab..][..vocab])
}

pub(super) fn moments(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::moments::Bindings::of(bound.slices());
    let inputs = Inputs { p, buffers: buffers.reads() };
    each_row_simd::<MomentRow>(buffers.moment_parts, 4, inputs);
}

row_body!(MomentRow<'a>(Inputs<shader::moments::Bindings<&'a [f32], ()>>) = moment_row);

#[inline(always)]
fn moment_row(Inputs { p, buffers }: Inputs<shader::moments::Bindings<&[f32], ()>>, i: usize, out: &mut [f32]) {
    let shader::moments::Bindings { log_p, log_b, u, coefficients, sources, .. } = buffers;
    let ((row, span), vocab) = (part(p, i), p.vocab as usize);
    let (own, e) = (&log_p[row * vocab..][span.clone()], coefficients[4 * row + 1]);
    let [base, set] = [0, 1].map(|slot| as_u32(sources)[4 * row + slot]);
    out[0] = match row_of(u, set, vocab) {
        Some(u) => sum([own, &u[span.clone()]], |[l, u]| exp(l) * (e * l + u)),
        None if e == 0.0 => 0.0,
        None => sum([own], |[l]| exp(l) * (e * l)),
    };
    let base = row_of(log_b, base, vocab).map(|base| &base[span]);
    out[1] = base.map_or(0.0, |base| sum([own, base], |[l, b]| divergence(l, b)));
    out[2] = base.map_or(0.0, |base| sum([own, base], |[l, b]| divergence(b, l)));
    out[3] = 0.0;
}

pub(super) fn fold(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::fold::Bindings { part, folded } = shader::fold::Bindings::of(bound.slices());
    let n = 4 * p.parts as usize;
    each_row(folded, 4, |row, out| {
        for (column, out) in out.iter_mut().enumerate() {
            *out = part[row * n..][..n].chunks(4).map(|part| part[column]).sum();
        }
    });
}

pub(super) fn slope(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::slope::Bindings::of(bound.slices());
    let (inputs, vocab) = (Inputs { p, buffers: buffers.reads() }, p.vocab as usize);
    each_two_rows_simd::<SlopeRow>([buffers.slopes, buffers.g_out], [vocab, vocab], inputs);
}

two_rows_body!(SlopeRow<'a>(Inputs<shader::slope::Bindings<&'a [f32], ()>>) = slope_row);

#[inline(always)]
fn slope_row(
    Inputs { p, buffers }: Inputs<shader::slope::Bindings<&[f32], ()>>,
    row: usize,
    [slopes, g]: [&mut [f32]; 2],
) {
    let shader::slope::Bindings { log_p, log_b, u, coefficients, sources, moments_in: moments, .. } = buffers;
    let vocab = p.vocab as usize;
    let own = &log_p[row * vocab..][..vocab];
    let [z, e, k, f] = [0, 1, 2, 3].map(|i| coefficients[4 * row + i]);
    let mean = moments[4 * row] + k * moments[4 * row + 1];
    let [base, set, targets] = [0, 1, 2].map(|slot| as_u32(sources)[4 * row + slot]);
    for (g, l) in g.iter_mut().zip(own) {
        *g = e * l - mean;
    }
    if let Some(u) = row_of(u, set, vocab) {
        g.iter_mut().zip(u).for_each(|(g, u)| *g += u);
    }
    let base = row_of(log_b, base, vocab);
    if let Some(base) = base {
        for ((g, l), b) in g.iter_mut().zip(own).zip(base) {
            *g += k * (l - b);
        }
    }
    for ((slope, g), l) in slopes.iter_mut().zip(&*g).zip(own) {
        *slope = exp(*l) * (z + g);
    }
    if let Some(weights) = row_of(u, targets, vocab) {
        for (((slope, g), l), y) in slopes.iter_mut().zip(&*g).zip(own).zip(weights) {
            *slope = exp(*l) * g - y * exp_m1(*l) + exp(*l) * (z + y);
        }
    }
    if let Some(base) = base {
        for ((slope, l), b) in slopes.iter_mut().zip(own).zip(base) {
            *slope += f * (exp(*l) - exp(*b));
        }
    }
}

pub(super) fn spread(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::spread::Bindings::of(bound.slices());
    let inputs = Inputs { p, buffers: buffers.reads() };
    each_row_simd::<SpreadRow>(buffers.spread_parts, 4, inputs);
}

row_body!(SpreadRow<'a>(Inputs<shader::spread::Bindings<&'a [f32], ()>>) = spread_row);

#[inline(always)]
fn spread_row(Inputs { p, buffers }: Inputs<shader::spread::Bindings<&[f32], ()>>, i: usize, out: &mut [f32]) {
    let shader::spread::Bindings { log_p, g, t, points, shift, .. } = buffers;
    let ((row, span), vocab) = (part(p, i), p.vocab as usize);
    let (point, shift) = (as_u32(points)[row] as usize, shift[4 * row]);
    let (own, g) = (&log_p[point * vocab..][span.clone()], &g[point * vocab..][span.clone()]);
    let t = &t[row * vocab..][span];
    out[0] = sum([own, t], |[l, t]| exp(l) * (t - shift));
    out[1] = sum([own, t], |[l, t]| exp(l) * (t - shift) * (t - shift));
    out[2] = sum([own, t, g], |[l, t, g]| exp(l) * (t - shift) * g);
    out[3] = sum([own, t, g], |[l, t, g]| exp(l) * (t - shift) * (t - shift) * g);
}

pub(super) fn turn(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::turn::Bindings::of(bound.slices());
    let inputs = Inputs { p, buffers: buffers.reads() };
    each_row_simd::<TurnRow>(buffers.turned, p.vocab as usize, inputs);
}

row_body!(TurnRow<'a>(Inputs<shader::turn::Bindings<&'a [f32], ()>>) = turn_row);

#[inline(always)]
fn turn_row(Inputs { p, buffers }: Inputs<shader::turn::Bindings<&[f32], ()>>, row: usize, out: &mut [f32]) {
    let shader::turn::Bindings { log_p, g, t, coefficients, points, shift, spreads, .. } = buffers;
    let (point, vocab) = (as_u32(points)[row] as usize, p.vocab as usize);
    let total: f32 = coefficients[4 * point..][..4].iter().sum();
    let (shift, covariance) = (shift[4 * row], spreads[4 * row + 2]);
    let each = log_p[point * vocab..].iter().zip(&g[point * vocab..]).zip(&t[row * vocab..]);
    for (out, ((l, g), t)) in out.iter_mut().zip(each) {
        *out = exp(*l) * ((t - shift) * (total + g) - covariance);
    }
}
