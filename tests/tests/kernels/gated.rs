//! The operations between the products of Llama and its kin: the gate of an MLP, and the rotary embedding.

use resolvent_engine::{Device, Result};
use resolvent_ops::gate::{Gate, GateActivation};
use resolvent_ops::rope::{Rope, RopeTable};
use resolvent_ops::softcap::{CapPoints, SoftCap};
use resolvent_ops::{Op, Rows, Span};
use resolvent_reference::Scalar;
use resolvent_reference::ops::{self, GateForm, GeluForm, Rotation};
use resolvent_tests::truth::{Function, jet, wide};
use resolvent_tests::{HvpCheck, Labelled, OpCheck, Random, Record, Subject, Worst, subjects, tolerance};

use super::formulas::Frozen;

const ACTIVATIONS: [(GateActivation, GateForm); 3] = [
    (GateActivation::Silu, GateForm::Silu),
    (GateActivation::GeluTanh, GateForm::Gelu(GeluForm::Tanh)),
    (GateActivation::GeluErf, GateForm::Gelu(GeluForm::Erf)),
];

/// The gate `[rows, 2n] -> [rows, n]`.
struct Gated {
    n: usize,
    form: GateForm,
    frozen: Frozen,
}

impl Function for Gated {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        ops::gate(x, self.n, self.form, self.frozen)
    }
}

#[test]
fn gate() {
    let (mut record, mut hvp) = (Record::new("gate"), Worst::new("gate.hvp"));
    let mut frozen_record = Record::new("gate, frozen");
    for (rows, n) in [(1, 1), (2, 3), (7, 30), (17, 65), (33, 130), (3, 768)] {
        for (activation, form) in ACTIVATIONS {
            let op = Gate { n, activation, frozen: false };
            let f = Gated { n, form, frozen: Frozen::default() };
            let allowed = tolerance::GATE;
            OpCheck::new(rows, &[2 * n], n).check(&mut record, &subjects(), |_| Ok(op), &f, allowed);
            HvpCheck::new(rows, &[2 * n], n).check(&mut hvp, &subjects(), |_| Ok(op), &f, allowed);
            let f = Gated { frozen: Frozen { ratio: true, ..f.frozen }, ..f };
            let plan = OpCheck { second: false, ..OpCheck::new(rows, &[2 * n], n) };
            let freezing = |_: &Device| Ok(Gate { frozen: true, ..op });
            plan.check(&mut frozen_record, &subjects(), freezing, &f, allowed);
        }
    }
}

/// SiLU, its slope and its second derivative, as the gate of ones, in absolute error.
#[test]
fn silu_on_a_grid() {
    let mut worst = ["value", "slope", "second derivative"].map(|of| Worst::new(&format!("silu {of} on a grid")));
    let dense = (-20 * 512..=20 * 512).map(|i| i as f32 / 512.0);
    let far = [1e-30f32, 1e-8, 1e-4, 50.0, 100.0, 1e4, 1e10, 3e38].into_iter().flat_map(|x| [x, -x]);
    let grid: Vec<f32> = dense.chain(far).chain([0.0]).collect();
    let n = grid.len();
    let (point, along) = ([grid.clone(), vec![1.0; n]].concat(), [vec![1.0; n], vec![0.0; 3 * n]].concat());
    let run = |on: &Subject| -> Result<[Vec<f64>; 3]> {
        let (device, rows) = (on.device(), Rows::new(on.device(), &[Span { primal: 0, start: 0, end: 1 }])?);
        let x = device.upload("x", &[("rows", 1), ("2n", 2 * n)], &point)?;
        let along = device.upload("along", &[("rows", 2), ("2n", 2 * n)], &along)?;
        let (op, mut rec) = (Gate { n, activation: GateActivation::Silu, frozen: false }, device.record());
        let outcome = op.primal(&mut rec, &rows, None, &[&x])?;
        let jet = op.jet(&mut rec, &rows, &outcome.residuals, &[&along])?;
        device.submit(rec)?;
        let [slope, second] = on.read(&jet).orders(n);
        Ok([&on.read(&outcome.y), &slope, &second].map(|t| t.values().to_vec()))
    };
    let f = Gated { n, form: GateForm::Silu, frozen: Frozen::default() };
    let (point, first) = (wide(&point), wide(&along[..2 * n]));
    let [slope, second] = jet(&f, &point, [&first, &vec![0.0; 2 * n]]);
    let want = [f.at(&point), slope, second];
    for on in subjects() {
        let got = run(on).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        for (i, x) in grid.iter().enumerate() {
            // Values grow with positive x, and so does their rounding.
            let sizes = [f64::from(x.max(1.0)), 1.0, 1.0];
            for k in 0..3 {
                let error = (got[k][i] - want[k][i]).abs() / sizes[k];
                worst[k].within(format!("x {x}"), on.name(), error, tolerance::GELU_ON_A_GRID);
            }
        }
    }
}

/// A rotary embedding over the tokens of consecutive prompts.
struct Turned {
    positions: Vec<usize>,
    n: usize,
    heads: usize,
    d_head: usize,
    frequencies: Vec<f64>,
    scale: f64,
}

impl Turned {
    fn op(&self, device: &Device) -> Result<Rope> {
        let table = RopeTable::new(device, &self.frequencies, self.scale, 1 << 17)?;
        Ok(Rope { table, heads: self.heads, d_head: self.d_head, n: self.n })
    }
}

impl Function for Turned {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let Self { heads, d_head, scale, .. } = *self;
        ops::rope(x, self.n, &self.positions, Rotation { heads, d_head, frequencies: &self.frequencies, scale })
    }
}

fn frequencies(pairs: usize) -> Vec<f64> {
    (0..pairs).map(|i| 1e4f64.powf(-(i as f64) / pairs as f64)).collect()
}

/// (tokens, heads, width of a head, pairs that turn, columns after the heads).
#[test]
fn rope() {
    let (mut record, mut hvp) = (Record::new("rope"), Worst::new("rope.hvp"));
    for (tokens, heads, d_head, pairs, after) in
        [(1, 1, 2, 1, 0), (5, 3, 7, 3, 7), (9, 2, 10, 1, 3), (17, 5, 64, 32, 128), (300, 2, 6, 2, 1)]
    {
        let (n, scale) = (heads * d_head + after, if pairs == 3 { 1.3 } else { 1.0 });
        let turned = |prompts: &[usize]| Turned {
            positions: prompts.iter().flat_map(|&tokens| 0..tokens).collect(),
            n,
            heads,
            d_head,
            frequencies: frequencies(pairs),
            scale,
        };
        let prompts = if tokens > 9 { vec![tokens - 4, 4] } else { vec![tokens] };
        let spans = OpCheck::new(prompts[0], &[n], n).spans;
        let plan = OpCheck { prompts, spans, ..OpCheck::new(tokens, &[n], n) };
        let f = turned(&plan.prompts);
        plan.check(&mut record, &subjects(), |device| f.op(device), &f, tolerance::ROPE);
        let case = HvpCheck::new(tokens, &[n], n);
        let f = turned(&case.prompts);
        case.check(&mut hvp, &subjects(), |device| f.op(device), &f, tolerance::ROPE);
    }
}

/// Angles of a hundred thousand radians have the same error as small ones.
#[test]
fn rope_at_late_positions() {
    let mut worst = Worst::new("rope, late positions");
    for start in [255, 256, 4097, 131_069] {
        let (tokens, heads, d_head, pairs) = (3, 2, 16, 8);
        let n = heads * d_head;
        let positions = (start..start + tokens).collect();
        let f = Turned { positions, n, heads, d_head, frequencies: frequencies(pairs), scale: 1.0 };
        let x = Random::new(start as u64).normals(tokens * n);
        let want = Labelled::reference(f.at(&wide(&x)));
        for on in subjects() {
            let run = || -> Result<Labelled> {
                let rows = Rows::new(on.device(), &[Span { primal: 0, start, end: start + tokens }])?;
                let x = on.device().upload("x", &[("rows", tokens), ("n", n)], &x)?;
                let mut rec = on.device().record();
                let y = f.op(on.device())?.primal(&mut rec, &rows, None, &[&x])?.y;
                on.device().submit(rec)?;
                Ok(on.read(&y))
            };
            let y = run().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            worst.check(start, &y, &want, tolerance::ROPE.primal);
        }
    }
}

/// The soft-cap `[rows, n] -> [rows, n]`.
struct Capped(f64);

impl Function for Capped {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        ops::softcap(x, self.0)
    }
}

/// Values, slopes, second derivatives and their sums, at points that several rows share; from nearly linear to
/// saturated.
#[test]
fn softcap() {
    let mut worst = ["primal", "slope", "second", "fold"].map(|of| Worst::new(&format!("softcap.{of}")));
    for (n, cap) in [(1, 0.7), (5, 30.0), (65, 1.5), (300, 0.3)] {
        let mut random = Random::new(n as u64);
        let (x, bar, t) = (random.normals(2 * n), random.normals(2 * n), random.normals(3 * n));
        let (points, moments) = ([1u32, 0, 1], random.normals(12));
        let run = |on: &Subject| -> Result<[Labelled; 4]> {
            let (device, op) = (on.device(), SoftCap { cap: cap as f32 });
            let up = |data: &[f32]| device.upload("x", &[("rows", data.len() / n), ("n", n)], data);
            let (x, bar, t) = (up(&x)?, up(&bar)?, up(&t)?);
            let moments = device.upload("moments", &[("rows", 3), ("four", 4)], &moments)?;
            let at = CapPoints { x: &x, points: &device.upload("points", &[("rows", 3)], &points)? };
            let mut rec = device.record();
            let (y, slope) = (op.primal(&mut rec, &x)?, op.slope(&mut rec, at, &t)?);
            let second = op.second(&mut rec, at, &bar, &t)?;
            let folded = op.fold(&mut rec, [&second, &t], &moments)?;
            device.submit(rec)?;
            Ok([&y, &slope, &second, &folded].map(|tensor| on.read(tensor)))
        };
        let row = |data: &[f32], row: usize| wide(&data[row * n..(row + 1) * n]);
        let f = Capped(f64::from(cap as f32));
        let (mut slopes, mut seconds, mut folded) = (Vec::new(), Vec::new(), wide(&moments));
        for (i, point) in points.iter().enumerate() {
            let (along, here, bar) = (row(&t, i), row(&x, *point as usize), row(&bar, *point as usize));
            let [slope, second] = jet(&f, &here, [&along, &vec![0.0; n]]);
            // The jet has g'' t^2.
            folded[4 * i + 3] += second.iter().zip(&bar).map(|(second, bar)| second * bar).sum::<f64>();
            seconds.extend(second.iter().zip(&bar).zip(&along).map(|((second, bar), t)| second * bar / t));
            slopes.extend(slope);
        }
        let want = [f.at(&wide(&x)), slopes, seconds, folded].map(Labelled::reference);
        for on in subjects() {
            let got = run(on).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            for ((got, want), worst) in got.iter().zip(&want).zip(&mut worst) {
                worst.check(format!("n {n}, cap {cap}"), got, want, tolerance::SOFTCAP);
            }
        }
    }
}
