//! Transient growth of blocks, against the reference's Jacobian.

use resolvent_field::growth;
use resolvent_model::{Model, Site, Source};
use resolvent_tests::{Golden, Twin, subjects, tangents};

use super::{array, close, run};

const TOKENS: [u32; 4] = [3, 14, 15, 9];
const D: usize = 18;

/// Returns the columns of the reference's block at one token.
fn block(twin: &Twin, level: usize, token: usize) -> Vec<Vec<f64>> {
    let column = |i: usize| {
        let vector = (0..D).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
        let source = Source { site: Site::level(level, &twin.sizes()), token, vector };
        let field = tangents(&twin.tangent(&TOKENS, &[], &[source]).field);
        field[((level + 1) * TOKENS.len() + token) * D..][..D].to_vec()
    };
    (0..D).map(column).collect()
}

/// Applies columns to a vector.
fn apply(columns: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    (0..D).map(|i| columns.iter().zip(x).map(|(column, x)| column[i] * x).sum()).collect()
}

/// Returns the largest singular value of a product of matrices, the last one first, by power iteration.
fn largest(matrices: &[&Vec<Vec<f64>>]) -> f64 {
    let mut x = vec![1.0; D];
    x[0] = 2.0;
    let mut size = 0.0;
    for _ in 0..2000 {
        let y = matrices.iter().rev().fold(x.clone(), |x, m| apply(m, &x));
        let back = |y: Vec<f64>, m: &&Vec<Vec<f64>>| -> Vec<f64> {
            m.iter().map(|column| column.iter().zip(&y).map(|(a, y)| a * y).sum()).collect()
        };
        let z = matrices.iter().fold(y, back);
        size = z.iter().map(|z| z * z).sum::<f64>().sqrt();
        x = z.iter().map(|z| z / size).collect();
    }
    size.sqrt()
}

#[test]
fn growth_is_that_of_the_jacobian() {
    let twin = Twin::small();
    let tokens = [0, 2];
    let blocks: Vec<Vec<Vec<Vec<f64>>>> =
        (0..2).map(|level| tokens.iter().map(|&token| block(&twin, level, token)).collect()).collect();
    let gain: Vec<f64> = blocks.iter().flatten().map(|block| largest(&[block])).collect();
    let grown: Vec<f64> = (0..2).map(|n| largest(&[&blocks[1][n], &blocks[0][n]])).collect();
    for on in subjects() {
        let got = growth(&run(&twin, on, &TOKENS), &tokens).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        close(&array(&got, "gain"), &gain, 1e-5, on.name());
        let found = array(&got, "growth");
        assert_eq!(found[..2], [1.0, 1.0]);
        close(&found[2..4], &gain[..2], 1e-5, on.name());
        close(&found[4..], &grown, 1e-5, on.name());
        let [radius, numerical, abscissa, departure, by_gain] =
            ["radius", "numerical_abscissa", "abscissa", "departure", "by_gain"].map(|name| array(&got, name));
        for i in 0..4 {
            // No eigenvalue exceeds the gain, and no rate in the long run that at first.
            assert!(radius[i] <= gain[i] * 1.0001 && abscissa[i] <= numerical[i] + 1e-5, "{}", on.name());
            assert!(departure[i] > 0.05 && departure[i] <= 1.0, "{}: {departure:?}", on.name());
        }
        assert!((by_gain[4] - gain[0] * gain[2]).abs() < 1e-4 * by_gain[4] && grown[0] <= by_gain[4] * 1.0001);
        assert_eq!(array(&got, "tokens"), [0.0, 2.0]);
    }
}

/// Every family has blocks, and their product is the operator of the model.
#[test]
fn every_family_grows() {
    for golden in Golden::all().into_iter().chain(Golden::forms()) {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let run = model.run(&golden.tokens, &[]).expect("runs");
            let got = growth(&run, &[1]).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
            assert!(array(&got, "gain").iter().all(|gain| *gain > 0.5), "{}", golden.name);
            assert!(got.certificates.iter().any(|c| c.name == "composition"));
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    assert!(growth(&run, &[4]).expect_err("beyond the prompt").to_string().contains("outside of the field"));
    assert!(growth(&run, &[]).expect_err("none").to_string().contains("name one or more"));
}
