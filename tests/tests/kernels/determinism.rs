//! The same recording gives the same bits, run after run: reductions have a fixed order on every executor.

use resolvent_ops::Op;
use resolvent_ops::attention::Attention;
use resolvent_ops::layer_norm::LayerNorm;
use resolvent_ops::matmul::Matmul;
use resolvent_tests::{Plan, Random, Subject, matmul_subjects, subjects};

fn same_bits(plan: &Plan, on: &Subject, op: &dyn Op) {
    let bits = || {
        let done = plan.run(on, op).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let arrays = [&done.y, &done.y_dot].into_iter().chain(&done.x_bars);
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
    for on in matmul_subjects() {
        for [rows, k, n] in [[3, 200, 66], [65, 130, 67]] {
            let w = on.device().upload("w", &[("k", k), ("n", n)], &random.normals(k * n));
            let bias = on.device().upload("bias", &[("n", n)], &random.normals(n));
            let op = Matmul { w: w.expect("uploads"), bias: bias.expect("uploads"), add: false };
            same_bits(&Plan::new(rows, &[k], n), on, &op);
        }
    }
    for on in subjects() {
        let vector = |data: &[f32]| on.device().upload("v", &[("d", data.len())], data).expect("uploads");
        let op =
            LayerNorm { gain: vector(&random.normals(130)), bias: vector(&random.normals(130)), eps: 1e-5 };
        same_bits(&Plan::new(17, &[130], 130), on, &op);
        let op = Attention { heads: 3, d_head: 16, scale: 0.25 };
        same_bits(&Plan::new(70, &[144], 48), on, &op);
    }
}
