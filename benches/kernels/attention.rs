//! Attention with GPT-2 small's heads: primal, one tangent, one jet, one cotangent.

use criterion::{BenchmarkId, Criterion, Throughput};
use resolvent_benches::{devices, operand};
use resolvent_ops::attention::Attention;
use resolvent_ops::{Op, Rows, Span};

const TOKENS: [usize; 3] = [16, 64, 256];

pub(crate) fn bench(c: &mut Criterion) {
    let op = Attention::new(12, 64);
    let d = 768;
    for (name, device) in devices() {
        for tokens in TOKENS {
            let rows =
                Rows::new(&device, &[Span { primal: 0, start: 0, end: tokens }]).expect("a batch of one sequence");
            let wide = |seed| operand(&device, tokens, 3 * d, seed).expect("the operands fit any device");
            let (qkv, qkv_dot) = (wide(1), wide(2));
            let qkv_jet = operand(&device, 2 * tokens, 3 * d, 4).expect("the operands fit any device");
            let z_bar = operand(&device, tokens, d, 3).expect("the operands fit any device");
            let mut rec = device.record();
            let residuals = op.primal(&mut rec, &rows, None, &[&qkv]).expect("the shapes fit").residuals;
            device.submit(rec).expect("attention runs");
            // 4, 10, 24 and 14 flops for each element of a head and each pair of a query and a key up to it.
            let pairs = tokens * (tokens + 1) / 2;
            let id = BenchmarkId::new(name, tokens);
            let entries =
                [("attention.primal", 4), ("attention.jvp", 10), ("attention_second.jet", 24), ("attention.vjp", 14)];
            for (what, flops) in entries {
                let mut group = c.benchmark_group(what);
                group.throughput(Throughput::Elements((flops * d * pairs) as u64)).sample_size(10);
                group.bench_function(id.clone(), |b| {
                    b.iter(|| {
                        let mut rec = device.record();
                        match what {
                            "attention.primal" => op.primal(&mut rec, &rows, None, &[&qkv]).map(|o| vec![o.y]),
                            "attention.jvp" => op.jvp(&mut rec, &rows, &residuals, &[&qkv_dot]).map(|y| vec![y]),
                            "attention_second.jet" => op.jet(&mut rec, &rows, &residuals, &[&qkv_jet]).map(|y| vec![y]),
                            _ => op.vjp(&mut rec, &rows, &residuals, &z_bar, &[None]),
                        }?;
                        device.submit(rec)?;
                        device.wait()
                    });
                });
                group.finish();
            }
        }
    }
}
