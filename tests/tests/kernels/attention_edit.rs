//! Attention with edited scores and weights: every kind of edit, hidden keys, windows, soft-caps, shared keys.

use resolvent_engine::{Device, Result};
use resolvent_ops::attention::Attention;
use resolvent_ops::attention_edit::{EditedAttention, EditedHead, HIDDEN, HeadEdits, KeyMap};
use resolvent_ops::{Op, Rows, Span};
use resolvent_tests::truth::{Function, wide};
use resolvent_tests::{Labelled, OpCheck, Random, Record, Worst, subjects, tolerance};

use super::formulas;

/// Draws edits of about a third of the heads of each row; `tokens` has the token of each row.
fn edits(op: &Attention, tokens: &[usize], random: &mut Random) -> Vec<EditedHead> {
    let mut all = Vec::new();
    for (row, &token) in tokens.iter().enumerate() {
        for head in 0..op.heads {
            if random.below(3) > 0 && all.len() > row {
                continue;
            }
            let mut maps = vec![KeyMap::SAME; token + 1];
            // The query's own key stays visible.
            for (key, map) in
                maps.iter_mut().enumerate().skip((token + 1).saturating_sub(op.window.unwrap_or(token + 1)))
            {
                match random.below(8) {
                    0 if key < token => map.score = [0.0, HIDDEN],
                    1 => map.score = [random.normal(), random.normal()],
                    2 => map.weight = [0.0, 0.0],
                    3 => map.weight = [0.0, 0.3 * random.normal()],
                    4 => *map = KeyMap { score: [0.0, random.normal()], weight: [1.5, -0.1] },
                    _ => {}
                }
            }
            all.push(EditedHead { row, head, maps });
        }
    }
    all
}

fn tokens_of(prompts: &[usize]) -> Vec<usize> {
    prompts.iter().flat_map(|&tokens| 0..tokens).collect()
}

fn edited(device: &Device, op: Attention, rows: usize, edits: &[EditedHead]) -> Result<EditedAttention> {
    Ok(EditedAttention { attention: op, edits: HeadEdits::new(device, [rows, op.heads], edits)? })
}

fn variations() -> Vec<(Vec<usize>, Attention)> {
    let shared = |heads, kv_heads, d_head| Attention { kv_heads, ..Attention::new(heads, d_head) };
    vec![
        (vec![1], Attention::new(1, 1)),
        (vec![2], Attention::new(3, 5)),
        (vec![17], shared(4, 2, 16)),
        (vec![67], shared(6, 2, 5)),
        (vec![66], Attention::new(1, 128)),
        (vec![9], Attention { window: Some(3), ..shared(2, 1, 5) }),
        (vec![133], Attention { window: Some(66), ..Attention::new(2, 4) }),
        (vec![35], Attention { window: Some(4), cap: Some(0.4), ..shared(6, 3, 8) }),
        (vec![20, 9], Attention { cap: Some(2.0), ..shared(2, 1, 8) }),
        (vec![5], Attention::new(1, 256)),
    ]
}

#[test]
fn attention_edit() {
    let mut record = Record::new("attention_edit");
    for (prompts, op) in variations() {
        let rows = prompts.iter().sum();
        let edits = edits(&op, &tokens_of(&prompts), &mut Random::new(rows as u64));
        let plan = OpCheck { second: false, ..OpCheck::new(rows, &[op.row()], op.heads * op.d_head) };
        // The spans of a plan belong to one prompt; of two, each has some.
        let span = |primal, start, end| Span { primal, start, end };
        let spans = match prompts[..] {
            [a, b] => vec![span(a, 2, b), span(0, 0, a), span(0, a - 1, a), span(a, 0, 3), span(0, 3, a - 4)],
            _ => plan.spans.clone(),
        };
        let allowed = tolerance::attention(rows, op.d_head);
        for frozen in [false, true] {
            let op = Attention { frozen, ..op };
            // The cotangent of a late value alone is far smaller than an earlier one to which it would be added.
            let plan = OpCheck {
                prompts: prompts.clone(),
                spans: spans.clone(),
                so_far: plan.so_far && !frozen,
                ..plan.clone()
            };
            let attention = formulas::Attention { prompts: prompts.clone(), op };
            let formula = formulas::EditedAttention { attention, edited: edits.clone() };
            plan.check(&mut record, &subjects(), |device| edited(device, op, rows, &edits), &formula, allowed);
        }
    }
}

/// Without edits of a head, its columns are those of the fused attention, bit for bit.
#[test]
fn other_heads_pass() {
    let (tokens, op) = (7, Attention::new(3, 5));
    let edits = [EditedHead { row: 4, head: 1, maps: vec![KeyMap { weight: [0.0, 0.0], ..KeyMap::SAME }; 5] }];
    for on in subjects() {
        let both = || -> Result<[Vec<f32>; 2]> {
            let device = on.device();
            let rows = Rows::new(device, &[Span { primal: 0, start: 0, end: tokens }])?;
            let x =
                device.upload("x", &[("rows", tokens), ("w", op.row())], &Random::new(2).normals(tokens * op.row()))?;
            let mut rec = device.record();
            let plain = op.primal(&mut rec, &rows, None, &[&x])?.y;
            let z = edited(device, op, tokens, &edits)?.primal(&mut rec, &rows, None, &[&x])?.y;
            device.submit(rec)?;
            Ok([device.read(&plain)?, device.read(&z)?])
        };
        let [plain, z] = both().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let ours = 4 * 15 + 5..4 * 15 + 10;
        for (i, (a, b)) in plain.iter().zip(&z).enumerate() {
            let want = if ours.contains(&i) { 0.0 } else { *a };
            assert_eq!(want.to_bits(), b.to_bits(), "{}: element {i}", on.name());
        }
    }
}

/// Primals that own only their last tokens read earlier keys and values from the base run; edits belong to batch rows.
#[test]
fn attention_edit_of_a_ragged_batch() {
    let mut worst = Worst::new("attention_edit.primal, ragged");
    for (prompts, op) in variations() {
        let tokens = prompts[0];
        let (row, d, mut random) = (op.row(), op.heads * op.d_head, Random::new(tokens as u64));
        let base = random.normals(tokens * row);
        let spans = [0, tokens - 1, tokens / 2].map(|start| Span { primal: 0, start, end: tokens });
        let own: Vec<Vec<f32>> = spans.iter().map(|s| random.normals(s.rows() * row)).collect();
        let tokens_of: Vec<usize> = spans.iter().flat_map(|s| s.start..s.end).collect();
        let edits = edits(&op, &tokens_of, &mut random);
        let (mut want, mut first) = (Vec::new(), 0);
        for (span, own) in spans.iter().zip(&own) {
            let mut all = wide(&base);
            all[span.start * row..].copy_from_slice(&wide(own));
            let here = edits.iter().filter(|e| (first..first + span.rows()).contains(&e.row));
            let edited = here.map(|e| EditedHead { row: e.row + span.start - first, ..e.clone() }).collect();
            let attention = formulas::Attention { prompts: vec![tokens], op };
            want.extend_from_slice(&formulas::EditedAttention { attention, edited }.at(&all)[span.start * d..]);
            first += span.rows();
        }
        let want = Labelled::reference(want);
        for on in subjects() {
            let ragged = || -> Result<Labelled> {
                let device = on.device();
                let base_rows = Rows::new(device, &[Span { primal: 0, start: 0, end: tokens }])?;
                let rows = Rows::new(device, &spans)?;
                let base = device.upload("base", &[("rows", tokens), ("row", row)], &base)?;
                let x = device.upload("x", &[("rows", rows.count()), ("row", row)], &own.concat())?;
                let mut rec = device.record();
                let residuals = op.primal(&mut rec, &base_rows, None, &[&base])?.residuals;
                let op = edited(device, op, rows.count(), &edits)?;
                let z = op.primal(&mut rec, &rows, Some(&residuals), &[&x])?.y;
                device.submit(rec)?;
                Ok(on.read(&z))
            };
            let z = ragged().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            worst.check(tokens, &z, &want, tolerance::attention(tokens, op.d_head).primal);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = Device::host();
    let one = |row, head| EditedHead { row, head, maps: vec![KeyMap::SAME] };
    let error = |edits: &[EditedHead]| HeadEdits::new(&device, [2, 3], edits).expect_err("refused").to_string();
    assert!(error(&[]).contains("no head of a query is edited"));
    assert!(error(&[one(2, 0)]).contains("row 2, head 0 is outside of [2, 3]"));
    assert!(error(&[one(0, 3)]).contains("row 0, head 3"));
    let op = EditedAttention {
        attention: Attention::new(3, 4),
        edits: HeadEdits::new(&device, [2, 3], &[one(1, 2)]).expect("fits"),
    };
    let mut rec = device.record();
    let rows = Rows::new(&device, &[Span { primal: 0, start: 0, end: 2 }]).expect("rows");
    let x = device.upload("x", &[("rows", 2), ("w", 36)], &[0.5f32; 72]).expect("fits");
    let residuals = op.primal(&mut rec, &rows, None, &[&x]).expect("is recorded").residuals;
    let second = op.tangent(&mut rec, &rows, &residuals, &[&x]).expect_err("refused").to_string();
    assert!(second.contains("no second derivatives"), "{second}");
}
