//! Splice: every source, every edit, edits in order, on columns.

use resolvent_engine::{Device, Result, Tensor};
use resolvent_ops::splice::{Change, Plan, Source};
use resolvent_tests::truth::{inner, wide};
use resolvent_tests::{Labelled, Random, Worst, compare, subjects, tolerance};

type Edit = (usize, usize, Change);

/// What the edits of one row make of it, from their definitions.
fn edited(row: usize, y: &mut [f64], edits: &[Edit], tangent: bool) {
    for (_, from, change) in edits.iter().filter(|(r, ..)| *r == row) {
        let y = &mut y[*from..from + change.width()];
        match change {
            Change::Add { amount, s } if !tangent => {
                y.iter_mut().zip(s).for_each(|(y, s)| *y += f64::from(*amount) * f64::from(*s));
            }
            Change::Add { .. } => {}
            Change::Put { .. } if tangent => y.fill(0.0),
            Change::Put { s } => y.copy_from_slice(&wide(s)),
            Change::Scale { amount, .. } => y.iter_mut().for_each(|y| *y *= f64::from(*amount)),
            Change::Project { s } => {
                let s = wide(s);
                let share = if inner(&s, &s) > 0.0 { inner(y, &s) / inner(&s, &s) } else { 0.0 };
                y.iter_mut().zip(&s).for_each(|(y, s)| *y -= share * s);
            }
        }
    }
}

/// Rows of every kind, and on each up to five edits of random kinds over random columns.
fn random_case(d: usize, seed: u64) -> (Vec<Source>, Vec<Edit>) {
    let mut random = Random::new(seed);
    let rows = 1 + random.below(20);
    let source = |random: &mut Random| match random.below(3) {
        0 => Source::Zero,
        1 => Source::X(random.below(5)),
        _ => Source::Base(random.below(7)),
    };
    let sources: Vec<Source> = (0..rows).map(|_| source(&mut random)).collect();
    let mut edits = Vec::new();
    for row in 0..rows {
        for _ in 0..random.below(6) {
            let from = random.below(d);
            let width = 1 + random.below(d - from);
            let change = match random.below(6) {
                0 => Change::Add { amount: random.normal(), s: random.normals(width) },
                1 => Change::Put { s: random.normals(width) },
                2 => Change::Scale { amount: random.normal(), width },
                3 => Change::Scale { amount: 0.0, width },
                4 => Change::Project { s: random.normals(width) },
                _ => Change::Project { s: vec![0.0; width] },
            };
            edits.push((row, from, change));
        }
    }
    (sources, edits)
}

fn run(
    device: &Device,
    d: usize,
    case: &(Vec<Source>, Vec<Edit>),
    x: &[f32],
    base: &[f32],
) -> Result<[Tensor; 2]> {
    let edits: Vec<(usize, usize, &Change)> = case.1.iter().map(|(row, from, c)| (*row, *from, c)).collect();
    let plan = Plan::new(device, d, &case.0, &edits)?;
    let upload = |name, data: &[f32]| device.upload(name, &[("rows", data.len() / d), ("d", d)], data);
    let (x, base) = (upload("x", x)?, upload("base", base)?);
    let mut rec = device.record();
    let out = [plan.primal(&mut rec, &x, &base)?, plan.jvp(&mut rec, &x)?];
    device.submit(rec)?;
    Ok(out)
}

#[test]
fn splice() {
    let mut worst = ["splice.primal", "splice.jvp"].map(Worst::new);
    for (i, d) in [1, 3, 24, 64, 66, 127, 130, 300].into_iter().enumerate() {
        for seed in 0..3 {
            let case = random_case(d, seed + 10 * i as u64);
            let mut random = Random::new(seed);
            // A tangent has no base run: the jvp reads both kinds of rows from x.
            let (x, base) = (random.normals(7 * d), random.normals(7 * d));
            let truth = [false, true].map(|tangent| {
                let row = |(row, source): (usize, &Source)| {
                    let base = if tangent { &x } else { &base };
                    let mut y = match *source {
                        Source::Zero => vec![0.0; d],
                        Source::X(at) => wide(&x[at * d..][..d]),
                        Source::Base(at) => wide(&base[at * d..][..d]),
                    };
                    edited(row, &mut y, &case.1, tangent);
                    y
                };
                Labelled::reference(case.0.iter().enumerate().flat_map(row).collect())
            });
            for on in subjects() {
                let out =
                    run(on.device(), d, &case, &x, &base).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                for entry in 0..2 {
                    let got = on.read(&out[entry]);
                    worst[entry].check(format!("d {d} {case:?}"), &got, &truth[entry], tolerance::splice(d));
                }
            }
        }
    }
}

/// The linear part is symmetric, row by row: `<u, L v> = <L u, v>`. That is what lets one kernel serve both modes.
#[test]
fn splice_is_symmetric() {
    let mut worst = Worst::new("splice.adjoint");
    let d = 66;
    for seed in 0..4 {
        let (sources, edits) = random_case(d, seed);
        // Rows stay where they are, and the order of edits is the order of one projection or scale at a time.
        let sources: Vec<Source> = (0..sources.len()).map(Source::X).collect();
        let mut one_each: Vec<Edit> = Vec::new();
        for edit in edits {
            if one_each.last().is_none_or(|last| last.0 != edit.0) {
                one_each.push(edit);
            }
        }
        let (rows, case) = (sources.len(), (sources, one_each));
        let mut random = Random::new(seed);
        let (u, v) = (random.normals(rows * d), random.normals(rows * d));
        for on in subjects() {
            let jvp = |x: &[f32]| {
                let out = run(on.device(), d, &case, x, x).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                on.read(&out[1])
            };
            let (lv, lu) = (jvp(&v), jvp(&u));
            let (forward, backward) = (inner(&wide(&u), lv.values()), inner(lu.values(), &wide(&v)));
            let size = tolerance::typical(&wide(&u), lv.values()).max(forward.abs());
            worst.within(seed, on.name(), (forward - backward).abs() / size, tolerance::ADJOINT);
        }
    }
}

/// A plan that joins, picks and edits nothing copies, bit for bit.
#[test]
fn splice_without_edits_copies() {
    let d = 67;
    let x = Random::new(1).normals(5 * d);
    let case = ((0..5).rev().map(Source::X).collect(), Vec::new());
    for on in subjects() {
        let [y, _] = run(on.device(), d, &case, &x, &x).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let want: Vec<f64> = x.chunks(d).rev().flat_map(wide).collect();
        assert_eq!(compare(&on.read(&y), &Labelled::reference(want), 0.0), Ok(0.0), "{}", on.name());
    }
}
