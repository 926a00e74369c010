//! Quadratic expansions: slopes and curvatures are those of the reference, and runs confirm both orders.

use resolvent_field::{Basis, BasisContext, End, Frames, Labelled, Place, QuadraticOptions, quadratic};
use resolvent_model::{Edit, Mode, Model, Observable, Run, RunOptions, Site};
use resolvent_tests::{Golden, Twin, subjects};

use super::{array, close, run, truth};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];
const D: usize = 18;
const PLACE: Place = (1, 2);

fn observable() -> Observable {
    Observable::logit_diff(4, 20, 4)
}

fn frames(run: &Run, basis: &Basis, rank: usize, others: &[Run]) -> Frames {
    let context = BasisContext { observables: &[observable()], others, rank: Some(rank), position: None };
    basis.frames(&run.linearize(Mode::Exact), &[PLACE], End::Source, context).expect("a basis")
}

fn expand(run: &Run, frames: &Frames, other: Option<&Run>, options: &QuadraticOptions) -> Labelled {
    quadratic(run, &observable(), (PLACE, frames), other, options).unwrap_or_else(|e| panic!("{e}"))
}

fn one(result: &Labelled, name: &str) -> f64 {
    array(result, name)[0]
}

/// Returns `sum_k q_k v_k v_k^T` `[d, d]`.
fn matrix(result: &Labelled) -> Vec<f64> {
    let (q, v) = (array(result, "curvature"), array(result, "direction"));
    let term = |i: usize, j: usize| q.iter().zip(v.chunks(D)).map(|(q, v)| q * v[i] * v[j]).sum();
    (0..D * D).map(|at| term(at / D, at % D)).collect()
}

/// In all directions, the expansion has the gradient and the Hessian of the reference, by differences in f64.
#[test]
fn all_directions_give_gradient_and_hessian() {
    let (twin, j) = (Twin::small(), observable());
    let (site, step) = (Site::level(PLACE.0, &twin.sizes()), 1.0 / 1024.0);
    let along = |moves: &[(usize, f32)]| {
        let mut vector = vec![0.0; D];
        moves.iter().for_each(|&(i, by)| vector[i] += by);
        truth(&twin, &TOKENS, &[Edit::add(site, PLACE.1, vector)], &j)
    };
    let mixed = |a: usize, b: usize| {
        let at = |x: f32, y: f32| along(&[(a, x * step), (b, y * step)]);
        (at(1.0, 1.0) - at(1.0, -1.0) - at(-1.0, 1.0) + at(-1.0, -1.0)) / f64::from(4.0 * step * step)
    };
    let hessian: Vec<f64> = (0..D * D).map(|at| mixed(at / D, at % D)).collect();
    let gradient: Vec<f64> =
        (0..D).map(|i| (along(&[(i, step)]) - along(&[(i, -step)])) / f64::from(2.0 * step)).collect();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let got = expand(&run, &frames(&run, &Basis::Random(3), D, &[]), None, &QuadraticOptions::default());
        close(&matrix(&got), &hessian, 1e-3, on.name());
        let (slope, v) = (array(&got, "slope"), array(&got, "direction"));
        let sum = |i: usize| slope.iter().zip(v.chunks(D)).map(|(g, v)| g * v[i]).sum();
        close(&(0..D).map(sum).collect::<Vec<f64>>(), &gradient, 1e-4, on.name());
        assert!((one(&got, "captured") - 1.0).abs() < 1e-4 && slope.iter().all(|g| *g >= 0.0), "{}", on.name());
        let q = array(&got, "curvature");
        assert!(q.windows(2).all(|q| q[0].abs() >= q[1].abs()), "{}: {q:?}", on.name());
    }
}

/// A few directions of largest curvature have what the eigenvalues say, and random ones have less.
#[test]
fn directions_of_curvature_capture_most() {
    let twin = Twin::small();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let options = QuadraticOptions { probes: 64, ..QuadraticOptions::default() };
        let of = |basis: &Basis, rank| expand(&run, &frames(&run, basis, rank, &[]), None, &options);
        let squares: Vec<f64> = array(&of(&Basis::Random(3), D), "curvature").iter().map(|q| q * q).collect();
        let best = squares[..3].iter().sum::<f64>() / squares.iter().sum::<f64>();
        let [few, random] = [Basis::Curvature(0), Basis::Random(0)].map(|basis| one(&of(&basis, 4), "captured"));
        assert!(few > best - 0.02 && random < 0.5 * few, "{}: {few} of {best}, random {random}", on.name());
    }
}

/// First order errs by a multiple of the amplitude, second order by one of its square.
#[test]
fn orders_err_as_their_remainders() {
    let twin = Twin::small();
    let options = QuadraticOptions { amplitudes: vec![0.02, 0.08, 0.32], ..QuadraticOptions::default() };
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let got = expand(&run, &frames(&run, &Basis::Curvature(0), 4, &[]), None, &options);
        let [first, second] = ["error_first", "error_second"].map(|name| array(&got, name));
        for (errors, order) in [(&first, 1.0), (&second, 2.0)] {
            let grown = (errors[2] / errors[1]).log2() / 2.0;
            assert!((grown - order).abs() < 0.5, "{}: {errors:?} grow by {grown}", on.name());
        }
        assert!(second[1] < 0.3 * first[1], "{}: {first:?} {second:?}", on.name());
    }
}

/// A displacement that lies in the directions moves J as the run with it says.
#[test]
fn a_displacement_is_measured_within_the_directions() {
    let twin = Twin::small();
    for on in subjects() {
        let (run, other) = (run(&twin, on, &TOKENS), run(&twin, on, &[3, 1, 15, 9, 2]));
        let others = [other];
        let got = expand(&run, &frames(&run, &Basis::Displacement, 1, &others), Some(&others[0]), &Default::default());
        let [share, effect, within, first, second] =
            ["moved_share", "moved_effect", "moved_within", "moved_first", "moved_second"].map(|name| one(&got, name));
        assert!((share - 1.0).abs() < 1e-5 && (effect - within).abs() < 1e-5 * effect.abs(), "{effect} {within}");
        let x: Vec<f64> = {
            let at = (PLACE.0 * TOKENS.len() + PLACE.1) * D;
            let [ours, theirs] = [&run, &others[0]].map(|run| run.field().expect("a field")[at..at + D].to_vec());
            theirs.iter().zip(&ours).map(|(a, b)| f64::from(a - b)).collect()
        };
        let (size, q) = (x.iter().map(|x| x * x).sum::<f64>(), array(&got, "curvature")[0]);
        assert!((second - first - 0.5 * q * size).abs() < 1e-4 * (q * size).abs(), "{}", on.name());
        let random = expand(&run, &frames(&run, &Basis::Random(1), 2, &[]), Some(&others[0]), &Default::default());
        assert!(one(&random, "moved_share") < 0.9);
    }
}

/// A linear model has a slope and no curvature.
#[test]
fn a_linear_model_has_no_curvature() {
    let twin = Twin::linear(3);
    let j = Observable::projection(3, 4, (0..twin.config.n_embd).map(|i| i as f32).collect());
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let got = quadratic(
            &run,
            &j,
            ((1, 4), &Frames::everywhere(1, vec![1.0; twin.config.n_embd])),
            None,
            &Default::default(),
        );
        let got = got.unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        assert!(one(&got, "curvature").abs() < 1e-6 * one(&got, "slope"), "{}", on.name());
        assert!(array(&got, "error_second").iter().all(|e| e.is_nan() || *e < 1e-4), "{}", on.name());
    }
}

#[test]
fn every_family_expands() {
    for golden in Golden::all().into_iter().chain(Golden::forms()) {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let run = model.run_with(&golden.tokens, &RunOptions::default()).expect("runs");
            let (place, j) = (golden.place(), golden.observable());
            let context = BasisContext { observables: std::slice::from_ref(&j), rank: Some(3), ..Default::default() };
            let linear = run.linearize(Mode::Exact);
            let frames = Basis::Curvature(1).frames(&linear, &[place], End::Source, context).expect("a basis");
            let got = quadratic(&run, &j, (place, &frames), None, &QuadraticOptions::default());
            let got = got.unwrap_or_else(|e| panic!("{} on {}: {e}", golden.name, on.name()));
            for name in ["triangles", "along", "alone"] {
                assert!(got.certificates.iter().any(|c| c.name == name), "{}: {name}", golden.name);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let twin = Twin::small();
    let run = run(&twin, subjects()[0], &TOKENS);
    let everywhere = Frames::everywhere(1, vec![1.0; D]);
    let fails = |j: &Observable, place, frames: &Frames, options: QuadraticOptions| {
        quadratic(&run, j, (place, frames), None, &options).expect_err("does not fit").to_string()
    };
    let j = observable();
    let early = Observable::logit_diff(4, 20, 2);
    assert!(fails(&early, (1, 3), &everywhere, QuadraticOptions::default()).contains("a token up to 2"));
    assert!(fails(&j, (9, 3), &everywhere, QuadraticOptions::default()).contains("outside of the field"));
    let zero = Frames::everywhere(1, vec![0.0; D]);
    assert!(fails(&j, PLACE, &zero, QuadraticOptions::default()).contains("no direction"));
    for amplitudes in [vec![], vec![0.0], vec![f32::NAN], vec![-1.0]] {
        let options = QuadraticOptions { amplitudes, ..QuadraticOptions::default() };
        assert!(fails(&j, PLACE, &everywhere, options).contains("amplitude"));
    }
    let context = BasisContext { rank: Some(2), ..BasisContext::default() };
    let none = Basis::Curvature(0).frames(&run.linearize(Mode::Exact), &[PLACE], End::Source, context);
    assert!(none.expect_err("no observable").to_string().contains("give one (--target)"));
}
