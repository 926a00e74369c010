//! Jets with cancellation: the common part of all keys, or of all components of a row, is far larger than their
//! differences.
//!
//! The common part may increase the relative error in proportion to its size, but its square must not.

use resolvent_engine::{Device, Result};
use resolvent_ops::attention::Attention;
use resolvent_ops::layer_norm::LayerNorm;
use resolvent_ops::{Op, Rows, Span};
use resolvent_tests::truth::{Function, jet, wide};
use resolvent_tests::{Labelled, Random, Worst, tolerance, variant_subjects};

use super::formulas::{self, Frozen};

/// A point `[rows, d]`, and both orders of a jet at it.
struct Case {
    rows: usize,
    x: Vec<f32>,
    orders: [Vec<f32>; 2],
}

impl Case {
    fn new(rows: usize, d: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut normals = || random.normals(rows * d);
        Self { rows, x: normals(), orders: [normals(), normals()] }
    }

    fn check(&self, worst: &mut Worst, op: impl Fn(&Device) -> Result<Box<dyn Op>>, f: &impl Function, allowed: f64) {
        let [x_dot, x_ddot] = self.orders.each_ref().map(|order| wide(order));
        let truth = jet(f, &wide(&self.x), [&x_dot, &x_ddot]).map(Labelled::reference);
        let (d, out) = (self.x.len() / self.rows, truth[0].values().len() / self.rows);
        let pairs = self.orders[0].chunks(d).zip(self.orders[1].chunks(d));
        let interleaved: Vec<f32> = pairs.flat_map(|(first, second)| [first, second].concat()).collect();
        for on in variant_subjects() {
            let run = || -> Result<[Labelled; 2]> {
                let device = on.device();
                let rows = Rows::new(device, &[Span { primal: 0, start: 0, end: self.rows }])?;
                let x = device.upload("x", &[("rows", self.rows), ("d", d)], &self.x)?;
                let x_jet = device.upload("x_jet", &[("rows", 2 * self.rows), ("d", d)], &interleaved)?;
                let (op, mut rec) = (op(device)?, device.record());
                let residuals = op.primal(&mut rec, &rows, None, &[&x])?.residuals;
                let y_jet = op.jet(&mut rec, &rows, &residuals, &[&x_jet])?;
                device.submit(rec)?;
                Ok(on.read(&y_jet).orders(out))
            };
            let got = run().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            for (order, (got, truth)) in got.iter().zip(&truth).enumerate() {
                worst.check(format!("order {}", order + 1), got, truth, allowed);
            }
        }
    }
}

/// Every key has 30 in its first component, and queries move along it. All s_dot of a row are therefore near 30 times
/// the move.
#[test]
fn attention_jets_do_not_square_what_all_keys_share() {
    let (tokens, heads, d_head, common) = (130, 2, 16, 30.0);
    let d = heads * d_head;
    let mut case = Case::new(tokens, 3 * d, 3);
    for t in 0..tokens {
        for head in 0..heads {
            let [q, k] = [0, 1].map(|part| (3 * t + part) * d + head * d_head);
            // A common score would add its rounding error to the weights, so it is zero.
            case.x[q] = 0.0;
            case.x[k] += common;
            case.orders[0][q] += common;
        }
    }
    let op = Attention { scale: 0.25, ..Attention::new(heads, d_head) };
    let f = formulas::Attention { prompts: vec![tokens], op };
    let shared = f64::from(common * common * op.scale);
    let allowed = shared * tolerance::POINTWISE;
    let mut worst = Worst::new("attention.jet, common s_dot");
    case.check(&mut worst, |_| Ok(Box::new(op)), &f, allowed);
}

/// All components of x_dot are near 300; the mean is subtracted, so that it does not change the result.
#[test]
fn layer_norm_jets_do_not_square_the_mean() {
    let (rows, d, common) = (17, 66, 300.0);
    let mut case = Case::new(rows, d, 4);
    case.orders[0].iter_mut().for_each(|x| *x += common);
    let (gain, bias) = (Random::new(5).normals(d), Random::new(6).normals(d));
    let op = |device: &Device| -> Result<Box<dyn Op>> {
        let vector = |data: &[f32]| device.upload("vector", &[("d", d)], data);
        Ok(Box::new(LayerNorm { gain: vector(&gain)?, bias: vector(&bias)?, eps: 1e-5, frozen: false }))
    };
    let f = formulas::LayerNorm { gain: wide(&gain), bias: wide(&bias), eps: 1e-5, frozen: Frozen::default() };
    let allowed = f64::from(common) * tolerance::POINTWISE;
    case.check(&mut Worst::new("layer_norm.jet, common x_dot"), op, &f, allowed);
}
