//! Attention: odd heads and tiles, ragged batches with several prompts, and the causal cone.

use resolvent_engine::{Device, Result};
use resolvent_ops::attention::Attention;
use resolvent_ops::{Op, Rows, Span};
use resolvent_tests::truth::{Function, wide};
use resolvent_tests::{HvpCheck, Labelled, OpCheck, Random, Record, Worst, tolerance, variant_subjects};

use super::formulas;

fn op(heads: usize, d_head: usize) -> Attention {
    Attention::new(heads, d_head)
}

fn formula(plan: &OpCheck, op: &Attention) -> formulas::Attention {
    formulas::Attention { prompts: plan.prompts.clone(), op: *op }
}

/// Attention with what Llama, Mistral and Gemma add: shared keys, windows, soft-caps, heads wider than 128.
fn variations() -> Vec<(usize, Attention)> {
    let shared = |heads, kv_heads, d_head| Attention { kv_heads, ..op(heads, d_head) };
    let window = |window, op: Attention| Attention { window: Some(window), ..op };
    // The cap then takes more than half of scores of order one.
    let cap = |op: Attention| Attention { cap: Some(0.4), ..op };
    vec![
        (5, shared(3, 1, 7)),
        (18, shared(4, 2, 16)),
        (67, shared(6, 2, 5)),
        (9, window(1, op(2, 4))),
        (9, window(3, op(2, 5))),
        (70, window(5, op(1, 12))),
        (133, window(66, op(2, 4))),
        (20, window(100, op(1, 8))),
        (17, cap(op(2, 6))),
        (66, cap(op(1, 12))),
        (7, op(2, 130)),
        (19, op(1, 136)),
        (5, op(1, 256)),
        (131, op(1, 140)),
        (35, window(4, cap(shared(6, 3, 8)))),
        (150, window(70, shared(4, 2, 16))),
        (193, window(64, shared(3, 1, 9))),
        (23, window(7, cap(shared(2, 1, 132)))),
    ]
}

#[test]
fn attention_of_other_families() {
    let mut record = Record::new("attention, other families");
    for (tokens, op) in variations() {
        let plan = OpCheck::new(tokens, &[op.row()], op.heads * op.d_head);
        let (f, allowed) = (formula(&plan, &op), tolerance::attention(tokens, op.d_head));
        plan.check(&mut record, &variant_subjects(), |_| Ok(op), &f, allowed);
        let frozen = Attention { frozen: true, ..op };
        // The cotangent of a late value alone is far smaller than an earlier one to which it would be added.
        let plan = OpCheck { second: false, so_far: false, ..plan };
        plan.check(&mut record, &variant_subjects(), |_| Ok(frozen), &formula(&plan, &frozen), allowed);
    }
}

#[test]
fn attention_second_of_other_families() {
    let mut worst = Worst::new("attention.hvp, other families");
    for (tokens, op) in variations() {
        let (row, d) = (op.row(), op.heads * op.d_head);
        let case = HvpCheck::new(tokens, &[row], d);
        let plan = OpCheck { prompts: case.prompts.to_vec(), ..OpCheck::new(tokens, &[row], d) };
        let allowed = tolerance::attention(tokens, op.d_head);
        case.check(&mut worst, &variant_subjects(), |_| Ok(op), &formula(&plan, &op), allowed);
    }
}

/// Keys of the base run that lie in the window of a sequence which starts later; two prompts in one base.
#[test]
fn windows_reach_into_the_base_run() {
    let op = Attention { kv_heads: 1, window: Some(6), cap: Some(2.0), ..op(2, 8) };
    let span = |primal, start, end| Span { primal, start, end };
    let spans = vec![span(20, 4, 9), span(0, 10, 20), span(0, 18, 20), span(20, 0, 3), span(0, 3, 12)];
    let plan = OpCheck { prompts: vec![20, 9], spans, ..OpCheck::new(29, &[op.row()], 16) };
    let allowed = tolerance::attention(20, 8);
    plan.check(&mut Record::new("attention, windows"), &variant_subjects(), |_| Ok(op), &formula(&plan, &op), allowed);
}

fn check(record: &mut Record, plan: &OpCheck, heads: usize, d_head: usize) {
    let allowed = tolerance::attention(plan.rows(), d_head);
    let f = formula(plan, &op(heads, d_head));
    plan.check(record, &variant_subjects(), |_| Ok(op(heads, d_head)), &f, allowed);
}

/// (tokens, heads, width of a head): tiles of 64 keys or of 16, whose invocations store up to 128 dimensions, as f32 or
/// vec4; on the host, blocks of 64 tokens, tiles of 8 rows and vectors of 16 columns.
#[test]
fn attention() {
    let mut record = Record::new("attention");
    for (rows, heads, d_head) in [
        (1, 1, 1),
        (2, 3, 5),
        (3, 12, 10),
        (7, 2, 64),
        (16, 1, 127),
        (17, 3, 16),
        (33, 2, 65),
        (5, 2, 4),
        (15, 1, 60),
        (18, 2, 68),
        (49, 1, 124),
        (64, 1, 24),
        (65, 2, 10),
        (66, 1, 128),
        (130, 2, 5),
    ] {
        let d = heads * d_head;
        check(&mut record, &OpCheck::new(rows, &[3 * d], d), heads, d_head);
    }
}

/// Tangents of cotangents, over the second of two prompts.
#[test]
fn attention_second() {
    let mut worst = Worst::new("attention.hvp");
    for (tokens, heads, d_head) in [
        (1, 1, 1),
        (2, 3, 5),
        (7, 2, 64),
        (16, 1, 4),
        (17, 1, 127),
        (33, 2, 65),
        (49, 1, 68),
        (66, 1, 128),
        (130, 2, 5),
    ] {
        let (d, op) = (heads * d_head, op(heads, d_head));
        let case = HvpCheck::new(tokens, &[3 * d], d);
        let plan = OpCheck { prompts: case.prompts.to_vec(), ..OpCheck::new(tokens, &[3 * d], d) };
        let f = formula(&plan, &op);
        let allowed = tolerance::attention(tokens, d_head);
        case.check(&mut worst, &variant_subjects(), |_| Ok(op), &f, allowed);
    }
}

/// Sharp heads with scores of plus and minus sixty: a softmax without a shift overflows.
#[test]
fn attention_with_large_scores() {
    let (heads, d_head, rows, d) = (2, 64, 66, 128);
    let sharp = Attention { scale: 2.0, ..op(heads, d_head) };
    let plan = OpCheck::new(rows, &[3 * d], d);
    let f = formula(&plan, &sharp);
    let allowed = tolerance::sharp_attention(rows, d_head, f64::from(sharp.scale));
    plan.check(&mut Record::new("attention_with_large_scores"), &variant_subjects(), |_| Ok(sharp), &f, allowed);
}

/// With a frozen pattern, only values carry derivatives, and the other columns of a cotangent are exactly zero.
#[test]
fn attention_with_its_pattern_frozen() {
    let mut record = Record::new("attention, frozen");
    for (rows, heads, d_head) in [(1, 1, 1), (3, 12, 10), (17, 3, 16), (66, 1, 128), (130, 2, 5)] {
        let (d, op) = (heads * d_head, Attention { frozen: true, ..op(heads, d_head) });
        let plan = OpCheck { second: false, ..OpCheck::new(rows, &[3 * d], d) };
        let (f, allowed) = (formula(&plan, &op), tolerance::attention(rows, d_head));
        plan.check(&mut record, &variant_subjects(), |_| Ok(op), &f, allowed);
        let plan = OpCheck { so_far: false, ..plan };
        for on in variant_subjects() {
            let done = plan.run(on, &op).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let of_queries_and_keys = done.x_bars[0].values().chunks(3 * d).flat_map(|row| &row[..2 * d]);
            assert!(of_queries_and_keys.into_iter().all(|x| *x == 0.0), "{}", on.name());
        }
    }
}

/// Sequences over two prompts that share the base buffers, unordered, some of them with one token.
#[test]
fn attention_over_several_prompts() {
    let (heads, d_head, prompts) = (2, 16, vec![70, 9]);
    let span = |primal, start, end| Span { primal, start, end };
    let spans = vec![
        span(70, 3, 9),
        span(0, 69, 70),
        span(0, 64, 70),
        span(70, 0, 1),
        span(0, 1, 66),
        span(0, 1, 66),
        span(70, 8, 9),
    ];
    let d = heads * d_head;
    let plan = OpCheck { prompts, spans, ..OpCheck::new(79, &[3 * d], d) };
    check(&mut Record::new("attention_over_several_prompts"), &plan, heads, d_head);
}

/// Primals that own only their last tokens read the earlier keys and values from the base run.
#[test]
fn attention_primal_of_a_ragged_batch() {
    let mut worst = Worst::new("attention.primal, ragged");
    let plain = [(5, op(3, 10)), (70, op(2, 16)), (130, op(1, 65))];
    for (tokens, op) in plain.into_iter().chain(variations()) {
        let (row, d, mut random) = (op.row(), op.heads * op.d_head, Random::new(tokens as u64));
        let base = random.normals(tokens * row);
        let starts = [0, tokens - 1, tokens / 2, 1];
        let spans = starts.map(|start| Span { primal: 0, start, end: tokens });
        let own: Vec<Vec<f32>> = spans.iter().map(|s| random.normals(s.rows() * row)).collect();
        let plan = OpCheck::new(tokens, &[row], d);
        let f = formula(&plan, &op);
        let want = spans.iter().zip(&own).flat_map(|(span, own)| {
            let mut all = wide(&base);
            all[span.start * row..].copy_from_slice(&wide(own));
            f.at(&all)[span.start * d..].to_vec()
        });
        let want = Labelled::reference(want.collect());
        for on in variant_subjects() {
            let ragged = || -> Result<Labelled> {
                let device = on.device();
                let base_rows = Rows::new(device, &[Span { primal: 0, start: 0, end: tokens }])?;
                let rows = Rows::new(device, &spans)?;
                let base = device.upload("base", &[("rows", tokens), ("row", row)], &base)?;
                let x = device.upload("x", &[("rows", rows.count()), ("row", row)], &own.concat())?;
                let mut rec = device.record();
                let residuals = op.primal(&mut rec, &base_rows, None, &[&base])?.residuals;
                let z = op.primal(&mut rec, &rows, Some(&residuals), &[&x])?.y;
                device.submit(rec)?;
                Ok(on.read(&z))
            };
            let z = ragged().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            worst.check(tokens, &z, &want, tolerance::attention(tokens, op.d_head).primal);
        }
    }
}

/// Zeros outside of the causal cone are exact. If tangents and jets are zero before token s, so are their responses. If
/// cotangents are zero from token e on, so are those of the inputs.
#[test]
fn outside_of_the_causal_cone_is_exactly_zero() {
    let (tokens, heads, d_head, s, e) = (70, 2, 16, 37, 21);
    let d = heads * d_head;
    let mut random = Random::new(5);
    let qkv = random.normals(tokens * 3 * d);
    let (mut qkv_dot, mut z_bar) = (random.normals(tokens * 3 * d), random.normals(tokens * d));
    let mut qkv_jet = random.normals(2 * tokens * 3 * d);
    qkv_dot[..s * 3 * d].fill(0.0);
    qkv_jet[..2 * s * 3 * d].fill(0.0);
    z_bar[e * d..].fill(0.0);
    let all = |device: &Device| -> Result<[Vec<f32>; 3]> {
        let rows = Rows::new(device, &[Span { primal: 0, start: 0, end: tokens }])?;
        let upload = |data: &[f32]| device.upload("x", &[("rows", tokens), ("width", data.len() / tokens)], data);
        let (qkv, qkv_dot, z_bar) = (upload(&qkv)?, upload(&qkv_dot)?, upload(&z_bar)?);
        let qkv_jet = device.upload("x", &[("rows", 2 * tokens), ("width", 3 * d)], &qkv_jet)?;
        let mut rec = device.record();
        let (op, residuals) = (op(heads, d_head), op(heads, d_head).primal(&mut rec, &rows, None, &[&qkv])?.residuals);
        let z_dot = op.jvp(&mut rec, &rows, &residuals, &[&qkv_dot])?;
        let z_jet = op.jet(&mut rec, &rows, &residuals, &[&qkv_jet])?;
        let bars = op.vjp(&mut rec, &rows, &residuals, &z_bar, &[None])?;
        device.submit(rec)?;
        Ok([device.read(&z_dot)?, device.read(&z_jet)?, device.read(&bars[0])?])
    };
    for on in variant_subjects() {
        let [z_dot, z_jet, bar] = all(on.device()).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let zero = |part: &[f32]| part.iter().all(|x| *x == 0.0);
        assert!(zero(&z_dot[..s * d]) && zero(&bar[e * 3 * d..]), "{}", on.name());
        assert!(zero(&z_jet[..2 * s * d]), "{}", on.name());
        let full = |part: &[f32]| part.iter().filter(|x| x.abs() > 0.0).count() * 10 > part.len() * 9;
        assert!(full(&z_dot[s * d..]) && full(&bar[..e * 3 * d]), "{}: the cone itself is empty", on.name());
        assert!(full(&z_jet[2 * s * d..]), "{}: the cone itself is empty", on.name());
    }
}
