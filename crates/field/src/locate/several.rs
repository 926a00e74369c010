//! Several sources: each is located beside the others.
//!
//! What sources at known places explain is no longer evidence for another one. With the columns of A the responses to
//! unit sources at these places, times the square root of their prior variance,
//!
//! ```text
//! r ~ N(0, C + tau^2 G G^T),  C = A A^T + sigma^2 I,  A^T A = V diag(e) V^T
//! sigma^2 C^-1 = I - B B^T,  B = A V diag(e + sigma^2)^-1/2
//! ```
//!
//! So the evidence of a place beside them is that of `evidence.rs` with `G^T G - (G^T B)(G^T B)^T` for the gram matrix,
//! `G^T r - (G^T B)(B^T r)` for the products and `|r|^2 - |B^T r|^2` for the response. One more source is taken as long
//! as its evidence, over all places, exceeds that of its absence; then each earlier one is located again beside the
//! others.

use faer::Mat;
use rayon::prelude::*;
use resolvent_model::{Site, Source};

use crate::certificate::{Certificate, dot, narrow};
use crate::error::{Error, Result};

use super::checks::FORWARD;
use super::evidence::{Assumed, Evidence, decomposed, posterior};
use super::gram::{Gram, grams, levels_at_once};
use super::observed::Observed;

/// Directions of a place whose expected response is below this share of the noise are left out of A.
const NEGLIGIBLE: f64 = 1e-6;

/// How often all sources are located again after one more was taken, at most.
const ROUNDS: usize = 2;

/// Sources that explain a response together.
pub(super) struct Several {
    /// Index of the place of each, `level T + token`.
    pub(super) places: Vec<usize>,
    /// The most probable vector of each for the response of unit length, `[d]`.
    pub(super) vectors: Vec<Vec<f64>>,
    /// The posterior of each over all places, beside the others.
    pub(super) posteriors: Vec<Vec<f64>>,
    /// By how much the log evidence rose with each, in the order in which they were taken: over noise alone for the
    /// first.
    pub(super) gains: Vec<f64>,
    /// `|r - sum G s|^2` over what the noise is expected to leave.
    pub(super) misfit: f64,
    /// The rest by forward mode of all sources together, against that of the algebra.
    pub(super) reproduces: Certificate,
}

/// A source that was taken.
pub(super) struct Found {
    /// Index of the place, `level T + token`.
    pub(super) place: usize,
    /// Prior variance of its elements.
    pub(super) tau2: f64,
    /// `G^T G` of the place alone.
    pub(super) gram: Mat<f64>,
    /// Log evidence of every place beside the other sources.
    pub(super) scores: Vec<f64>,
}

impl Found {
    fn score(&self) -> f64 {
        self.scores[self.place]
    }
}

/// Finds up to `most` sources of a response of unit length. `first` is the one that explains it best alone.
///
/// # Errors
/// A device error, or numbers that are not finite.
pub(super) fn several(
    observed: &Observed<'_>,
    (response, assumed): (&[f32], Assumed),
    first: Found,
    most: usize,
) -> Result<Several> {
    let Assumed { count, sigma2, .. } = assumed;
    let noise = -0.5 * (count as f64 * (2.0 * std::f64::consts::PI * sigma2).ln() + 1.0 / sigma2);
    let (mut before, mut gains) = (first.score(), vec![mean(&first.scores) - noise]);
    let mut found = vec![first];
    while found.len() < most.min(observed.places().0 * observed.places().1) {
        let next = beside(observed, response, assumed, &found.iter().collect::<Vec<_>>())?;
        let gain = mean(&next.scores) - before;
        if gain <= 0.0 {
            break;
        }
        before = next.score();
        gains.push(gain);
        found.push(next);
        for round in 0..ROUNDS {
            let places: Vec<usize> = found.iter().map(|one| one.place).collect();
            // At first, the last one was located beside all others just now.
            for i in 0..places.len() - usize::from(round == 0) {
                let others: Vec<&Found> =
                    found.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, one)| one).collect();
                let again = beside(observed, response, assumed, &others)?;
                before = again.score();
                found[i] = again;
            }
            if found.iter().map(|one| one.place).eq(places) {
                break;
            }
        }
    }
    let known = Known::new(observed, &found.iter().collect::<Vec<_>>(), sigma2)?;
    let fit = known.fit(observed, response)?;
    Ok(Several {
        places: found.iter().map(|one| one.place).collect(),
        vectors: fit.vectors,
        posteriors: found.iter().map(|one| posterior(&one.scores)).collect(),
        gains,
        misfit: fit.rest / (sigma2 * (count as f64 - known.used())),
        reproduces: fit.reproduces,
    })
}

/// Returns the logarithm of the mean of numbers whose logarithms are given.
fn mean(scores: &[f64]) -> f64 {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + (scores.iter().map(|score| (score - most).exp()).sum::<f64>() / scores.len() as f64).ln()
}

/// Locates one more source beside `others`, at another place than theirs.
fn beside(observed: &Observed<'_>, response: &[f32], assumed: Assumed, others: &[&Found]) -> Result<Found> {
    let (levels, tokens) = observed.places();
    let known = Known::new(observed, others, assumed.sigma2)?;
    let along: Vec<f64> = known.b.iter().map(|b| dot(b, response)).collect();
    let explained: f64 = along.iter().map(|x| x * x).sum();
    // What the evidence of a place leaves out: the determinant of C, and what the others explain.
    let constant = 0.5 * (explained / assumed.sigma2 - known.log_det());
    let responses: Vec<Vec<f32>> = [response.to_vec()].into_iter().chain(known.b.iter().cloned()).collect();
    let (all, memory) = ((0..levels).collect::<Vec<usize>>(), observed.run().model().device().batch_bytes());
    let mut scores: Vec<f64> = Vec::with_capacity(levels * tokens);
    let mut best: Option<Found> = None;
    for part in all.chunks(levels_at_once(observed, responses.len(), memory)) {
        let grams = grams(observed, part, &responses)?;
        let evidence = |gram: &Gram| -> Result<(f64, f64)> {
            let left = left(gram, &along);
            let evidence = Evidence::new(left.decomposed()?, left.products.as_ref(), std::slice::from_ref(&assumed));
            Ok(evidence.of(0))
        };
        let found: Vec<(f64, f64)> = grams.par_iter().map(evidence).collect::<Result<_>>()?;
        for (gram, (score, tau2)) in grams.into_iter().zip(found) {
            let place = scores.len();
            let score = if others.iter().any(|one| one.place == place) { f64::NEG_INFINITY } else { score + constant };
            scores.push(score);
            if best.as_ref().is_none_or(|best| score > scores[best.place]) {
                best = Some(Found { place, tau2, gram: gram.gram(), scores: Vec::new() });
            }
        }
    }
    let best = best.ok_or_else(|| Error::Input("the field has no places; give a longer prompt".to_owned()))?;
    Ok(Found { scores, ..best })
}

/// Returns what is left of a gram matrix and of the product with the response, where the other products are with the
/// columns of B, and `along` is `B^T r`.
fn left(place: &Gram, along: &[f64]) -> Gram {
    let (products, n) = (&place.products, along.len());
    let (d, through) = (products.nrows(), products.subcols(1, n));
    let gram = place.gram() - through * through.transpose();
    let explained = through * Mat::from_fn(n, 1, |i, _| along[i]);
    Gram::new(gram, Mat::from_fn(d, 1, |i, _| products[(i, 0)] - explained[(i, 0)]))
}

/// Sources at known places, whose vectors are not known.
struct Known {
    /// Variance of the noise of each number.
    sigma2: f64,
    /// Unit sources of each place along the eigenvectors of its gram matrix, times the root of the prior variance.
    sources: Vec<Source>,
    /// How many of them each place has.
    counts: Vec<usize>,
    /// Their responses, `[n][M]`.
    a: Vec<Vec<f32>>,
    /// `e` and V of `A^T A`.
    values: Vec<f64>,
    vectors: Mat<f64>,
    /// `[n][M]`
    b: Vec<Vec<f32>>,
}

/// Vectors that explain a response.
struct Fit {
    vectors: Vec<Vec<f64>>,
    rest: f64,
    reproduces: Certificate,
}

impl Known {
    fn new(observed: &Observed<'_>, found: &[&Found], sigma2: f64) -> Result<Self> {
        let (tokens, sizes) = (observed.places().1, observed.run().model().sizes());
        let (mut sources, mut counts) = (Vec::new(), Vec::new());
        for Found { place, tau2, gram, .. } in found {
            let (values, vectors) = decomposed(gram.as_ref())?;
            let relevant: Vec<usize> = (0..values.len()).filter(|&j| tau2 * values[j] > NEGLIGIBLE * sigma2).collect();
            let vector = |j: usize| -> Vec<f32> { vectors.col(j).iter().map(|x| (tau2.sqrt() * x) as f32).collect() };
            let site = Site::level(place / tokens, sizes);
            counts.push(relevant.len());
            sources.extend(relevant.into_iter().map(|j| Source { site, token: place % tokens, vector: vector(j) }));
        }
        let alone: Vec<Vec<Source>> = sources.iter().map(|source| vec![source.clone()]).collect();
        let a = if alone.is_empty() { Vec::new() } else { observed.respond(&alone)? };
        let n = a.len();
        let products: Vec<f64> = (0..n * n).into_par_iter().map(|i| dot(&a[i / n], &a[i % n])).collect();
        let (values, vectors) = decomposed(Mat::from_fn(n, n, |i, j| products[i * n + j]).as_ref())?;
        let column = |k: usize| -> Vec<f32> {
            let share = (values[k] + sigma2).sqrt().recip();
            let mut sum = vec![0.0f64; observed.count()];
            for (j, a) in a.iter().enumerate() {
                let weight = share * vectors[(j, k)];
                sum.iter_mut().zip(a).for_each(|(sum, x)| *sum += weight * f64::from(*x));
            }
            narrow(&sum)
        };
        let b = (0..n).into_par_iter().map(column).collect();
        Ok(Self { sigma2, sources, counts, a, values, vectors, b })
    }

    /// Returns `log det (I + A^T A / sigma^2)`.
    fn log_det(&self) -> f64 {
        self.values.iter().map(|e| (e / self.sigma2).ln_1p()).sum()
    }

    /// Returns how many numbers of the response the sources use up.
    fn used(&self) -> f64 {
        self.values.iter().map(|e| e / (e + self.sigma2)).sum()
    }

    /// Returns the most probable vectors: `z = (A^T A + sigma^2 I)^-1 A^T r` of the unit sources.
    fn fit(&self, observed: &Observed<'_>, response: &[f32]) -> Result<Fit> {
        let n = self.a.len();
        let d = observed.width();
        let products: Vec<f64> = self.a.iter().map(|a| dot(a, response)).collect();
        let along = |k: usize| (0..n).map(|j| self.vectors[(j, k)] * products[j]).sum::<f64>();
        let scaled: Vec<f64> = (0..n).map(|k| along(k) / (self.values[k] + self.sigma2)).collect();
        let z: Vec<f64> = (0..n).map(|j| (0..n).map(|k| self.vectors[(j, k)] * scaled[k]).sum()).collect();
        let (mut vectors, mut at) = (Vec::new(), 0);
        for &count in &self.counts {
            let mut sum = vec![0.0f64; d];
            for (z, source) in z[at..at + count].iter().zip(&self.sources[at..]) {
                sum.iter_mut().zip(&source.vector).for_each(|(sum, x)| *sum += z * f64::from(*x));
            }
            vectors.push(sum);
            at += count;
        }
        let starts = self.counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count)));
        let together: Vec<Source> = starts
            .zip(&vectors)
            .filter_map(|(at, vector)| Some(Source { vector: narrow(vector), ..self.sources.get(at)?.clone() }))
            .collect();
        let got = observed.by_forward_mode(&[together])?.remove(0);
        let rest = response.iter().zip(&got).map(|(r, g)| (f64::from(*r) - f64::from(*g)).powi(2)).sum::<f64>();
        let said: f64 = 1.0 - 2.0 * z.iter().zip(&products).map(|(z, b)| z * b).sum::<f64>()
            + self.values.iter().zip(&scaled).map(|(e, w)| e * w * w).sum::<f64>();
        Ok(Fit { vectors, rest, reproduces: Certificate::new("together", (rest - said).abs(), FORWARD) })
    }
}
