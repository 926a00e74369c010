//! Source localisation: the place and the direction of an unknown source, from its response.
//!
//! The response r of a source s at place p is `G_p s` and noise. The posterior of p is its marginal likelihood, with s
//! integrated out; see the formulas in `evidence.rs`. The rows of all G_p are the sensitivities of what is observed, so
//! one backward pass for each observed number gives the gram matrices of all places.
//!
//! A place may be confused with others: a source at h\[l\] has the same response as its image at h\[l + 1\] where
//! attention moves little of it. Random sources at every place measure that.

mod checks;
mod draws;
mod evidence;
mod file;
mod gram;
mod observed;
mod several;

use faer::Mat;
use rayon::prelude::*;

use crate::certificate::{narrow, norm};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::place::Place;

use draws::{Draws, unit};
use evidence::{Assumed, Evidence, credible, posterior};
use gram::{Gram, grams, levels_at_once};
use several::Found;

pub use draws::with_noise;
pub use observed::Observed;

/// Options of [`locate`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocateOptions {
    /// Length of the noise over that of the response, above 0 and below 1.
    pub noise: f64,
    /// Expected length of the source. Without it, each place takes the one with the largest evidence.
    pub length: Option<f64>,
    /// Random sources at each place, which measure what can be told apart; 0 leaves that out.
    pub draws: usize,
    /// Posterior probability that the credible set reaches.
    pub share: f64,
    /// Seed of the random sources.
    pub seed: u64,
    /// Largest number of sources. One more is taken as long as the evidence of another one exceeds that of none.
    pub sources: usize,
}

impl Default for LocateOptions {
    fn default() -> Self {
        Self { noise: 0.01, length: None, draws: 4, share: 0.95, seed: 0, sources: 1 }
    }
}

/// Least noise. The rounding of f32 in the rows is of the size of a smaller one.
const LEAST_NOISE: f64 = 1e-4;

/// Infers the place and the direction of a source from its observed response `[M]`.
///
/// Arrays: `posterior [L+1, T]`; `score [L+1, T]`, the log evidence minus that of the best place; `best [K, 2]` and
/// `probability [K]`, the credible set, most probable first; `direction [d]`, the most probable source at the best
/// place. Unless `draws` is 0: `resolution [L+1, T, L+1, T]`, the mean posterior of each place (first two axes) for
/// random sources at each place (last two), and `identifiable [L+1, T]`, that of the source's own place.
///
/// With [`LocateOptions::sources`] above 1, the arrays above are of a single source, and `sources [S, 2]` are the
/// places of S sources that explain the response together, with `source_directions [S, d]`, `gain [S]` (by how much
/// each raised the log evidence; the first over noise alone) and `source_posteriors [S, L+1, T]`, the posterior of each
/// beside the others; `misfit_together` is their misfit, and the certificate `together` their rest by forward mode.
///
/// The metadata have `misfit`: `|r - G s|^2` over what the assumed noise leaves. It is about 1 for one source with that
/// noise. Above, the response is not that of one small source, or the noise is larger, and the posterior is too narrow.
///
/// Certificates: the adjoint identity; the gram matrix of the best place by forward mode (`tangents`); the source that
/// was found leaves the rest that the gram matrix says (`reproduces`).
///
/// # Errors
/// A response of another length, zero or not finite; options out of range; a device error; or a check that fails.
pub fn locate(observed: &Observed<'_>, response: &[f32], options: &LocateOptions) -> Result<Labelled> {
    check(observed, response, options)?;
    let (d, (levels, tokens)) = (observed.width(), observed.places());
    let (own, size) = unit(response);
    let mut draws = draws::draws(observed, (options.draws, options.noise, options.seed))?;
    let mut responses = vec![own];
    responses.append(&mut draws.responses);
    let tau2 = options.length.map(|length| (length / size).powi(2) / d as f64);
    let drawn = draws.tau2.iter().map(|tau2| options.length.map(|_| *tau2));
    let assumed: Vec<Assumed> =
        [tau2].into_iter().chain(drawn).map(|tau2| assumed(observed, options.noise, tau2)).collect();
    let (scores, best) = search(observed, &responses, &assumed)?;

    let place = (best.place / tokens, best.place % tokens);
    let found = narrow(&best.source.iter().map(|x| x * size).collect::<Vec<_>>());
    let own: Vec<f64> = scores.iter().map(|scores| scores[0]).collect();
    let of_places = posterior(&own);
    let set = credible(&of_places, options.share);
    let found_by = (&best.gram, &best.products);
    let [tangents, reproduces] = checks::by_tangents(observed, place, found_by, (&best.source, &responses[0]))?;
    let misfit = best.rest() / best.expected;
    let axes = [("level", levels), ("token", tokens)];
    let mut result = Labelled::new("locate", observed.run())
        .with("posterior", &axes, narrow(&of_places))
        .with("score", &axes, narrow(&own.iter().map(|score| score - own[best.place]).collect::<Vec<_>>()))
        .with("best", &[("candidate", set.len()), ("place", 2)], places(&set, tokens))
        .with("probability", &[("candidate", set.len())], set.iter().map(|&p| of_places[p] as f32).collect())
        .with("direction", &[("d", d)], found.clone())
        .note("observed", observed.text())
        .note("observed_count", observed.count().to_string())
        .note("noise", options.noise.to_string())
        .note("misfit", format!("{misfit:.3}"))
        .note("length", format!("{:.4}", norm(&found)))
        .note("log_evidence", format!("{:.3}", own[best.place] - observed.count() as f64 * size.ln()))
        .note("share", options.share.to_string())
        .note("credible", texts(&set, tokens));
    if let Some(length) = options.length {
        result = result.note("expected_length", length.to_string());
    }
    if options.draws > 0 {
        let resolution = resolution(&scores, &draws);
        let own = (0..levels * tokens).map(|p| resolution[p * levels * tokens + p]).collect();
        let pairs = [("level", levels), ("token", tokens), ("source_level", levels), ("source_token", tokens)];
        result = result
            .with("identifiable", &axes, own)
            .with("resolution", &pairs, resolution)
            .note("draws", options.draws.to_string())
            .note("seed", options.seed.to_string());
    }
    if options.sources > 1 {
        let first = Found { place: best.place, tau2: best.tau2, gram: best.gram, scores: own };
        let several = several::several(observed, (&responses[0], assumed[0]), first, options.sources)?;
        let (k, [levels, tokens]) = (several.places.len(), axes);
        let vectors: Vec<f64> = several.vectors.iter().flatten().map(|x| x * size).collect();
        result = result
            .with("sources", &[("source", k), ("place", 2)], places(&several.places, tokens.1))
            .with("source_directions", &[("source", k), ("d", d)], narrow(&vectors))
            .with("source_posteriors", &[("source", k), levels, tokens], narrow(&several.posteriors.concat()))
            .with("gain", &[("source", k)], narrow(&several.gains))
            .note("sources_at_most", options.sources.to_string())
            .note("sources", texts(&several.places, tokens.1))
            .note("misfit_together", format!("{:.3}", several.misfit))
            .certify(several.reproduces)?;
    }
    for certificate in [tangents, reproduces].into_iter().chain(checks::adjoint_of_runs(observed)?) {
        result = result.certify(certificate)?;
    }
    Ok(result)
}

/// Returns the posterior of every place, `[L+1 T]`, for each of several responses `[M]` with their noise. Each is the
/// response of one unknown source; `length` and noise are as in [`LocateOptions`]. The work for all of them is little
/// more than for one.
///
/// # Errors
/// As [`locate`], for any of the responses. No check by forward mode is made.
pub fn posteriors(
    observed: &Observed<'_>,
    responses: &[(Vec<f32>, f64)],
    length: Option<f64>,
) -> Result<Vec<Vec<f64>>> {
    let (mut units, mut all) = (Vec::with_capacity(responses.len()), Vec::with_capacity(responses.len()));
    for (response, noise) in responses {
        check(observed, response, &LocateOptions { noise: *noise, length, ..LocateOptions::default() })?;
        let (response, size) = unit(response);
        units.push(response);
        all.push(assumed(observed, *noise, length.map(|length| (length / size).powi(2) / observed.width() as f64)));
    }
    if responses.is_empty() {
        return Ok(Vec::new());
    }
    let (scores, _) = search(observed, &units, &all)?;
    Ok((0..responses.len()).map(|n| posterior(&scores.iter().map(|of| of[n]).collect::<Vec<_>>())).collect())
}

/// Returns what is assumed of a response of unit length.
fn assumed(observed: &Observed<'_>, noise: f64, tau2: Option<f64>) -> Assumed {
    let count = observed.count();
    Assumed { count, sigma2: noise.powi(2) / count as f64, tau2 }
}

/// Checks the response and the options.
fn check(observed: &Observed<'_>, response: &[f32], options: &LocateOptions) -> Result<()> {
    let LocateOptions { noise, length, share, sources, .. } = *options;
    let fail = |reason: String| Err(Error::Input(reason));
    if !(LEAST_NOISE..1.0).contains(&noise) {
        return fail(format!("noise {noise}: expected a share of the response from {LEAST_NOISE} to below 1"));
    }
    if let Some(length) = length.filter(|length| !length.is_finite() || *length <= 0.0) {
        return fail(format!("expected length {length} of the source: expected a finite number above 0"));
    }
    if !(share > 0.0 && share <= 1.0) {
        return fail(format!("credible share {share}: expected a probability above 0, up to 1"));
    }
    if sources == 0 {
        return fail("at most 0 sources: expected 1 or more".to_owned());
    }
    let (got, wanted) = (response.len(), observed.count());
    if got != wanted {
        return fail(format!("the response has {got} numbers, and {wanted} are observed; give one for each"));
    }
    if !norm(response).is_finite() {
        return fail("the response has numbers that are not finite".to_owned());
    }
    if norm(response) == 0.0 {
        return fail(
            "the response is zero: a source is not seen where it is observed; observe another level".to_owned(),
        );
    }
    Ok(())
}

/// The place with the largest evidence.
struct Best {
    /// Index of the place, `level T + token`.
    place: usize,
    /// `G^T G`, `[d, d]`
    gram: Mat<f64>,
    /// `G^T r`, `[d, N]`
    products: Mat<f64>,
    /// Prior variance of the elements of the source.
    tau2: f64,
    /// The source, for the response of unit length, `[d]`.
    source: Vec<f64>,
    /// Expected `|r - G s|^2`.
    expected: f64,
    score: f64,
}

impl Best {
    /// Returns `|r - G s|^2` for the response of unit length.
    fn rest(&self) -> f64 {
        let s = &self.source;
        let b = self.products.col(0);
        let row = |i: usize| s.iter().enumerate().map(|(j, x)| self.gram[(i, j)] * x).sum::<f64>();
        (0..s.len()).fold(1.0, |rest, i| rest + s[i] * (row(i) - 2.0 * b[i])).max(0.0)
    }
}

/// Returns the log evidence of every place for every response, `[P][N]`, and the best place for the first one.
fn search(observed: &Observed<'_>, responses: &[Vec<f32>], assumed: &[Assumed]) -> Result<(Vec<Vec<f64>>, Best)> {
    let (levels, tokens) = observed.places();
    let all: Vec<usize> = (0..levels).collect();
    let memory = observed.run().model().device().batch_bytes();
    let (mut scores, mut best): (Vec<Vec<f64>>, Option<Best>) = (Vec::new(), None);
    for part in all.chunks(levels_at_once(observed, responses.len(), memory)) {
        let grams = grams(observed, part, responses)?;
        let evidence = |gram: &Gram| Ok(Evidence::new(gram.decomposed()?, gram.products.as_ref(), assumed));
        let evidences: Vec<Evidence<'_>> = grams.par_iter().map(evidence).collect::<Result<_>>()?;
        let of_place =
            |evidence: &Evidence<'_>| -> Vec<f64> { (0..responses.len()).map(|n| evidence.of(n).0).collect() };
        scores.par_extend(evidences.par_iter().map(of_place));
        for (i, (gram, evidence)) in grams.into_iter().zip(&evidences).enumerate() {
            let (score, tau2) = evidence.of(0);
            if best.as_ref().is_none_or(|best| score > best.score) {
                let (source, expected) = evidence.source(0, tau2);
                let (place, products) = (part[0] * tokens + i, gram.products.clone());
                best = Some(Best { place, gram: gram.gram(), products, tau2, source, expected, score });
            }
        }
    }
    match best.filter(|best| best.source.iter().any(|x| *x != 0.0)) {
        Some(best) => Ok((scores, best)),
        None => {
            let reason =
                "no place reaches what is observed; observe a later level, or an observable at a later position";
            Err(Error::Input(reason.to_owned()))
        }
    }
}

/// Returns the mean posterior of each place (rows) for random sources at each place (columns), `[P, P]`.
fn resolution(scores: &[Vec<f64>], draws: &Draws) -> Vec<f32> {
    let places = scores.len();
    let (mut sum, mut drawn) = (vec![0.0f64; places * places], vec![0.0f64; places]);
    for (n, &from) in draws.place.iter().enumerate() {
        drawn[from] += 1.0;
        // Response 0 is the observed one.
        let of: Vec<f64> = scores.iter().map(|scores| scores[n + 1]).collect();
        for (place, p) in posterior(&of).into_iter().enumerate() {
            sum[place * places + from] += p;
        }
    }
    sum.iter().enumerate().map(|(i, sum)| (sum / drawn[i % places].max(1.0)) as f32).collect()
}

fn places(set: &[usize], tokens: usize) -> Vec<f32> {
    set.iter().flat_map(|p| [(p / tokens) as f32, (p % tokens) as f32]).collect()
}

fn texts(set: &[usize], tokens: usize) -> String {
    let place = |p: &usize| -> Place { (p / tokens, p % tokens) };
    set.iter().map(place).map(|(level, token)| format!("{level},{token}")).collect::<Vec<_>>().join(" ")
}
