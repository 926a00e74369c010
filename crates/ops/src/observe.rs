//! Scalars of a row of logits `[rows, V]`, read through its softmax p: sums over the vocabulary stay on the device.
//!
//! ```text
//! J = z Z + E[u] + e E[log p] + k KL(p || b) + f KL(b || p),   Z = ln sum exp(logits), E the mean over p
//! ```
//!
//! Weighted logits, the linear part of an observable, belong to [`crate::unembed`]. The primal has two depths:
//! [`log_sum_exp`] reads the logits once and is all that Z needs; [`Observed`] keeps log p, from which the other terms,
//! the slope dJ/dlogits and its tangents follow.

mod host;

use resolvent_engine::{Kernel, Recording, Result, Tensor};
use resolvent_shaders::observe::{self as shader, Params};

use crate::arguments::launch;

const NAME: &str = "observe";

/// Entries of one partial sum, as in the shader.
const SPAN: usize = 1024;
/// A point without a base distribution, or without a row of values.
const NONE: u32 = u32::MAX;

/// The lengths of rows over the vocabulary.
#[derive(Clone, Copy)]
struct Lengths {
    rows: usize,
    vocab: usize,
    /// Parts of a row, each with a partial sum.
    parts: usize,
}

impl Lengths {
    fn of(logits: &Tensor) -> Result<Self> {
        let (rows, vocab) = (logits.dim(NAME, "rows")?, logits.dim(NAME, "vocab")?);
        Ok(Self { rows, vocab, parts: vocab.div_ceil(SPAN) })
    }

    /// Returns the params of a kernel; `wanted` is the number of entries of [`pick`].
    fn params(self, wanted: usize) -> Params {
        let [rows, vocab, parts, wanted] = [self.rows, self.vocab, self.parts, wanted].map(|n| n as u32);
        Params { rows, vocab, parts, wanted }
    }

    fn elements(self) -> f64 {
        self.rows as f64 * self.vocab as f64
    }

    /// Returns a grid of one workgroup for each row.
    fn by_row(self) -> [u32; 3] {
        [self.rows as u32, 1, 1]
    }

    /// Returns a grid of one workgroup for each part of each row.
    fn by_part(self) -> [u32; 3] {
        [self.parts as u32, self.rows as u32, 1]
    }

    /// Returns a grid of one invocation for each of `n` elements of each row.
    fn by_element(self, n: usize) -> [u32; 3] {
        [n.div_ceil(64) as u32, self.rows as u32, 1]
    }
}

/// The coefficients of one point's observable.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coefficients {
    /// z, of the log-sum-exp of the logits.
    pub log_sum_exp: f32,
    /// e, of the mean of log p: minus that of the entropy.
    pub log_p: f32,
    /// k, of KL(p || b).
    pub to_base: f32,
    /// f, of KL(b || p).
    pub from_base: f32,
    /// Row of b in [`Sources::log_b`].
    pub base: Option<u32>,
    /// Row of u in [`Sources::u`].
    pub set: Option<u32>,
    /// Row in [`Sources::u`] of the weights y of log-probabilities, with `sum y = -z`.
    pub targets: Option<u32>,
}

/// What the coefficients of several points refer to.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Base distributions `[rows, vocab]`, as log-probabilities.
    pub log_b: Tensor,
    /// Values `[rows, vocab]` whose means over p are observed, and weights of log-probabilities.
    pub u: Tensor,
}

/// Points with their log-probabilities on the device: what values, slopes and tangents are computed from.
#[derive(Clone, Debug)]
pub struct Observed {
    log_p: Tensor,
    sources: Sources,
    coefficients: Tensor,
    places: Tensor,
    /// `[rows, 4]`: `E[u] + e E[log p]`, `KL(p || b)`, `KL(b || p)`, and 0.
    pub moments: Tensor,
}

/// The slope of each point, and what its tangents need.
#[derive(Clone, Debug)]
pub struct Sloped {
    /// `dJ/dlogits [rows, vocab]`, without weighted logits but with log-probabilities of [`Coefficients::targets`].
    pub slope: Tensor,
    /// `g - E[g]`, with `g = u + e log p + k (log p - log b)`.
    g: Tensor,
}

/// Tangents of the logits about their means over p.
#[derive(Clone, Debug)]
pub struct Spread {
    /// `[rows, 4]`; the first column is the mean of t, as far as f32 gives it.
    shift: Tensor,
    /// `[rows, 4]` with `s = t - shift` and `c = g - E[g]`: `E[s]`, `E[s^2]`, `E[s c]`, `E[s^2 c]`.
    pub moments: Tensor,
}

/// Computes the maximum and `ln sum exp(logits - max)` of each row: `[rows, 2]`. Their sum is Z.
pub fn log_sum_exp(rec: &mut Recording, logits: &Tensor) -> Result<Tensor> {
    let lengths = Lengths::of(logits)?;
    let (Lengths { rows, parts, .. }, params) = (lengths, lengths.params(0));
    let peaks = rec.tensor("observe.peaks", &[("rows", rows), ("parts", parts), ("four", 4)])?;
    let (n, m) = (lengths.elements(), parts as f64 * rows as f64);
    let buffers = shader::peaks::Bindings { logits, peak_parts: &peaks };
    rec.launch(launch(&PEAKS, params, buffers, lengths.by_part()).work(4.0 * n, 4.0 * n))?;
    let totals = rec.tensor("observe.totals", &[("rows", rows), ("pair", 2)])?;
    let buffers = shader::totals::Bindings { peak: &peaks, total: &totals };
    rec.launch(launch(&TOTALS, params, buffers, lengths.by_row()).work(4.0 * m, 8.0 * m))?;
    Ok(totals)
}

/// Copies the logits of the entries `ids [wanted]` (u32): `[rows, wanted]`.
pub fn pick(rec: &mut Recording, logits: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let wanted = ids.shape().elements();
    let lengths = Lengths::of(logits)?;
    let picked = rec.tensor("observe.picked", &[("rows", lengths.rows), ("wanted", wanted)])?;
    let (grid, n) = (lengths.by_element(wanted), lengths.rows as f64 * wanted as f64);
    let buffers = shader::pick::Bindings { logits, ids, picked: &picked };
    rec.launch(launch(&PICK, lengths.params(wanted), buffers, grid).work(0.0, 8.0 * n))?;
    Ok(picked)
}

/// Computes `log p [rows, vocab]` from the logits and their [`log_sum_exp`].
pub fn log_p(rec: &mut Recording, logits: &Tensor, totals: &Tensor) -> Result<Tensor> {
    let lengths = Lengths::of(logits)?;
    let Lengths { rows, vocab, .. } = lengths;
    totals.expect(NAME, &[("rows", rows), ("pair", 2)])?;
    let log_p = rec.tensor("observe.log_p", &[("rows", rows), ("vocab", vocab)])?;
    let (n, grid) = (lengths.elements(), lengths.by_element(vocab));
    let buffers = shader::normalise::Bindings { logits, totals_in: totals, log_p_out: &log_p };
    rec.launch(launch(&NORMALISE, lengths.params(0), buffers, grid).work(2.0 * n, 8.0 * n))?;
    Ok(log_p)
}

/// Adds up parts `[rows, parts, 4]`.
fn fold(rec: &mut Recording, lengths: Lengths, part: &Tensor) -> Result<Tensor> {
    let folded = rec.tensor("observe.moments", &[("rows", lengths.rows), ("four", 4)])?;
    let n = 4.0 * lengths.rows as f64 * lengths.parts as f64;
    let buffers = shader::fold::Bindings { part, folded: &folded };
    rec.launch(launch(&FOLD, lengths.params(0), buffers, lengths.by_row()).work(n, 4.0 * n))?;
    Ok(folded)
}

impl Observed {
    /// Computes the moments of points with these log-probabilities `[rows, vocab]`, one entry of `coefficients` a row.
    pub fn new(rec: &mut Recording, log_p: &Tensor, coefficients: &[Coefficients], sources: &Sources) -> Result<Self> {
        let lengths = Lengths::of(log_p)?;
        let Lengths { rows, parts, .. } = lengths;
        let numbers: Vec<f32> =
            coefficients.iter().flat_map(|c| [c.log_sum_exp, c.log_p, c.to_base, c.from_base]).collect();
        let places: Vec<u32> =
            coefficients.iter().flat_map(|c| [c.base, c.set, c.targets, None].map(|p| p.unwrap_or(NONE))).collect();
        let device = rec.device().clone();
        let coefficients = device.upload("observe.coefficients", &[("rows", rows), ("four", 4)], &numbers)?;
        let places = device.upload("observe.sources", &[("rows", rows), ("four", 4)], &places)?;
        let partial = rec.tensor("observe.parts", &[("rows", rows), ("parts", parts), ("four", 4)])?;
        let buffers = shader::moments::Bindings {
            log_p,
            log_b: &sources.log_b,
            u: &sources.u,
            coefficients: &coefficients,
            sources: &places,
            moment_parts: &partial,
        };
        let n = lengths.elements();
        rec.launch(launch(&MOMENTS, lengths.params(0), buffers, lengths.by_part()).work(40.0 * n, 12.0 * n))?;
        let moments = fold(rec, lengths, &partial)?;
        Ok(Self { log_p: log_p.clone(), sources: sources.clone(), coefficients, places, moments })
    }

    /// Computes the slopes.
    pub fn slope(&self, rec: &mut Recording) -> Result<Sloped> {
        let lengths = Lengths::of(&self.log_p)?;
        let Lengths { rows, vocab, .. } = lengths;
        let dims = [("rows", rows), ("vocab", vocab)];
        let (slope, g) = (rec.tensor("observe.slope", &dims)?, rec.tensor("observe.g", &dims)?);
        let Self { log_p, sources: Sources { log_b, u }, coefficients, places, moments } = self;
        let buffers = shader::slope::Bindings {
            log_p,
            log_b,
            u,
            coefficients,
            sources: places,
            moments_in: moments,
            slopes: &slope,
            g_out: &g,
        };
        let (n, grid) = (lengths.elements(), lengths.by_element(vocab));
        rec.launch(launch(&SLOPE, lengths.params(0), buffers, grid).work(12.0 * n, 20.0 * n))?;
        Ok(Sloped { slope, g })
    }

    /// Computes the moments of tangents `t [rows, vocab]` of the logits, each of the point that `points` (u32) names.
    pub fn spread(&self, rec: &mut Recording, sloped: &Sloped, t: &Tensor, points: &Tensor) -> Result<Spread> {
        let rows = t.dim(NAME, "rows")?;
        let zero = rec.device().upload("observe.zero", &[("rows", rows), ("four", 4)], &vec![0.0f32; 4 * rows])?;
        // The second pass has the mean taken off: no sum of squares cancels against the square of a mean.
        let shift = self.spread_about(rec, sloped, t, points, &zero)?;
        let moments = self.spread_about(rec, sloped, t, points, &shift)?;
        Ok(Spread { shift, moments })
    }

    fn spread_about(
        &self,
        rec: &mut Recording,
        sloped: &Sloped,
        t: &Tensor,
        points: &Tensor,
        shift: &Tensor,
    ) -> Result<Tensor> {
        let lengths = Lengths::of(t)?;
        let Lengths { rows, parts, .. } = lengths;
        points.expect(NAME, &[("rows", rows)])?;
        let partial = rec.tensor("observe.parts", &[("rows", rows), ("parts", parts), ("four", 4)])?;
        let n = lengths.elements();
        let (log_p, g) = (&self.log_p, &sloped.g);
        let buffers = shader::spread::Bindings { log_p, g, t, points, shift, spread_parts: &partial };
        rec.launch(launch(&SPREAD, lengths.params(0), buffers, lengths.by_part()).work(12.0 * n, 12.0 * n))?;
        fold(rec, lengths, &partial)
    }

    /// Computes the tangents of the slopes, `d2J/dlogits2 t [rows, vocab]`.
    pub fn turn(
        &self,
        rec: &mut Recording,
        sloped: &Sloped,
        (t, points): (&Tensor, &Tensor),
        spread: &Spread,
    ) -> Result<Tensor> {
        let lengths = Lengths::of(t)?;
        let turned = rec.tensor("observe.turned", t.shape().dims())?;
        let buffers = shader::turn::Bindings {
            log_p: &self.log_p,
            g: &sloped.g,
            t,
            coefficients: &self.coefficients,
            points,
            shift: &spread.shift,
            spreads: &spread.moments,
            turned: &turned,
        };
        let (n, grid) = (lengths.elements(), lengths.by_element(lengths.vocab));
        rec.launch(launch(&TURN, lengths.params(0), buffers, grid).work(8.0 * n, 16.0 * n))?;
        Ok(turned)
    }
}

static PEAKS: Kernel = Kernel { shader: &shader::PEAKS, host: host::peaks };
static TOTALS: Kernel = Kernel { shader: &shader::TOTALS, host: host::totals };
static NORMALISE: Kernel = Kernel { shader: &shader::NORMALISE, host: host::normalise };
static PICK: Kernel = Kernel { shader: &shader::PICK, host: host::pick };
static MOMENTS: Kernel = Kernel { shader: &shader::MOMENTS, host: host::moments };
static FOLD: Kernel = Kernel { shader: &shader::FOLD, host: host::fold };
static SLOPE: Kernel = Kernel { shader: &shader::SLOPE, host: host::slope };
static SPREAD: Kernel = Kernel { shader: &shader::SPREAD, host: host::spread };
static TURN: Kernel = Kernel { shader: &shader::TURN, host: host::turn };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PEAKS, &TOTALS, &PICK, &NORMALISE, &MOMENTS, &FOLD, &SLOPE, &SPREAD, &TURN];
