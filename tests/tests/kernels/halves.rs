//! Products with weights in halves: every epilogue in every text, and every half there is.

use half::f16;
use resolvent_engine::Device;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::mlp::Mlp;
use resolvent_ops::{Kept, Op, Rows, Span, Weight};
use resolvent_tests::{Bent, Plan, Random, Record, Worst, text_subjects, tolerance};

use super::formulas::{self, Affine, Held};

/// Numbers that halves hold.
fn rounded(numbers: &[f32]) -> Vec<f32> {
    numbers.iter().map(|&x| f16::from_f32(x).to_f32()).collect()
}

/// A weight `[k, n]` in halves.
fn halves(device: &Device, [k, n]: [usize; 2], numbers: &[f32]) -> resolvent_engine::Result<Weight> {
    let halves: Vec<f16> = numbers.iter().map(|&x| f16::from_f32(x)).collect();
    let pairs = halves.as_chunks::<2>().0.iter();
    let words: Vec<u32> = pairs.map(|[a, b]| u32::from(a.to_bits()) | u32::from(b.to_bits()) << 16).collect();
    Weight::halves(device.upload("w", &[("k", k), ("pairs", n / 2)], &words)?)
}

/// (rows, k, n): at and past the tiles of 16, 24 and 64, and few and many rows of the host.
const PRODUCTS: [[usize; 3]; 8] = [
    [1, 8, 8],
    [9, 24, 64],
    [7, 768, 16],
    [16, 48, 128],
    [17, 8, 72],
    [25, 64, 136],
    [49, 16, 8],
    [65, 200, 24],
];

#[test]
fn matmul_of_halves() {
    let (mut record, mut bent) = (Record::new("matmul, halves"), Worst::new("matmul.hvp, halves"));
    for [rows, k, n] in PRODUCTS {
        for add in [false, true] {
            let mut random = Random::new((k * n) as u64);
            let (w, bias) = (rounded(&random.normals(k * n)), random.normals(n));
            let op = |device: &Device| {
                let bias = device.upload("bias", &[("n", n)], &bias)?;
                Ok(Matmul { w: halves(device, [k, n], &w)?, bias, add })
            };
            let f = |rows| formulas::Matmul { product: Affine::new(&w, &bias), rows };
            let widths = if add { vec![k, n] } else { vec![k] };
            let allowed = tolerance::matmul(k, n);
            Plan::new(rows, &widths, n).check(&mut record, &text_subjects(), op, &f(rows), allowed);
            let case = Bent::new(rows, &widths, n);
            case.check(&mut bent, &text_subjects(), op, &f(case.tokens()), allowed);
        }
    }
}

#[test]
fn mlp_of_halves() {
    let (mut record, mut frozen_record) = (Record::new("mlp, halves"), Record::new("mlp, halves, held"));
    for ([rows, d, inner], exact, add) in
        [([3, 24, 96], true, false), ([17, 48, 128], false, true), ([49, 16, 72], true, true)]
    {
        let mut random = Random::new((d * inner) as u64);
        let fc = (rounded(&random.scaled(d * inner, (d as f64).powf(-0.5))), random.normals(inner));
        let proj = (rounded(&random.scaled(inner * d, (inner as f64).powf(-0.5))), random.normals(d));
        let op = |device: &Device| {
            let bias = device.upload("proj.b", &[("d", d)], &proj.1)?;
            let fc = (halves(device, [d, inner], &fc.0)?, device.upload("fc.b", &[("n", inner)], &fc.1)?);
            Ok(Mlp {
                fc,
                proj: Matmul { w: halves(device, [inner, d], &proj.0)?, bias, add },
                exact,
                held: false,
            })
        };
        let f = |ratio| formulas::Mlp {
            fc: Affine::new(&fc.0, &fc.1),
            proj: Affine::new(&proj.0, &proj.1),
            form: formulas::form(exact),
            held: Held { ratio, ..Held::default() },
            rows,
        };
        let widths = if add { vec![d, d] } else { vec![d] };
        let allowed = tolerance::mlp(d, inner);
        Plan::new(rows, &widths, d).check(&mut record, &text_subjects(), op, &f(false), allowed);
        let frozen = |device: &Device| op(device).map(|op| Mlp { held: true, ..op });
        let plan = Plan { second: false, ..Plan::new(rows, &widths, d) };
        plan.check(&mut frozen_record, &text_subjects(), frozen, &f(true), allowed);
    }
}

/// All finite halves, as the rows of a product with the identity: straight by the jvp, transposed by the vjp. Normal ones come out
/// as they are; of those below 2^-14 a GPU may make zeros.
#[test]
fn every_half_is_read() {
    let all: Vec<f32> = (0..=u16::MAX)
        .map(|bits| f16::from_bits(bits).to_f32())
        .map(|x| if x.is_finite() { x } else { 0.0 })
        .collect();
    let (few, many) = (8, all.len() / 8);
    let identity: Vec<f32> = (0..few * few).map(|i| f32::from(u8::from(i % (few + 1) == 0))).collect();
    for on in text_subjects() {
        let device = on.device();
        for [k, n] in [[few, many], [many, few]] {
            let read = || -> resolvent_engine::Result<Vec<f32>> {
                let bias = device.upload("bias", &[("n", n)], &vec![0.0f32; n])?;
                let op = Matmul { w: halves(device, [k, n], &all)?, bias, add: false };
                let rows = Rows::new(device, &[Span { primal: 0, start: 0, end: few }])?;
                let x = device.upload("x", &[("rows", few), ("d", few)], &identity)?;
                let mut rec = device.record();
                let y = match n == many {
                    true => op.jvp(&mut rec, &rows, &Kept::default(), &[&x])?,
                    false => op.vjp(&mut rec, &rows, &Kept::default(), &x, &[None])?.remove(0),
                };
                device.submit(rec)?;
                device.read(&y)
            };
            let got = read().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            assert_eq!(got.len(), all.len());
            for (i, &got) in got.iter().enumerate() {
                // The vjp gives w transposed.
                let want = if n == many { all[i] } else { all[(i % many) * few + i / many] };
                let flushed = got == 0.0 && want.abs() < f16::MIN_POSITIVE.to_f32();
                assert!(
                    got == want || flushed,
                    "{}: [{k}, {n}], number {i}: {got:e}, not {want:e}",
                    on.name()
                );
            }
        }
    }
}

/// What would not be read whole is refused.
#[test]
fn halves_of_odd_lengths_are_refused() {
    for on in text_subjects() {
        for [k, n] in [[8, 4], [12, 8]] {
            let error = halves(on.device(), [k, n], &vec![1.0; k * n]).expect_err("no multiple of eight");
            assert!(error.to_string().contains("multiples of 8"), "{error}");
        }
    }
}
