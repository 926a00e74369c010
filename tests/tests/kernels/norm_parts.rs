//! The parts of a norm: centred rows with their scales, the division by them, and gain and bias.

use resolvent_engine::Device;
use resolvent_ops::divide::Divide;
use resolvent_ops::gain::Gain;
use resolvent_ops::layer_norm::LayerNorm;
use resolvent_ops::norm_scale::NormScale;
use resolvent_ops::rms_norm::{RmsNorm, Segments};
use resolvent_ops::{Op, Rows, Span};
use resolvent_tests::truth::wide;
use resolvent_tests::{Allowed, HvpCheck, OpCheck, Random, Record, Worst, subjects, tolerance};

use super::formulas::{self, Frozen};

const SHAPES: [(usize, usize); 8] = [(3, 1), (2, 3), (7, 24), (16, 30), (33, 66), (3, 127), (65, 130), (2, 768)];

#[test]
fn norm_scale() {
    let (mut record, mut hvp) = (Record::new("norm_scale"), Worst::new("norm_scale.hvp"));
    let mut frozen_record = Record::new("norm_scale, frozen");
    for (rows, d) in SHAPES {
        for centred in [false, true] {
            // A row of few elements has little beside its direction: a large eps keeps the rest from rounding alone.
            let eps = if d < 4 { 0.5 } else { 1e-5 };
            let op = |_: &Device| Ok(NormScale { d, centred, eps, frozen: false });
            let f = formulas::NormScale { d, form: (centred, f64::from(eps)), frozen: Frozen::default() };
            let allowed = tolerance::NORM_SCALE;
            OpCheck::new(rows, &[d], d + 1).check(&mut record, &subjects(), op, &f, allowed);
            HvpCheck::new(rows, &[d], d + 1).check(&mut hvp, &subjects(), op, &f, allowed);
            let freezing = |device: &Device| op(device).map(|op| NormScale { frozen: true, ..op });
            let f = formulas::NormScale { frozen: Frozen { norm: true, ..f.frozen }, ..f };
            let plan = OpCheck { second: false, ..OpCheck::new(rows, &[d], d + 1) };
            plan.check(&mut frozen_record, &subjects(), freezing, &f, allowed);
        }
    }
}

#[test]
fn divide() {
    let (mut record, mut hvp) = (Record::new("divide"), Worst::new("divide.hvp"));
    for (rows, d) in SHAPES {
        let (op, f, allowed) = (|_: &Device| Ok(Divide { d }), formulas::Divide(d), tolerance::DIVIDE);
        OpCheck::new(rows, &[d + 1], d).check(&mut record, &subjects(), op, &f, allowed);
        HvpCheck::new(rows, &[d + 1], d).check(&mut hvp, &subjects(), op, &f, allowed);
    }
}

#[test]
fn gain() {
    let (mut record, mut hvp) = (Record::new("gain"), Worst::new("gain.hvp"));
    for (rows, d) in SHAPES {
        for biased in [false, true] {
            let mut random = Random::new(d as u64);
            let (gain, bias) = (random.normals(d), if biased { random.normals(d) } else { vec![0.0; d] });
            let op = |device: &Device| {
                let upload = |name: &str, x: &[f32]| device.upload(name, &[("d", d)], x);
                let bias = biased.then(|| upload("bias", &bias)).transpose()?;
                Ok(Gain { gain: upload("gain", &gain)?, bias })
            };
            let f = formulas::Gain { gain: wide(&gain), bias: wide(&bias) };
            let one = 2.0 * tolerance::POINTWISE;
            let allowed = Allowed { primal: one, jvp: one, jet: one, vjp: one };
            OpCheck::new(rows, &[d], d).check(&mut record, &subjects(), op, &f, allowed);
            HvpCheck::new(rows, &[d], d).check(&mut hvp, &subjects(), op, &f, allowed);
        }
    }
}

/// The three parts are the norm, of ordinary rows, of rows whose squares overflow, and of constant ones.
#[test]
fn the_parts_are_the_norm() {
    let d = 40;
    let mut random = Random::new(4);
    let mut x = random.normals(4 * d);
    x[d..2 * d].iter_mut().for_each(|x| *x *= 1e24);
    x[2 * d..3 * d].fill(3.0);
    x[3 * d..].iter_mut().for_each(|x| *x *= 1e-9);
    let (gain, bias) = (random.normals(d), random.normals(d));
    for on in subjects() {
        let device = on.device();
        let upload = |name: &str, x: &[f32]| device.upload(name, &[("d", d)], x).expect("uploads");
        let (gain, bias) = (upload("gain", &gain), upload("bias", &bias));
        let rows = Rows::new(device, &[Span { primal: 0, start: 0, end: 4 }]).expect("rows");
        let x = device.upload("x", &[("rows", 4), ("d", d)], &x).expect("uploads");
        for centred in [false, true] {
            let eps = 1e-5;
            let segments = Segments::whole(device, d).expect("segments");
            let whole: Box<dyn Op> = match centred {
                true => Box::new(LayerNorm { gain: gain.clone(), bias: bias.clone(), eps, frozen: false }),
                false => Box::new(RmsNorm { gain: gain.clone(), eps, segments, frozen: false }),
            };
            let last = Gain { gain: gain.clone(), bias: centred.then(|| bias.clone()) };
            let mut rec = device.record();
            let mut of = |op: &dyn Op, x| op.primal(&mut rec, &rows, None, &[x]).expect("records").y;
            let want = of(&*whole, &x);
            let scaled = of(&NormScale { d, centred, eps, frozen: false }, &x);
            let divided = of(&Divide { d }, &scaled);
            let got = of(&last, &divided);
            device.submit(rec).expect("runs");
            let [want, got] = [want, got].map(|y| device.read(&y).expect("read"));
            let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max);
            assert!(far < 2e-6 && got.iter().all(|y| y.is_finite()), "{} {centred}: {far}", on.name());
        }
    }
}
