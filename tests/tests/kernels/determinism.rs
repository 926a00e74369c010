//! Repetitions of a recording give the same bits: reductions have a fixed order on every executor.

use resolvent_engine::Result;
use resolvent_ops::attention::Attention;
use resolvent_ops::layer_norm::LayerNorm;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::{Op, Rows, Span, Weight};
use resolvent_tests::{OpCheck, Random, Subject, variant_subjects};

fn same_bits(plan: &OpCheck, on: &Subject, op: &dyn Op) {
    let bits = || {
        let done = plan.run(on, op).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let arrays = [&done.y, &done.y_dot].into_iter().chain(&done.y_jet).chain(&done.x_bars);
        arrays.flat_map(|a| a.values().iter().map(|x| x.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let first = bits();
    for again in 0..3 {
        assert!(bits() == first, "{}: {} differs from itself at repetition {again}", on.name(), op.name());
    }
}

#[test]
fn repetitions_agree_bit_for_bit() {
    let mut random = Random::new(11);
    for on in variant_subjects() {
        // Lengths that every variant accepts, and lengths that only `base` accepts.
        for [rows, k, n] in [[3, 200, 66], [65, 130, 67], [3, 200, 68], [65, 132, 64]] {
            let w = on.device().upload("w", &[("k", k), ("n", n)], &random.normals(k * n));
            let bias = on.device().upload("bias", &[("n", n)], &random.normals(n));
            let op = Matmul { w: Weight::full(w.expect("uploads")), bias: bias.expect("uploads"), add: false };
            same_bits(&OpCheck::new(rows, &[k], n), on, &op);
        }
    }
    for on in variant_subjects() {
        let vector = |data: &[f32]| on.device().upload("v", &[("d", data.len())], data).expect("uploads");
        let op = LayerNorm {
            gain: vector(&random.normals(130)),
            bias: vector(&random.normals(130)),
            eps: 1e-5,
            frozen: false,
        };
        same_bits(&OpCheck::new(17, &[130], 130), on, &op);
        let op = Attention::new(3, 16);
        same_bits(&OpCheck::new(70, &[144], 48), on, &op);
    }
}

/// Primal, tangent, jet and cotangent of a sequence have the same bits alone and in a batch, so that a sweep does not
/// depend on how it is split. The lengths lie on both sides of the blocks of 64 tokens of the host.
#[test]
fn a_sequence_has_the_same_bits_alone_and_in_a_batch() {
    const TOKENS: usize = 150;
    let op = Attention::new(3, 16);
    let mut random = Random::new(12);
    let [qkv, qkv_dot, z_bar, qkv_jet] = [144, 144, 48, 288].map(|width| random.normals(TOKENS * width));
    let span = |start| Span { primal: 0, start, end: TOKENS };
    for on in variant_subjects() {
        // The rows of a sequence have the same elements, at any position of the batch.
        let run = |starts: &[usize]| -> Result<Vec<Vec<u32>>> {
            let device = on.device();
            let batched = |data: &[f32], width: usize| -> Vec<f32> {
                starts.iter().flat_map(|s| data[s * width..].to_vec()).collect()
            };
            let upload = |data: &[f32], width: usize| {
                device.upload("x", &[("rows", data.len() / width), ("width", width)], data)
            };
            let base = Rows::new(device, &[span(0)])?;
            let spans: Vec<Span> = starts.iter().map(|&s| span(s)).collect();
            let rows = Rows::new(device, &spans)?;
            let (x, x_dot) = (upload(&qkv, 144)?, upload(&batched(&qkv_dot, 144), 144)?);
            let (x_jet, y_bar) = (upload(&batched(&qkv_jet, 288), 144)?, upload(&batched(&z_bar, 48), 48)?);
            let mut rec = device.record();
            let residuals = op.primal(&mut rec, &base, None, &[&x])?.residuals;
            let z = op.primal(&mut rec, &rows, Some(&residuals), &[&x_dot])?.y;
            let z_dot = op.jvp(&mut rec, &rows, &residuals, &[&x_dot])?;
            let z_jet = op.jet(&mut rec, &rows, &residuals, &[&x_jet])?;
            let bar = op.vjp(&mut rec, &rows, &residuals, &y_bar, &[None])?;
            device.submit(rec)?;
            let bits = |x: &f32| x.to_bits();
            let (z, z_dot) = (device.read(&z)?, device.read(&z_dot)?);
            let (z_jet, bar) = (device.read(&z_jet)?, device.read(&bar[0])?);
            let mut first = 0;
            let one = starts.iter().map(|start| {
                let (at, end) = (first, first + TOKENS - start);
                first = end;
                let jet = &z_jet[at * 96..end * 96];
                let narrow = [&z, &z_dot].into_iter().flat_map(|array| &array[at * 48..end * 48]);
                narrow.chain(jet).chain(&bar[at * 144..end * 144]).map(bits).collect()
            });
            Ok(one.collect())
        };
        let starts = [40, 0, 149, 13, 148, 64, 63, 40, 65, 147];
        let together = run(&starts).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        for (start, bits) in starts.iter().zip(together) {
            let alone = run(&[*start]).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            assert!(alone[0] == bits, "{}: the sequence from token {start} differs in a batch", on.name());
        }
    }
}
