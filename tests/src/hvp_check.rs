//! Checks the hvp of an [`Op`] against f64 and between executors: tangents of cotangents with two shared cotangents.

use std::ops::Range;

use resolvent_engine::{Device, Error, Tensor};
use resolvent_ops::{Op, Paired, Residuals, Rows, Span};

use crate::compare::{Labelled, Worst};
use crate::op_check::Allowed;
use crate::random::Random;
use crate::subject::Subject;
use crate::truth::{self, Function, inner, wide};

/// One case: sequences over the last prompt of a base run. The first ones have tangents, the last one has the shared
/// cotangent.
#[derive(Clone, Debug)]
pub struct HvpCheck {
    /// Tokens of each prompt of the base run.
    pub prompts: [usize; 2],
    /// End of the tokens that each sequence owns, from 0.
    pub end: usize,
    /// Width of each input.
    pub widths: Vec<usize>,
    /// Width of the output.
    pub out: usize,
    /// Numbers of sequences with a tangent, and of those without one. Two more have shared cotangents.
    pub sequences: [usize; 2],
    /// Seed of all values.
    pub seed: u64,
}

impl HvpCheck {
    /// Creates a case of two sequences with a tangent and one without, over all `tokens` but the last if there are
    /// several.
    pub fn new(tokens: usize, widths: &[usize], out: usize) -> Self {
        let (end, seed) = (tokens.saturating_sub(1).max(1), (tokens * 1000 + out) as u64);
        Self { prompts: [2, tokens], end, widths: widths.to_vec(), out, sequences: [2, 1], seed }
    }

    /// Returns the number of tokens of the base run.
    pub fn tokens(&self) -> usize {
        self.prompts.iter().sum()
    }

    fn all(&self) -> usize {
        self.sequences.iter().sum::<usize>() + 2
    }

    /// Returns the sequence that has the shared cotangent of sequence k: the last two have it by turns.
    fn shared(&self, k: usize) -> usize {
        self.all() - 2 + k % 2
    }

    fn elements(&self, kind: u64, rows: usize) -> Vec<Vec<f32>> {
        let stream = |(i, width): (usize, &usize)| {
            Random::new(self.seed ^ (kind << 40) ^ ((i as u64) << 50)).normals(rows * width)
        };
        self.widths.iter().enumerate().map(stream).collect()
    }

    fn y_bar(&self) -> Vec<f32> {
        Random::new(self.seed ^ (7 << 40)).normals(self.all() * self.end * self.out)
    }

    /// Computes `x_bar` of each input, all sequences one after another. With `before`, it is added to earlier
    /// cotangents.
    fn run(&self, on: &Subject, op: &dyn Op, before: bool) -> Result<Vec<Labelled>, Error> {
        let device = on.device();
        let upload = |kind: u64, rows: usize| -> Result<Vec<Tensor>, Error> {
            let elements = self.elements(kind, rows);
            let widths = elements.iter().zip(&self.widths);
            widths.map(|(x, &d)| device.upload("x", &[("rows", rows), ("d", d)], x)).collect()
        };
        let (rows, tangent_rows) = (self.all() * self.end, self.sequences[0] * self.end);
        let (x, x_dot) = (upload(1, self.tokens())?, upload(2, tangent_rows)?);
        let so_far: Vec<Option<Tensor>> = match before {
            true => upload(3, rows)?.into_iter().map(Some).collect(),
            false => vec![None; self.widths.len()],
        };
        let y_bar = device.upload("y_bar", &[("rows", rows), ("d", self.out)], &self.y_bar())?;
        let span = Span { primal: self.prompts[0], start: 0, end: self.end };
        let base = self.prompts.iter().scan(0, |primal, &rows| {
            *primal += rows;
            Some(Span { primal: *primal - rows, start: 0, end: rows })
        });
        let base = Rows::new(device, &base.collect::<Vec<_>>())?;
        let mut rec = device.record();
        let residuals = op.primal(&mut rec, &base, None, &x.iter().collect::<Vec<_>>())?.residuals;
        let forward = Rows::new(device, &vec![span; self.sequences[0]])?;
        let shared: Vec<usize> = (0..self.all()).map(|k| self.shared(k)).collect();
        let back = Rows::paired(device, &vec![span; self.all()], &shared)?;
        let tangent: Residuals =
            op.tangent(&mut rec, &forward, &residuals, &x_dot.iter().collect::<Vec<_>>())?.residuals;
        let paired = Paired { residuals: &tangent, rows: tangent_rows };
        let bars = op.hvp(&mut rec, &back, (&residuals, paired), &y_bar, &so_far)?;
        device.submit(rec)?;
        Ok(bars.iter().map(|bar| on.read(bar)).collect())
    }

    /// Embeds rows `rows` of arrays in zeros, at the sequences' place in the base run, all inputs one after another.
    fn dense(&self, arrays: &[Vec<f64>], widths: &[usize], rows: Range<usize>) -> Vec<f64> {
        let mut all = Vec::new();
        for (array, width) in arrays.iter().zip(widths) {
            let at = all.len() + self.prompts[0] * width;
            all.resize(all.len() + self.tokens() * width, 0.0);
            all[at..at + rows.len() * width].copy_from_slice(&array[rows.start * width..rows.end * width]);
        }
        all
    }

    /// Compares every executor with `f` in f64, and with the host.
    ///
    /// # Panics
    /// If any error exceeds its tolerance.
    pub fn check<O: Op>(
        &self,
        worst: &mut Worst,
        on: &[&Subject],
        op: impl Fn(&Device) -> Result<O, Error>,
        f: &impl Function,
        allowed: Allowed,
    ) {
        let case = format!("{self:?}");
        let mut host: Option<Vec<Labelled>> = None;
        for on in on {
            let run = |before| op(on.device()).and_then(|op| self.run(on, &op, before));
            let bars = run(false).unwrap_or_else(|e| panic!("{case}: {}: {e}", on.name()));
            for k in 0..self.all() {
                worst.within(format!("{case} sequence {k}"), on.name(), self.error(f, &bars, k), allowed.hvp());
            }
            let onto = run(true).unwrap_or_else(|e| panic!("{case}: {}: {e}", on.name()));
            let so_far = self.elements(3, self.all() * self.end);
            for ((onto, bar), before) in onto.iter().zip(&bars).zip(&so_far) {
                let sum: Vec<f64> = bar.values().iter().zip(wide(before)).map(|(a, b)| a + b).collect();
                worst.within(&case, on.name(), truth::relative(onto.values(), &sum), allowed.hvp());
            }
            match &host {
                None => host = Some(bars),
                Some(host) => {
                    for (ours, theirs) in bars.iter().zip(host) {
                        worst.check(&case, ours, theirs, 2.0 * allowed.hvp());
                    }
                }
            }
        }
    }

    /// Returns the relative error of sequence k along directions v, by
    /// `<x_bar, v> = <y_bar_k, J v> + <y_bar, f''[x_dot_k, v]>`.
    fn error(&self, f: &impl Function, bars: &[Labelled], k: usize) -> f64 {
        const DIRECTIONS: u64 = 3;
        let rows = |k: usize| k * self.end..(k + 1) * self.end;
        let x: Vec<f64> = self.elements(1, self.tokens()).iter().flat_map(|x| wide(x)).collect();
        let bars: Vec<Vec<f64>> = bars.iter().map(|bar| bar.values().to_vec()).collect();
        let x_bar = self.dense(&bars, &self.widths, rows(k));
        let [own, shared_cotangent] =
            [k, self.shared(k)].map(|k| self.dense(&[wide(&self.y_bar())], &[self.out], rows(k)));
        let tangents = self.elements(2, self.sequences[0] * self.end);
        let x_dot = match k < self.sequences[0] {
            true => self.dense(&tangents.iter().map(|x| wide(x)).collect::<Vec<_>>(), &self.widths, rows(k)),
            false => vec![0.0; x.len()],
        };
        let ones: Vec<Vec<f64>> = self.widths.iter().map(|d| vec![1.0; self.end * d]).collect();
        let owned = self.dense(&ones, &self.widths, 0..self.end);
        let square = |seed| {
            let mut random = Random::new(seed);
            let v: Vec<f64> = owned.iter().map(|one| one * f64::from(random.normal())).collect();
            let [moved, second] = truth::second_derivative(f, &x, [&x_dot, &v]);
            (inner(&x_bar, &v) - inner(&own, &moved) - inner(&shared_cotangent, &second)).powi(2)
        };
        let mean = (0..DIRECTIONS).map(square).sum::<f64>() / DIRECTIONS as f64;
        // If x_bar vanishes, the error is relative to the cotangent that it came from.
        mean.sqrt() / inner(&x_bar, &x_bar).sqrt().max(1e-3 * inner(&own, &own).sqrt())
    }
}
