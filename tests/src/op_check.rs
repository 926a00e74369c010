//! Checks primal, jvp, jet and vjp of an [`Op`] over ragged batches against f64 and between executors.

use resolvent_engine::{Device, Error, Tensor};
use resolvent_ops::{Op, Rows, Span};

use crate::compare::{Labelled, Worst};
use crate::random::Random;
use crate::subject::Subject;
use crate::tolerance;
use crate::truth::{self, Function, inner, wide};

/// One case: a base run over `rows` tokens, and a ragged batch of tangents and cotangents over it.
#[derive(Clone, Debug)]
pub struct OpCheck {
    /// Tokens of each prompt of the base run.
    pub prompts: Vec<usize>,
    /// Width of each input.
    pub widths: Vec<usize>,
    /// Width of the output.
    pub out: usize,
    /// Sequences of the batch.
    pub spans: Vec<Span>,
    /// Whether cotangents are added to earlier ones.
    pub so_far: bool,
    /// Whether the op has jets: not if it freezes a factor.
    pub second: bool,
    /// Seed of all values.
    pub seed: u64,
}

/// The results of one executor.
#[derive(Clone, Debug)]
pub struct Done {
    /// Primal `[rows, out]`.
    pub y: Labelled,
    /// Tangents `[batch rows, out]`.
    pub y_dot: Labelled,
    /// Both orders of the jets, each `[batch rows, out]`; empty if the case has no jets.
    pub y_jet: Vec<Labelled>,
    /// Cotangents `[batch rows, width]` of each input.
    pub x_bars: Vec<Labelled>,
}

/// Tolerances of an op: the largest relative errors.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Of the primal.
    pub primal: f64,
    /// Of the tangents.
    pub jvp: f64,
    /// Of the second order of jets; the first order has the tolerance of tangents.
    pub jet: f64,
    /// Of the cotangents.
    pub vjp: f64,
}

impl Allowed {
    /// Returns the tolerance of tangents of cotangents, `x_bar_dot`.
    ///
    /// They are the sum of a vjp and of a second derivative times a tangent and a cotangent. Measured: 3.2e-7 for layer
    /// norm, 4.9e-7 for RMS norm, 3.1e-7 for GELU, 4.1e-7 for attention.
    pub fn hvp(&self) -> f64 {
        self.vjp + self.jet
    }
}

/// The worst errors of an op.
#[derive(Debug)]
pub struct Record {
    primal: Worst,
    jvp: Worst,
    jet: [Worst; 2],
    vjp: Worst,
    adjoint: Worst,
}

impl Record {
    /// Creates the record of the op `name`.
    pub fn new(name: &str) -> Self {
        let [primal, jvp, first, second, vjp, adjoint] =
            ["primal", "jvp", "jet, first order", "jet, second order", "vjp", "adjoint"]
                .map(|entry| Worst::new(&format!("{name}.{entry}")));
        Self { primal, jvp, jet: [first, second], vjp, adjoint }
    }
}

/// The batch rows of a sequence, with the primal row of the first.
type Owned = (std::ops::Range<usize>, usize);

impl OpCheck {
    /// Creates a case over one prompt of `rows` tokens. Its sequences own all tokens, the last, the second half, the
    /// first half, and a middle third.
    pub fn new(rows: usize, widths: &[usize], out: usize) -> Self {
        let ends = [(0, rows), (rows - 1, rows), (rows / 2, rows), (0, rows.div_ceil(2)), (rows / 3, rows - rows / 3)];
        let spans = ends.map(|(start, end)| Span { primal: 0, start, end }).to_vec();
        let seed = (rows * 1000 + out) as u64;
        Self {
            prompts: vec![rows],
            widths: widths.to_vec(),
            out,
            spans,
            so_far: rows.is_multiple_of(2),
            second: true,
            seed,
        }
    }

    /// Returns the number of tokens of the base run.
    pub fn rows(&self) -> usize {
        self.prompts.iter().sum()
    }

    fn batch(&self) -> usize {
        self.spans.iter().map(Span::rows).sum()
    }

    /// Draws `rows` rows of elements for each input. The streams differ by `kind`.
    fn elements(&self, kind: u64, rows: usize) -> Vec<Vec<f32>> {
        let stream = |(i, width): (usize, &usize)| {
            Random::new(self.seed ^ (kind << 40) ^ ((i as u64) << 50)).normals(rows * width)
        };
        self.widths.iter().enumerate().map(stream).collect()
    }

    /// Draws jets `[2 batch rows, width]` of each input. Their first order is the tangents of `elements(2, ..)`.
    fn jets(&self) -> Vec<Vec<f32>> {
        let orders = self.elements(2, self.batch()).into_iter().zip(self.elements(4, self.batch()));
        let interleaved = |((dot, ddot), &d): ((Vec<f32>, Vec<f32>), &usize)| {
            dot.chunks(d).zip(ddot.chunks(d)).flat_map(|(dot, ddot)| [dot, ddot].concat()).collect()
        };
        orders.zip(&self.widths).map(interleaved).collect()
    }

    fn y_bar(&self) -> Vec<f32> {
        Random::new(self.seed ^ (7 << 40)).normals(self.batch() * self.out)
    }

    /// Runs the case on one executor.
    pub fn run(&self, on: &Subject, op: &dyn Op) -> Result<Done, Error> {
        let device = on.device();
        let upload = |name: &str, data: &[Vec<f32>], rows: usize| -> Result<Vec<Tensor>, Error> {
            let widths = data.iter().zip(&self.widths);
            widths.map(|(x, &d)| device.upload(name, &[("rows", rows), ("d", d)], x)).collect()
        };
        let (x, x_dot) = (self.elements(1, self.rows()), self.elements(2, self.batch()));
        let (x, x_dot) = (upload("x", &x, self.rows())?, upload("x_dot", &x_dot, self.batch())?);
        let x_jet = upload("x_jet", &self.jets(), 2 * self.batch())?;
        let so_far: Vec<Option<Tensor>> = match self.so_far {
            true => upload("so_far", &self.elements(3, self.batch()), self.batch())?.into_iter().map(Some).collect(),
            false => vec![None; self.widths.len()],
        };
        let y_bar = device.upload("y_bar", &[("rows", self.batch()), ("d", self.out)], &self.y_bar())?;
        let (base, batch) = (Rows::new(device, &self.base())?, Rows::new(device, &self.spans)?);
        let mut rec = device.record();
        let outcome = op.primal(&mut rec, &base, None, &x.iter().collect::<Vec<_>>())?;
        let y_dot = op.jvp(&mut rec, &batch, &outcome.residuals, &x_dot.iter().collect::<Vec<_>>())?;
        let jet = |rec: &mut _| op.jet(rec, &batch, &outcome.residuals, &x_jet.iter().collect::<Vec<_>>());
        let y_jet = self.second.then(|| jet(&mut rec)).transpose()?;
        let x_bars = op.vjp(&mut rec, &batch, &outcome.residuals, &y_bar, &so_far)?;
        device.submit(rec)?;
        let x_bars = x_bars.iter().map(|bar| on.read(bar)).collect();
        let y_jet = y_jet.map_or_else(Vec::new, |y_jet| on.read(&y_jet).orders(self.out).into());
        Ok(Done { y: on.read(&outcome.y), y_dot: on.read(&y_dot), y_jet, x_bars })
    }

    fn base(&self) -> Vec<Span> {
        let mut primal = 0;
        let span = |&rows: &usize| {
            primal += rows;
            Span { primal: primal - rows, start: 0, end: rows }
        };
        self.prompts.iter().map(span).collect()
    }

    fn owned(&self) -> Vec<Owned> {
        let mut first = 0;
        let owned = |span: &Span| {
            first += span.rows();
            (first - span.rows()..first, span.primal + span.start)
        };
        self.spans.iter().map(owned).collect()
    }

    /// Embeds the rows of one sequence in zeros of the base run's size, all inputs one after another.
    fn dense(&self, arrays: &[&[f64]], widths: &[usize], (rows, at): &Owned) -> Vec<f64> {
        let mut all = Vec::new();
        for (array, width) in arrays.iter().zip(widths) {
            let from = all.len();
            all.resize(from + self.rows() * width, 0.0);
            all[from + at * width..][..rows.len() * width]
                .copy_from_slice(&array[rows.start * width..rows.end * width]);
        }
        all
    }

    /// Compares every executor with `f`, the dense f64 computation of each sequence alone, and with the host.
    ///
    /// # Panics
    /// If any error exceeds its tolerance.
    pub fn check<O: Op>(
        &self,
        worst: &mut Record,
        on: &[&Subject],
        op: impl Fn(&Device) -> Result<O, Error>,
        f: &impl Function,
        allowed: Allowed,
    ) {
        let case = format!("{self:?}");
        let done: Vec<Done> = on
            .iter()
            .map(|s| op(s.device()).and_then(|op| self.run(s, &op)).unwrap_or_else(|e| panic!("{case}: {e}")))
            .collect();
        let x: Vec<f64> = self.elements(1, self.rows()).iter().flat_map(|x| wide(x)).collect();
        let [x_dot, x_ddot] =
            [2, 4].map(|kind| -> Vec<Vec<f64>> { self.elements(kind, self.batch()).iter().map(|x| wide(x)).collect() });
        let truth = Labelled::reference(f.at(&x));
        let (mut orders, sequences) = ([Vec::new(), Vec::new()], self.owned());
        for sequence in &sequences {
            let dense = [&x_dot, &x_ddot].map(|t| {
                let slices: Vec<&[f64]> = t.iter().map(Vec::as_slice).collect();
                self.dense(&slices, &self.widths, sequence)
            });
            for (order, dense) in orders.iter_mut().zip(truth::jet(f, &x, [&dense[0], &dense[1]])) {
                order.extend_from_slice(&dense[sequence.1 * self.out..][..sequence.0.len() * self.out]);
            }
        }
        let orders = orders.map(Labelled::reference);
        let of_jet = [allowed.jvp, allowed.jet];
        for (i, one) in done.iter().enumerate() {
            worst.primal.check(&case, &one.y, &truth, allowed.primal);
            worst.jvp.check(&case, &one.y_dot, &orders[0], allowed.jvp);
            for (n, (jet, truth)) in one.y_jet.iter().zip(&orders).enumerate() {
                worst.jet[n].check(&case, jet, truth, of_jet[n]);
            }
            if let Some(first) = one.y_jet.first() {
                // The jet kernel rounds differently from the jvp kernel.
                let apart = truth::relative(first.values(), one.y_dot.values());
                worst.jet[0].within(&case, &format!("{}, of jvp", on[i].name()), apart, 2.0 * allowed.jvp);
            }
            for sequence in &sequences {
                worst.vjp.within(&case, on[i].name(), self.vjp_error(f, &x, one, sequence), allowed.vjp);
            }
            worst.adjoint.within(&case, on[i].name(), self.adjointness(one, &x_dot), tolerance::ADJOINT);
            if !on[i].is_host() {
                // Both executors round, so the tolerance is doubled.
                worst.primal.check(&case, &one.y, &done[0].y, 2.0 * allowed.primal);
                worst.jvp.check(&case, &one.y_dot, &done[0].y_dot, 2.0 * allowed.jvp);
                for (n, theirs) in done[0].y_jet.iter().enumerate() {
                    worst.jet[n].check(&case, &one.y_jet[n], theirs, 2.0 * of_jet[n]);
                }
                for (ours, theirs) in one.x_bars.iter().zip(&done[0].x_bars) {
                    worst.vjp.check(&case, ours, theirs, 2.0 * allowed.vjp);
                }
            }
        }
    }

    /// Returns `x_bar` without the earlier cotangents, as an array for each input.
    fn own_bars(&self, done: &Done) -> Vec<Vec<f64>> {
        let before = self.elements(3, self.batch());
        let own_bars = done.x_bars.iter().zip(&before).map(|(bar, before)| match self.so_far {
            true => bar.values().iter().zip(before).map(|(bar, &b)| bar - f64::from(b)).collect(),
            false => bar.values().to_vec(),
        });
        own_bars.collect()
    }

    fn vjp_error(&self, f: &impl Function, x: &[f64], done: &Done, sequence: &Owned) -> f64 {
        let bars = self.own_bars(done);
        let bars: Vec<&[f64]> = bars.iter().map(Vec::as_slice).collect();
        let y_bar = self.dense(&[&wide(&self.y_bar())], &[self.out], sequence);
        let ones = self.dense(
            &bars
                .iter()
                .map(|bar| vec![1.0; bar.len()])
                .collect::<Vec<_>>()
                .iter()
                .map(Vec::as_slice)
                .collect::<Vec<_>>(),
            &self.widths,
            sequence,
        );
        let owned = |i: usize| ones[i] != 0.0;
        truth::vjp_error(f, x, &owned, [&self.dense(&bars, &self.widths, sequence), &y_bar])
    }

    /// Returns `<y_bar, J x_dot> - <J^T y_bar, x_dot>`, relative to the typical size of such a product of random
    /// vectors.
    fn adjointness(&self, done: &Done, x_dot: &[Vec<f64>]) -> f64 {
        let y_bar = wide(&self.y_bar());
        let (dot, bars) = (done.y_dot.values(), self.own_bars(done));
        let forward = inner(&y_bar, dot);
        let backward: f64 = bars.iter().zip(x_dot).map(|(bar, dot)| inner(bar, dot)).sum();
        let typical = tolerance::typical(&y_bar, dot);
        let distance = (forward - backward).abs();
        if distance == 0.0 { 0.0 } else { distance / forward.abs().max(typical) }
    }
}
