//! Products with f16 weights: every epilogue of every variant, and every f16 value; also with inputs rounded to f16.

use half::f16;
use resolvent_engine::Device;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::mlp::Mlp;
use resolvent_ops::{Op, Residuals, Rows, Span, Weight};
use resolvent_tests::truth::{Function, wide};
use resolvent_tests::{Labelled, Random, Record, Subject, Worst, rounding_subjects, tolerance, variant_subjects};

use super::formulas::{self, Affine, Frozen};
use super::rowwise::{check_mlp, check_product};

/// Rounds elements to f16.
fn rounded(elements: Vec<f32>) -> Vec<f32> {
    elements.into_iter().map(|x| f16::from_f32(x).to_f32()).collect()
}

/// Uploads a weight `[k, n]` in f16.
fn f16_weight(device: &Device, [k, n]: [usize; 2], elements: &[f32]) -> resolvent_engine::Result<Weight> {
    let rounded: Vec<f16> = elements.iter().map(|&x| f16::from_f32(x)).collect();
    let pairs = rounded.as_chunks::<2>().0.iter();
    let words: Vec<u32> = pairs.map(|[a, b]| u32::from(a.to_bits()) | u32::from(b.to_bits()) << 16).collect();
    Weight::f16s(device.upload("w", &[("k", k), ("pairs", n / 2)], &words)?)
}

/// (rows, k, n): at and past the tiles of 16, 24, 64 and 128, and few and many rows for the host.
const PRODUCTS: [[usize; 3]; 9] = [
    [1, 8, 8],
    [9, 24, 64],
    [7, 768, 16],
    [16, 48, 128],
    [17, 8, 72],
    [25, 64, 136],
    [49, 16, 8],
    [65, 200, 24],
    [133, 40, 264],
];

#[test]
fn matmul_of_f16() {
    let (mut record, mut hvp) = (Record::new("matmul, f16"), Worst::new("matmul.hvp, f16"));
    for shape in PRODUCTS {
        check_product((&mut record, &mut hvp), shape, rounded, f16_weight);
    }
}

#[test]
fn mlp_of_f16() {
    let (mut record, mut hvp) = (Record::new("mlp, f16"), Worst::new("mlp.hvp, f16"));
    let mut frozen_record = Record::new("mlp, f16, frozen");
    for case in [([3, 24, 96], true, false), ([17, 48, 128], false, true), ([49, 16, 72], true, true)] {
        check_mlp((&mut record, &mut hvp, &mut frozen_record), case, rounded, f16_weight);
    }
}

/// A product with the identity returns all finite f16 values: in rows by the jvp, transposed by the vjp. Denormal
/// values are not flushed, although most GPUs flush denormal numbers.
#[test]
fn every_f16_is_read() {
    let all: Vec<f32> =
        (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()).map(|x| if x.is_finite() { x } else { 0.0 }).collect();
    let (few, many) = (8, all.len() / 8);
    let identity: Vec<f32> = (0..few * few).map(|i| f32::from(u8::from(i % (few + 1) == 0))).collect();
    for on in variant_subjects() {
        let device = on.device();
        for [k, n] in [[few, many], [many, few]] {
            let read = || -> resolvent_engine::Result<Vec<f32>> {
                let bias = device.upload("bias", &[("n", n)], &vec![0.0f32; n])?;
                let op = Matmul { w: f16_weight(device, [k, n], &all)?, bias, add: false };
                let rows = Rows::new(device, &[Span { primal: 0, start: 0, end: few }])?;
                let x = device.upload("x", &[("rows", few), ("d", few)], &identity)?;
                let mut rec = device.record();
                let y = match n == many {
                    true => op.jvp(&mut rec, &rows, &Residuals::default(), &[&x])?,
                    false => op.vjp(&mut rec, &rows, &Residuals::default(), &x, &[None])?.remove(0),
                };
                device.submit(rec)?;
                device.read(&y)
            };
            let got = read().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            assert_eq!(got.len(), all.len());
            for (i, &got) in got.iter().enumerate() {
                // The vjp returns w transposed.
                let want = if n == many { all[i] } else { all[(i % many) * few + i / many] };
                assert!(got == want, "{}: [{k}, {n}], element {i}: {got:e}, not {want:e}", on.name());
            }
        }
    }
}

/// Kernels read f16 weights in groups of eight, so that other lengths are refused.
#[test]
fn f16_weights_of_odd_lengths_are_refused() {
    for on in variant_subjects() {
        for [k, n] in [[8, 4], [12, 8]] {
            let error = f16_weight(on.device(), [k, n], &vec![1.0; k * n]).expect_err("no multiple of eight");
            assert!(error.to_string().contains("multiples of 8"), "{error}");
        }
    }
}

fn rounding(device: &Device, shape: [usize; 2], elements: &[f32]) -> resolvent_engine::Result<Weight> {
    Ok(f16_weight(device, shape, elements)?.rounding_inputs(true))
}

/// Computes the primal of `op` at `inputs`, each of `rows` rows.
fn primal(on: &Subject, op: &dyn Op, rows: usize, inputs: &[&[f32]]) -> Vec<f32> {
    let device = on.device();
    let run = || -> resolvent_engine::Result<Vec<f32>> {
        let table = Rows::new(device, &[Span { primal: 0, start: 0, end: rows }])?;
        let upload = |x: &&[f32]| device.upload("x", &[("rows", rows), ("d", x.len() / rows)], x);
        let inputs: Vec<_> = inputs.iter().map(upload).collect::<Result<_, _>>()?;
        let mut rec = device.record();
        let y = op.primal(&mut rec, &table, None, &inputs.iter().collect::<Vec<_>>())?.y;
        device.submit(rec)?;
        device.read(&y)
    };
    run().unwrap_or_else(|e| panic!("{}: {e}", on.name()))
}

/// Each epilogue is computed from the rounded input to the accuracy of f32. Rounding itself is exact on every device.
#[test]
fn matmul_f16() {
    let mut worst = Worst::new("matmul_f16.primal");
    for [rows, k, n] in PRODUCTS {
        let mut random = Random::new((k * n) as u64);
        let (w, bias) = (rounded(random.normals(k * n)), random.normals(n));
        let (proj, proj_bias) = (random.scaled(n * 8, (n as f64).powf(-0.5)), random.normals(8));
        let (x, residual) = (random.normals(rows * k), random.normals(rows * n));
        let at = wide(&rounded(x.clone()));
        let allowed = [tolerance::matmul(k, n).primal, tolerance::mlp(k, n).primal];
        let product = || Affine::new(&w, &bias);
        let alone = Labelled::reference(formulas::Matmul { product: product(), rows }.at(&at));
        let both: Vec<f64> = at.iter().copied().chain(wide(&residual)).collect();
        let added = Labelled::reference(formulas::Matmul { product: product(), rows }.at(&both));
        let proj_f = Affine::new(&proj, &proj_bias);
        let (form, frozen) = (formulas::form(false), Frozen::default());
        let f = formulas::Mlp { fc: product(), proj: proj_f, form, frozen, rows };
        let through = Labelled::reference(f.at(&at));
        for on in rounding_subjects() {
            let device = on.device();
            let vector = |data: &[f32]| device.upload("bias", &[("d", data.len())], data).expect("there is room");
            let weight = || rounding(device, [k, n], &w).expect("there is room");
            let op = |add| Matmul { w: weight(), bias: vector(&bias), add };
            let got = primal(on, &op(false), rows, &[&x]);
            worst.check(k * n, &on.label(&got), &alone, allowed[0]);
            let got = primal(on, &op(true), rows, &[&x, &residual]);
            worst.check(k * n, &on.label(&got), &added, allowed[0]);
            let w = Weight::full(device.upload("w", &[("k", n), ("n", 8)], &proj).expect("there is room"));
            let proj = Matmul { w, bias: vector(&proj_bias), add: false };
            let op = Mlp { fc: (weight(), vector(&bias)), proj, exact: false, frozen: false };
            worst.check(k * n, &on.label(&primal(on, &op, rows, &[&x])), &through, allowed[1]);
        }
    }
}

/// Inputs of all sizes, including midpoints between two f16 values, are rounded to the nearest f16. A product with the
/// identity shows them.
///
/// Matrix units may flush f16 values below 2^-14. Inputs too large for f16 give no finite number.
#[test]
fn inputs_are_rounded_to_the_nearest_f16() {
    let mut random = Random::new(8);
    let mut x: Vec<f32> = random.normals(2048);
    for bits in (0..0x7bffu16).step_by(7) {
        let [low, high] = [bits, bits + 1].map(|bits| f16::from_bits(bits).to_f32());
        let tie = f32::midpoint(low, high);
        x.extend([low, tie, -tie, tie.next_down(), tie.next_up(), -high]);
    }
    x.truncate(x.len() / 8 * 8);
    let identity: Vec<f32> = (0..64).map(|i| f32::from(u8::from(i % 9 == 0))).collect();
    for on in rounding_subjects() {
        let device = on.device();
        let w = rounding(device, [8, 8], &identity).expect("there is room");
        let bias = device.upload("bias", &[("n", 8)], &[0.0f32; 8]).expect("there is room");
        let op = Matmul { w, bias, add: false };
        let got = primal(on, &op, x.len() / 8, &[&x]);
        for ((&x, want), got) in x.iter().zip(rounded(x.clone())).zip(got) {
            let flushed = got == 0.0 && want.abs() < f16::MIN_POSITIVE.to_f32();
            assert!(got == want || flushed, "{}: {x:e} became {got:e}, not {want:e}", on.name());
        }
        for beyond in [65520.0, -7e4, 1e38, f32::INFINITY, f32::NAN] {
            let got = primal(on, &op, 1, &[&[1.0, 1.0, 1.0, beyond, 1.0, 1.0, 1.0, 1.0]]);
            assert!(!got[3].is_finite(), "{}: {beyond} became {}", on.name(), got[3]);
        }
    }
}
