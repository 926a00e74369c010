//! Identities of queries and keys.
//!
//! With weights P, values v and `b_ij = <dJ/dz_i, v_j>`, the derivative by the score of query i and key j is `P_ij
//! (b_ij - <b>_i)`. Near P = 1 the difference cancels, so the size of a term is `scale P_ij (|b_ij| + |<b>_i|)` times
//! the vectors that it multiplies: `|q_i|` for keys, `|q_i| |k_j|` for the gauge.

use resolvent_model::{Mode, Observable, Run, Site};

use super::read;
use super::stream::sizes_of;
use crate::certificate::{dot, norm, worse};
use crate::conditioning::{HeadSite, read_by};
use crate::error::Result;

/// What attention reads, and the derivatives by it.
pub(super) struct Heads {
    heads: Vec<Head>,
}

/// A key head of a block, with the query heads that read it. Rows are `[T, d_head]`.
struct Head {
    /// Values and derivatives of the queries of each query head.
    q: Vec<[Vec<f32>; 2]>,
    k: [Vec<f32>; 2],
    /// The sizes of the terms of the sums of keys and of the gauge.
    sizes: [f64; 2],
    width: usize,
}

impl Heads {
    pub(super) fn read(run: &Run, observable: &Observable, mode: Mode) -> Result<Self> {
        let (sizes, model, tokens) = (*run.model().sizes(), run.model().architecture(), run.tokens().len());
        let (share, width) = (sizes.heads / sizes.kv_heads, sizes.d_head);
        let mut heads = Vec::with_capacity(sizes.layers * sizes.kv_heads);
        let of_block = |l: usize| {
            let (q, k) = read_by(model, l);
            let queries = (0..sizes.heads).flat_map(move |h| [q(l, h), Site::Z(l, h)]);
            queries.chain((0..sizes.kv_heads).flat_map(move |h| [k(l, h), Site::V(l, h)]))
        };
        let sites: Vec<Site> = (0..sizes.layers).flat_map(of_block).collect();
        let [values, bars] = read(run, observable, mode, &sites)?;
        let per_block = 2 * (sizes.heads + sizes.kv_heads);
        for l in 0..sizes.layers {
            let pattern = run.pattern(l)?;
            for kv in 0..sizes.kv_heads {
                let key = per_block * l + 2 * (sizes.heads + kv);
                let of = |at: usize| [values[at].clone(), bars[at].clone()];
                let (mut q, mut terms) = (Vec::with_capacity(share), [0.0, 0.0]);
                for h in kv * share..(kv + 1) * share {
                    let query = per_block * l + 2 * h;
                    q.push(of(query));
                    let rows = |rows: &'_ [f32], t: usize| -> Vec<f32> { rows[t * width..(t + 1) * width].to_vec() };
                    for i in 0..tokens {
                        let weights = &pattern[(h * tokens + i) * tokens..][..=i];
                        let z_bar = rows(&bars[query + 1], i);
                        let reads: Vec<f64> = (0..=i).map(|j| sizes_of(&z_bar, &rows(&values[key + 1], j))).collect();
                        let mean: f64 = weights.iter().zip(&reads).map(|(p, b)| f64::from(*p) * b).sum();
                        let size = norm(&rows(&values[query], i)) * model.attention_scale(l);
                        for (j, (p, b)) in weights.iter().zip(reads).enumerate() {
                            let term = f64::from(*p) * (b + mean) * size;
                            terms[0] += term;
                            terms[1] += term * norm(&rows(&values[key], j));
                        }
                    }
                }
                heads.push(Head { q, k: of(key), sizes: terms, width });
            }
        }
        Ok(Self { heads })
    }
}

/// Returns the largest `|sum_t dJ/dk[t]|` over the size of its terms.
pub(super) fn keys(heads: &Heads) -> f64 {
    heads.heads.iter().fold(0.0, |most, head| {
        let mut sum = vec![0.0f64; head.width];
        for row in head.k[1].chunks(head.width) {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        worse(most, length(&sum) / head.sizes[0].max(f64::MIN_POSITIVE))
    })
}

/// Returns the largest `|sum_t q (x) dJ/dq - sum_t dJ/dk (x) k|` over the size of its terms.
pub(super) fn gauge(heads: &Heads) -> f64 {
    heads.heads.iter().fold(0.0, |most, head| {
        let n = head.width;
        let mut sum = vec![0.0f64; n * n];
        let mut add = |sign: f64, left: &[f32], right: &[f32]| {
            for (left, right) in left.chunks(n).zip(right.chunks(n)) {
                for (sums, a) in sum.chunks_mut(n).zip(left) {
                    sums.iter_mut().zip(right).for_each(|(sum, b)| *sum += sign * f64::from(*a) * f64::from(*b));
                }
            }
        };
        head.q.iter().for_each(|[q, q_bar]| add(1.0, q, q_bar));
        let [k, k_bar] = &head.k;
        add(-1.0, k_bar, k);
        worse(most, length(&sum) / head.sizes[1].max(f64::MIN_POSITIVE))
    })
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Queries and keys around their norm: the rows that one norm spans, `[T, width]`.
pub(super) struct Normed {
    spans: Vec<Span>,
    eps: f64,
}

/// Values and derivatives before the norm, and after it and the rotation.
struct Span {
    before: [Vec<f32>; 2],
    after: [Vec<f32>; 2],
    width: usize,
}

impl Normed {
    pub(super) fn read(run: &Run, observable: &Observable, mode: Mode) -> Result<Self> {
        let (sizes, model, tokens) = (*run.model().sizes(), run.model().architecture(), run.tokens().len());
        let width = sizes.d_head;
        let mut spans = Vec::new();
        for l in 0..sizes.layers {
            let kinds: [(HeadSite, HeadSite, usize); 2] =
                [(Site::Q, Site::RotQ, sizes.heads), (Site::K, Site::RotK, sizes.kv_heads)];
            for (before, after, heads) in kinds {
                let sites: Vec<Site> =
                    (0..heads).map(|h| before(l, h)).chain((0..heads).map(|h| after(l, h))).collect();
                let both = read(run, observable, mode, &sites)?;
                // A norm of whole queries spans all heads side by side.
                let step = if model.norms_heads_apart() { 1 } else { heads };
                for first in (0..heads).step_by(step) {
                    let rows = |offset: usize| {
                        [0, 1].map(|of: usize| {
                            (0..tokens)
                                .flat_map(|t| (first..first + step).map(move |h| (t, h)))
                                .flat_map(|(t, h)| both[of][offset + h][t * width..(t + 1) * width].iter().copied())
                                .collect::<Vec<f32>>()
                        })
                    };
                    spans.push(Span { before: rows(0), after: rows(heads), width: step * width });
                }
            }
        }
        Ok(Self { spans, eps: model.eps() })
    }
}

/// Returns the largest `|<q, dJ/dq> - c <rot_q, dJ/drot_q>|` over the sizes of these terms, also of keys.
///
/// The rotation is orthogonal up to a factor, which the product of value and derivative does not have.
pub(super) fn qk_scale(normed: &Normed) -> f64 {
    let mut figure = 0.0;
    for Span { before: [x, x_bar], after: [y, y_bar], width } in &normed.spans {
        let rows = x.chunks(*width).zip(x_bar.chunks(*width)).zip(y.chunks(*width).zip(y_bar.chunks(*width)));
        for ((x, x_bar), (y, y_bar)) in rows {
            let left = normed.eps / (dot(x, x) / *width as f64 + normed.eps);
            let size = sizes_of(x, x_bar) + sizes_of(y, y_bar);
            figure = worse(figure, (dot(x, x_bar) - left * dot(y, y_bar)).abs() / size.max(f64::MIN_POSITIVE));
        }
    }
    figure
}

#[cfg(test)]
mod tests {
    use resolvent_engine::Device;
    use resolvent_model::{Model, RandomWeights, tiny};

    use super::*;

    /// One derivative by a key or a query that is wrong breaks its identity.
    #[test]
    fn wrong_derivatives_fail() {
        let model = Model::random(&Device::host(), tiny(), RandomWeights::new(7).with_std(0.15)).expect("opens");
        let run = model.run(&[3, 1, 4, 1, 5], &[]).expect("runs");
        let heads = || Heads::read(&run, &Observable::logit_diff(2, 6, 4), Mode::Exact).expect("reads");
        let bound = super::super::DEVIATIONS * crate::noise::unit(model.sizes());
        assert!(keys(&heads()) < bound && gauge(&heads()) < bound, "{} {}", keys(&heads()), gauge(&heads()));
        for n in 0..heads().heads.len() {
            let mut wrong = heads();
            wrong.heads[n].k[1].iter_mut().for_each(|x| *x *= 1.01);
            wrong.heads[n].k[1][0] *= 1.5;
            assert!(keys(&wrong) > bound && gauge(&wrong) > bound, "{n}: {} {}", keys(&wrong), gauge(&wrong));
            let mut wrong = heads();
            wrong.heads[n].q[0][1].iter_mut().for_each(|x| *x *= 1.01);
            assert!(gauge(&wrong) > bound, "{n}: {}", gauge(&wrong));
        }
    }
}
