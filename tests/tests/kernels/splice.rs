//! Splice: sources of every kind, and edits of every kind, applied in order to ranges of columns.

use resolvent_engine::{Device, Result, Tensor};
use resolvent_ops::splice::{RowEdit, RowPlan, RowSource};
use resolvent_reference::{Scalar, ops};
use resolvent_tests::truth::{Function, inner, jvp, wide};
use resolvent_tests::{Labelled, Random, Worst, compare, subjects, tolerance};

type Edit = (usize, usize, RowEdit);

/// The reference of a plan, as a function of x and base, one after the other, each with `ROWS` rows.
struct Formula<'a> {
    d: usize,
    case: &'a (Vec<RowSource>, Vec<Edit>),
}

/// Number of rows of x, and of the base run.
const ROWS: usize = 7;

impl Function for Formula<'_> {
    fn at<S: Scalar>(&self, both: &[S]) -> Vec<S> {
        let (d, (x, base)) = (self.d, both.split_at(ROWS * self.d));
        let row = |source: &RowSource| match *source {
            RowSource::Zero => vec![S::from_f64(0.0); d],
            RowSource::X(at) => x[at * d..][..d].to_vec(),
            RowSource::Base(at) => base[at * d..][..d].to_vec(),
        };
        let mut y: Vec<S> = self.case.0.iter().flat_map(row).collect();
        for (row, from, change) in &self.case.1 {
            let number = |a: f32| S::from_f64(f64::from(a));
            let vector = |s: &[f32], factor: f32| -> Vec<S> { s.iter().map(|&s| number(factor) * number(s)).collect() };
            let s = match change {
                RowEdit::Add { amount, s } => vector(s, *amount),
                RowEdit::Put { s } | RowEdit::Project { s } => vector(s, 1.0),
                RowEdit::Scale { .. } => Vec::new(),
                RowEdit::Take { row, width } => base[row * d + from..][..*width].to_vec(),
            };
            let edit = match change {
                RowEdit::Add { .. } => ops::Edit::Add(&s),
                RowEdit::Put { .. } | RowEdit::Take { .. } => ops::Edit::Put(&s),
                RowEdit::Scale { amount, .. } => ops::Edit::Scale(number(*amount)),
                // If the direction is zero, the engine does not change the row, but the reference panics.
                RowEdit::Project { .. } if s.iter().all(|s| s.value() == 0.0) => continue,
                RowEdit::Project { .. } => ops::Edit::ProjectOut(&s),
            };
            ops::splice(&mut y, d, *row, *from..*from + change.width(), edit);
        }
        y
    }
}

/// Draws sources of every kind, and for each row up to five edits of random kinds over random columns. With `takes`,
/// edits also take rows of the base run.
fn random_case(d: usize, seed: u64, takes: bool) -> (Vec<RowSource>, Vec<Edit>) {
    let mut random = Random::new(seed);
    let rows = 1 + random.below(20);
    let source = |random: &mut Random| match random.below(3) {
        0 => RowSource::Zero,
        1 => RowSource::X(random.below(ROWS)),
        _ => RowSource::Base(random.below(ROWS)),
    };
    let sources: Vec<RowSource> = (0..rows).map(|_| source(&mut random)).collect();
    let mut edits = Vec::new();
    for row in 0..rows {
        for _ in 0..random.below(6) {
            let from = random.below(d);
            let width = 1 + random.below(d - from);
            let change = match random.below(if takes { 7 } else { 6 }) {
                0 => RowEdit::Add { amount: random.normal(), s: random.normals(width) },
                1 => RowEdit::Put { s: random.normals(width) },
                2 => RowEdit::Scale { amount: random.normal(), width },
                3 => RowEdit::Scale { amount: 0.0, width },
                4 => RowEdit::Project { s: random.normals(width) },
                5 => RowEdit::Project { s: vec![0.0; width] },
                _ => RowEdit::Take { row: random.below(ROWS), width },
            };
            edits.push((row, from, change));
        }
    }
    (sources, edits)
}

fn run(device: &Device, d: usize, case: &(Vec<RowSource>, Vec<Edit>), x: &[f32], base: &[f32]) -> Result<Tensor> {
    let edits: Vec<(usize, usize, &RowEdit)> = case.1.iter().map(|(row, from, c)| (*row, *from, c)).collect();
    let plan = RowPlan::new(device, d, &case.0, &edits)?;
    let upload = |name, data: &[f32]| device.upload(name, &[("rows", data.len() / d), ("d", d)], data);
    let (x, base) = (upload("x", x)?, upload("base", base)?);
    let mut rec = device.record();
    let y = plan.primal(&mut rec, &x, &base)?;
    device.submit(rec)?;
    Ok(y)
}

#[test]
fn splice() {
    let mut worst = Worst::new("splice.primal");
    for (i, d) in [1, 3, 24, 64, 66, 127, 130, 300].into_iter().enumerate() {
        for seed in 0..3 {
            let case = random_case(d, seed + 10 * i as u64, true);
            let mut random = Random::new(seed);
            let (x, base) = (random.normals(ROWS * d), random.normals(ROWS * d));
            let (f, both) = (Formula { d, case: &case }, wide(&[x.clone(), base.clone()].concat()));
            let truth = Labelled::reference(f.at(&both));
            for on in subjects() {
                let y = run(on.device(), d, &case, &x, &base).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                worst.check(format!("d {d} {case:?}"), &on.read(&y), &truth, tolerance::splice(d));
            }
        }
    }
}

/// Returns the linear part of an edit, which applies to tangents and cotangents. It is an edit too, or nothing.
fn linear_part((row, from, change): Edit) -> Option<Edit> {
    let width = change.width();
    match change {
        RowEdit::Add { .. } => None,
        RowEdit::Put { .. } => Some((row, from, RowEdit::Scale { amount: 0.0, width })),
        RowEdit::Scale { .. } | RowEdit::Project { .. } => Some((row, from, change)),
        // The base run is a constant.
        RowEdit::Take { .. } => Some((row, from, RowEdit::Scale { amount: 0.0, width })),
    }
}

/// A plan of linear parts equals the derivative of the plan of the edits, computed with dual numbers.
#[test]
fn splice_of_linear_parts_is_the_tangent() {
    let mut worst = Worst::new("splice.jvp");
    let d = 66;
    for seed in 0..4 {
        let case = random_case(d, seed, false);
        let mut random = Random::new(seed);
        let (x, base) = (random.normals(ROWS * d), random.normals(ROWS * d));
        let (x_dot, base_dot) = (random.normals(ROWS * d), random.normals(ROWS * d));
        let both = |x: &[f32], base: &[f32]| wide(&[x, base].concat());
        let f = Formula { d, case: &case };
        let truth = Labelled::reference(jvp(&f, &both(&x, &base), &both(&x_dot, &base_dot)));
        let linear = (case.0.clone(), case.1.iter().cloned().filter_map(linear_part).collect());
        for on in subjects() {
            let y = run(on.device(), d, &linear, &x_dot, &base_dot).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            worst.check(format!("d {d} {case:?}"), &on.read(&y), &truth, tolerance::splice(d));
        }
    }
}

/// The linear part of an edit is symmetric: `<u, L v> = <L u, v>`. So one kernel serves tangents and cotangents.
#[test]
fn splice_is_symmetric() {
    let mut worst = Worst::new("splice.adjoint");
    let d = 66;
    for seed in 0..4 {
        let (sources, edits) = random_case(d, seed, false);
        // The source of each row is the same row of x, and each row has at most one edit, since projections do not
        // commute.
        let sources: Vec<RowSource> = (0..sources.len()).map(RowSource::X).collect();
        let mut one_each: Vec<Edit> = Vec::new();
        for edit in edits.into_iter().filter_map(linear_part) {
            if one_each.last().is_none_or(|last| last.0 != edit.0) {
                one_each.push(edit);
            }
        }
        let (rows, case) = (sources.len(), (sources, one_each));
        let mut random = Random::new(seed);
        let (u, v) = (random.normals(rows * d), random.normals(rows * d));
        for on in subjects() {
            let linear = |x: &[f32]| {
                let y = run(on.device(), d, &case, x, x).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                on.read(&y)
            };
            let (lv, lu) = (linear(&v), linear(&u));
            let (forward, backward) = (inner(&wide(&u), lv.values()), inner(lu.values(), &wide(&v)));
            let size = tolerance::typical(&wide(&u), lv.values()).max(forward.abs());
            worst.within(seed, on.name(), (forward - backward).abs() / size, tolerance::ADJOINT);
        }
    }
}

/// A plan without edits copies rows, bit for bit.
#[test]
fn splice_without_edits_copies() {
    let d = 67;
    let x = Random::new(1).normals(5 * d);
    let case = ((0..5).rev().map(RowSource::X).collect(), Vec::new());
    for on in subjects() {
        let y = run(on.device(), d, &case, &x, &x).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let want: Vec<f64> = x.chunks(d).rev().flat_map(wide).collect();
        assert_eq!(compare(&on.read(&y), &Labelled::reference(want), 0.0), Ok(0.0), "{}", on.name());
    }
}

/// A row to take that the base run lacks is refused.
#[test]
fn a_row_that_is_not_there_is_refused() {
    for on in subjects() {
        let case = (vec![RowSource::X(0)], vec![(0, 0, RowEdit::Take { row: ROWS, width: 2 })]);
        let error = run(on.device(), 2, &case, &[0.0; 2 * ROWS], &[0.0; 2 * ROWS]).map(|_| ()).expect_err("refused");
        assert!(error.to_string().contains("an edit takes row 7"), "{error}");
    }
}
