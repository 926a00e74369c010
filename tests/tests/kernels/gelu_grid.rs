//! GELU, its slope and its second derivative on a grid, in absolute error: GELU is added to a residual stream of order
//! one.

use resolvent_engine::Result;
use resolvent_ops::gelu::Gelu;
use resolvent_ops::{Op, Rows, Span};
use resolvent_tests::truth::{Function, jet, wide};
use resolvent_tests::{Subject, Worst, subjects, tolerance};

use super::formulas;

/// Returns -20 to 20 in steps of 1/512, which are exact in f32, then values far beyond.
fn grid() -> Vec<f32> {
    let dense = (-20 * 512..=20 * 512).map(|i| i as f32 / 512.0);
    let far = [1e-30f32, 1e-8, 1e-4, 50.0, 100.0, 1e4, 1e10, 1e18].into_iter().flat_map(|x| [x, -x]);
    dense.chain(far).chain([0.0]).collect()
}

fn run(on: &Subject, exact: bool, x: &[f32]) -> Result<[Vec<f64>; 3]> {
    let (device, n) = (on.device(), x.len());
    let rows = Rows::new(device, &[Span { primal: 0, start: 0, end: 1 }])?;
    let dims = [("rows", 1), ("n", n)];
    let (x, ones) = (device.upload("x", &dims, x)?, device.upload("ones", &dims, &vec![1.0f32; n])?);
    // With x(a) = x + a, the second order of the response is the second derivative.
    let along = [vec![1.0f32; n], vec![0.0; n]].concat();
    let along = device.upload("along", &[("rows", 2), ("n", n)], &along)?;
    let (gelu, mut rec) = (Gelu { n, exact, frozen: false }, device.record());
    let outcome = gelu.primal(&mut rec, &rows, None, &[&x])?;
    let slope = gelu.jvp(&mut rec, &rows, &outcome.residuals, &[&ones])?;
    let jet = gelu.jet(&mut rec, &rows, &outcome.residuals, &[&along])?;
    device.submit(rec)?;
    let [_, second] = on.read(&jet).orders(n);
    Ok([&on.read(&outcome.y), &on.read(&slope), &second].map(|t| t.values().to_vec()))
}

#[test]
fn gelu_on_a_grid() {
    let mut worst = ["value", "slope", "second derivative"].map(|of| Worst::new(&format!("gelu {of} on a grid")));
    let x = grid();
    for on in subjects() {
        for exact in [false, true] {
            let got = run(on, exact, &x).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let (f, points) = (formulas::Gelu(formulas::form(exact), formulas::Frozen::default()), wide(&x));
            let [slope, second] = jet(&f, &points, [&vec![1.0; x.len()], &vec![0.0; x.len()]]);
            let want = [f.at(&points), slope, second];
            for (i, x) in points.into_iter().enumerate() {
                let error = [0, 1, 2].map(|n| got[n][i] - want[n][i]);
                // Values grow with x, and so does their rounding.
                let sizes = [x.abs().max(1.0), 1.0, 1.0];
                for n in 0..3 {
                    let case = format!("exact {exact}, x {x}");
                    worst[n].within(case, on.name(), error[n].abs() / sizes[n], tolerance::GELU_ON_A_GRID);
                }
            }
        }
    }
}
