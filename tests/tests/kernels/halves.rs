//! Products with weights in halves: every epilogue in every text, and every half there is.

use half::f16;
use resolvent_engine::Device;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::{Kept, Op, Rows, Span, Weight};
use resolvent_tests::{Record, Worst, text_subjects};

use super::rowwise::{check_mlp, check_product};

/// Numbers that halves hold.
fn rounded(numbers: Vec<f32>) -> Vec<f32> {
    numbers.into_iter().map(|x| f16::from_f32(x).to_f32()).collect()
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
    for shape in PRODUCTS {
        check_product((&mut record, &mut bent), shape, rounded, halves);
    }
}

#[test]
fn mlp_of_halves() {
    let (mut record, mut bent) = (Record::new("mlp, halves"), Worst::new("mlp.hvp, halves"));
    let mut frozen_record = Record::new("mlp, halves, held");
    for case in [([3, 24, 96], true, false), ([17, 48, 128], false, true), ([49, 16, 72], true, true)] {
        check_mlp((&mut record, &mut bent, &mut frozen_record), case, rounded, halves);
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
