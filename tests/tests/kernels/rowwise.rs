//! Ops that compute each row independently: layer norm, GELU, products, MLP, add.

use resolvent_engine::{Device, Result, Tensor};
use resolvent_ops::add::Add;
use resolvent_ops::columns::Columns;
use resolvent_ops::gelu::Gelu;
use resolvent_ops::layer_norm::LayerNorm;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::mlp::Mlp;
use resolvent_ops::{Linear, Weight};
use resolvent_tests::truth::wide;
use resolvent_tests::{Allowed, HvpCheck, OpCheck, Random, Record, Worst, subjects, tolerance, variant_subjects};

use super::formulas::{self, Affine, Frozen};

fn vector(device: &Device, name: &str, data: &[f32]) -> Result<Tensor> {
    device.upload(name, &[("d", data.len())], data)
}

#[test]
fn layer_norm() {
    let (mut record, mut hvp) = (Record::new("layer_norm"), Worst::new("layer_norm.hvp"));
    let mut frozen_record = Record::new("layer_norm, frozen");
    for (rows, d) in [(1, 1), (3, 1), (2, 3), (7, 24), (16, 30), (17, 48), (33, 66), (3, 127), (65, 130), (2, 768)] {
        let mut random = Random::new(d as u64);
        let (gain, bias) = (random.normals(d), random.normals(d));
        let op = |device: &Device| {
            let (gain, bias) = (vector(device, "gain", &gain)?, vector(device, "bias", &bias)?);
            Ok(LayerNorm { gain, bias, eps: 1e-5, frozen: false })
        };
        let frozen = Frozen::default();
        let f = formulas::LayerNorm { gain: wide(&gain), bias: wide(&bias), eps: 1e-5, frozen };
        let allowed = tolerance::LAYER_NORM;
        OpCheck::new(rows, &[d], d).check(&mut record, &subjects(), op, &f, allowed);
        HvpCheck::new(rows, &[d], d).check(&mut hvp, &subjects(), op, &f, allowed);
        let freezing = |device: &Device| op(device).map(|op| LayerNorm { frozen: true, ..op });
        let f = formulas::LayerNorm { frozen: Frozen { norm: true, ..frozen }, ..f };
        let plan = OpCheck { second: false, ..OpCheck::new(rows, &[d], d) };
        plan.check(&mut frozen_record, &subjects(), freezing, &f, allowed);
    }
}

#[test]
fn gelu() {
    let (mut record, mut hvp) = (Record::new("gelu"), Worst::new("gelu.hvp"));
    let mut frozen_record = Record::new("gelu, frozen");
    for (rows, n) in [(1, 1), (2, 3), (3, 24), (7, 30), (16, 66), (17, 127), (33, 130), (65, 48), (2, 768)] {
        for exact in [false, true] {
            let f = formulas::Gelu(formulas::form(exact), Frozen::default());
            let allowed = tolerance::GELU;
            let op = |_: &Device| Ok(Gelu { n, exact, frozen: false });
            OpCheck::new(rows, &[n], n).check(&mut record, &subjects(), op, &f, allowed);
            HvpCheck::new(rows, &[n], n).check(&mut hvp, &subjects(), op, &f, allowed);
            let f = formulas::Gelu(f.0, Frozen { ratio: true, ..f.1 });
            let plan = OpCheck { second: false, ..OpCheck::new(rows, &[n], n) };
            let freezing = |_: &Device| Ok(Gelu { n, exact, frozen: true });
            plan.check(&mut frozen_record, &subjects(), freezing, &f, allowed);
        }
    }
}

#[test]
fn add() {
    let (mut record, mut hvp) = (Record::new("add"), Worst::new("add.hvp"));
    for (rows, d) in [(1, 1), (3, 30), (65, 127), (7, 768)] {
        let one = tolerance::POINTWISE;
        let allowed = Allowed { primal: one, jvp: one, jet: one, vjp: one };
        let op = |_: &Device| Ok(Add);
        OpCheck::new(rows, &[d, d], d).check(&mut record, &subjects(), op, &formulas::Add, allowed);
        HvpCheck::new(rows, &[d, d], d).check(&mut hvp, &subjects(), op, &formulas::Add, allowed);
    }
}

#[test]
fn columns() {
    let (mut record, mut hvp) = (Record::new("columns"), Worst::new("columns.hvp"));
    for (rows, [width, first, n]) in [(1, [1, 0, 1]), (3, [30, 10, 7]), (65, [127, 0, 64]), (7, [768, 704, 64])] {
        let one = tolerance::POINTWISE;
        let allowed = Allowed { primal: one, jvp: one, jet: one, vjp: one };
        let columns = Columns { width, first, n };
        let (op, f) = (|_: &Device| Ok(columns), formulas::Columns(columns));
        OpCheck::new(rows, &[width], n).check(&mut record, &subjects(), op, &f, allowed);
        HvpCheck::new(rows, &[width], n).check(&mut hvp, &subjects(), op, &f, allowed);
    }
    let device = Device::host();
    let x = device.upload("x", &[("rows", 2), ("width", 5)], &[1.0f32; 10]).expect("uploads");
    for (outside, part) in [
        (Columns { width: 5, first: 3, n: 3 }, "columns 3 to 6 are outside of a row of 5"),
        (Columns { width: 5, first: 3, n: 0 }, "columns 3 to 3 are outside of a row of 5"),
        (Columns { width: 4, first: 0, n: 3 }, "width"),
    ] {
        let error = Linear::apply(&outside, &mut device.record(), &[&x]).expect_err("does not fit").to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// (rows, k, n): below, at and past the tiles of 4, 16, 24, 64 and 128, in whole vec4 or not.
const PRODUCTS: [[usize; 3]; 17] = [
    [1, 1, 1],
    [1, 768, 66],
    [2, 3, 5],
    [3, 24, 64],
    [7, 30, 66],
    [15, 16, 17],
    [16, 48, 128],
    [17, 65, 63],
    [9, 20, 68],
    [23, 16, 60],
    [25, 64, 132],
    [49, 100, 4],
    [33, 66, 127],
    [64, 17, 64],
    [65, 127, 130],
    [130, 31, 3],
    [133, 36, 260],
];

/// Uploads a weight `[k, n]` with the given elements to a device.
pub(super) type Upload = fn(&Device, [usize; 2], &[f32]) -> Result<Weight>;

fn full(device: &Device, [k, n]: [usize; 2], elements: &[f32]) -> Result<Weight> {
    Ok(Weight::full(device.upload("w", &[("k", k), ("n", n)], elements)?))
}

/// Checks a product of this shape, with and without residual. `made` rounds the weight to the format of `upload`.
pub(super) fn check_product(
    (record, hvp): (&mut Record, &mut Worst),
    [rows, k, n]: [usize; 3],
    made: fn(Vec<f32>) -> Vec<f32>,
    upload: Upload,
) {
    for add in [false, true] {
        let mut random = Random::new((k * n) as u64);
        let (w, bias) = (made(random.normals(k * n)), random.normals(n));
        let op =
            |device: &Device| Ok(Matmul { w: upload(device, [k, n], &w)?, bias: vector(device, "bias", &bias)?, add });
        let f = |rows| formulas::Matmul { product: Affine::new(&w, &bias), rows };
        let widths = if add { vec![k, n] } else { vec![k] };
        let allowed = tolerance::matmul(k, n);
        OpCheck::new(rows, &widths, n).check(record, &variant_subjects(), op, &f(rows), allowed);
        let case = HvpCheck::new(rows, &widths, n);
        case.check(hvp, &variant_subjects(), op, &f(case.tokens()), allowed);
    }
}

#[test]
fn matmul() {
    let (mut record, mut hvp) = (Record::new("matmul"), Worst::new("matmul.hvp"));
    for shape in PRODUCTS {
        check_product((&mut record, &mut hvp), shape, |w| w, full);
    }
}

/// Checks an MLP of this shape, with its ratio free and frozen.
pub(super) fn check_mlp(
    (record, hvp, frozen_record): (&mut Record, &mut Worst, &mut Record),
    ([rows, d, inner], exact, add): ([usize; 3], bool, bool),
    made: fn(Vec<f32>) -> Vec<f32>,
    upload: Upload,
) {
    let mut random = Random::new((d * inner) as u64);
    // The sizes of the weights give both layers order one.
    let fc = (made(random.scaled(d * inner, (d as f64).powf(-0.5))), random.normals(inner));
    let proj = (made(random.scaled(inner * d, (inner as f64).powf(-0.5))), random.normals(d));
    let op = |device: &Device| {
        let (w, bias) = (upload(device, [inner, d], &proj.0)?, vector(device, "proj.b", &proj.1)?);
        let fc = (upload(device, [d, inner], &fc.0)?, vector(device, "fc.b", &fc.1)?);
        Ok(Mlp { fc, proj: Matmul { w, bias, add }, exact, frozen: false })
    };
    let f = |rows, ratio| formulas::Mlp {
        fc: Affine::new(&fc.0, &fc.1),
        proj: Affine::new(&proj.0, &proj.1),
        form: formulas::form(exact),
        frozen: Frozen { ratio, ..Frozen::default() },
        rows,
    };
    let widths = if add { vec![d, d] } else { vec![d] };
    let allowed = tolerance::mlp(d, inner);
    OpCheck::new(rows, &widths, d).check(record, &variant_subjects(), op, &f(rows, false), allowed);
    let case = HvpCheck::new(rows, &widths, d);
    case.check(hvp, &variant_subjects(), op, &f(case.tokens(), false), allowed);
    let frozen = |device: &Device| op(device).map(|op| Mlp { frozen: true, ..op });
    let plan = OpCheck { second: false, ..OpCheck::new(rows, &widths, d) };
    plan.check(frozen_record, &variant_subjects(), frozen, &f(rows, true), allowed);
}

#[test]
fn mlp() {
    let (mut record, mut hvp) = (Record::new("mlp"), Worst::new("mlp.hvp"));
    let mut frozen_record = Record::new("mlp, frozen");
    for case in [
        ([1, 1, 4], false, true),
        ([3, 24, 96], true, false),
        ([7, 30, 66], false, true),
        ([17, 48, 127], true, true),
        ([33, 66, 130], false, false),
    ] {
        check_mlp((&mut record, &mut hvp, &mut frozen_record), case, |w| w, full);
    }
}
