//! Labelled results: arrays, axes, provenance, and certificates, which must fail for wrong numbers.

use resolvent_field::{ADJOINT, Certificate, Error, Labelled, SLOPE, adjoint, forward, green, patch, sensitivity};
use resolvent_model::{Edit, Mode, Model, Observable, RandomWeights, Run, Site, tiny};
use resolvent_tests::{Random, Subject, subjects};

const TOKENS: [u32; 5] = [3, 1, 4, 1, 5];

fn model(on: &Subject) -> Model {
    let weights = RandomWeights::new(7).with_std(0.15);
    Model::random(on.device(), tiny(), weights).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
}

fn run(on: &Subject) -> Run {
    model(on).run(&TOKENS, &[]).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
}

type Axes<'a> = &'a [(&'static str, usize)];

fn check(result: &Labelled, analysis: &str, arrays: &[(&str, Axes<'_>)], certificates: &[&str]) {
    let names: Vec<&str> = result.arrays.iter().map(|a| a.name).collect();
    assert_eq!(names, arrays.iter().map(|a| a.0).collect::<Vec<_>>(), "{analysis}");
    for (array, (name, axes)) in result.arrays.iter().zip(arrays) {
        assert_eq!(array.axes, *axes, "{analysis}: {name}");
        assert_eq!(array.data.len(), axes.iter().map(|a| a.1).product::<usize>(), "{analysis}: {name}");
        assert!(array.data.iter().all(|x| x.is_finite()), "{analysis}: {name}");
    }
    let names: Vec<&str> = result.certificates.iter().map(|c| c.name).collect();
    assert_eq!(names, certificates, "{analysis}");
    for certificate in &result.certificates {
        certificate.verify().unwrap_or_else(|e| panic!("{analysis}: {e}"));
    }
    let of = |key: &str| result.metadata.get(key).unwrap_or_else(|| panic!("{analysis}: no `{key}`")).as_str();
    assert_eq!([of("analysis"), of("tokens")], [analysis, "3,1,4,1,5"]);
    assert!(of("model").starts_with("random:7"), "{}", of("model"));
    for key in ["model_hash", "adapter", "driver", "executor", "version", "variants"] {
        assert!(!of(key).is_empty(), "{analysis}: `{key}` is empty");
    }
}

const FIELD: Axes<'static> = &[("level", 4), ("token", 5), ("d", 32)];
const MAP: Axes<'static> = &[("level", 4), ("token", 5)];
const ONE: Axes<'static> = &[("value", 1)];

#[test]
fn results_have_their_arrays_axes_and_certificates() {
    for on in subjects() {
        let (clean, j) = (run(on), Observable::logit_diff(2, 6, 4));
        let corrupted = model(on).run(&[3, 1, 9, 1, 5], &[]).expect("runs");
        let logits: Axes<'_> = &[("token", 5), ("vocab", 50)];
        let result = forward(&clean, false).expect("holds");
        check(&result, "run", &[("field", FIELD), ("logits", logits)], &["last_row_alone"]);
        let last: Axes<'_> = &[("token", 1), ("vocab", 50)];
        let short = forward(&clean, true).expect("holds");
        check(&short, "run", &[("field", FIELD), ("logits", last)], &["last_row_alone"]);
        assert_eq!(short.arrays[1].data, result.arrays[1].data[4 * 50..]);

        let result = sensitivity(&clean, &j).expect("holds");
        let arrays = [("sensitivity", FIELD), ("norm", MAP), ("value", ONE)];
        check(&result, "sensitivity", &arrays, &["adjoint", "slope", "shift"]);

        // The base run of a sweep is the corrupted run, and `tokens` has the tokens of the base run.
        let result = patch(&corrupted, &clean, &j).expect("holds");
        let arrays = [("effect", MAP), ("first_order", MAP), ("clean_value", ONE), ("corrupted_value", ONE)];
        check(&result, "patch", &arrays, &["restores", "alone", "adjoint"]);
        assert_eq!(result.metadata["clean_tokens"], "3,1,9,1,5");

        let result = green(&clean, 1, 2, &[0.5; 32]).expect("holds");
        check(&result, "green", &[("response", FIELD), ("norm", MAP)], &["causal_zeros", "slope", "adjoint"]);
        assert_eq!(result.metadata["source"], "1,2");
    }
}

/// If the clean run differs little from the corrupted one, the first order of a patch equals its effect.
#[test]
fn first_order_is_the_limit_of_the_effect() {
    for on in subjects() {
        let (clean, model) = (run(on), model(on));
        let s: Vec<f32> = (0..32).map(|i| if i % 2 == 0 { 2e-3 } else { -1e-3 }).collect();
        let nudged = model.run(&TOKENS, &[Edit::add(Site::ResidPre(0), 1, s)]).expect("runs");
        let result = patch(&nudged, &clean, &Observable::logit(2, 4)).expect("holds");
        let of = |name: &str| result.array(name).expect("an array").data.clone();
        let (effect, first) = (of("effect"), of("first_order"));
        let size = first.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(size > 1e-4, "{size}");
        for (e, f) in effect.iter().zip(&first) {
            assert!((e - f).abs() < 0.02 * size, "{}: {e} {f}", on.name());
        }
    }
}

/// All analyses of edited runs pass their checks.
#[test]
fn analyses_of_edited_runs_pass_their_checks() {
    for on in subjects() {
        let model = model(on);
        let s = vec![0.3; 32];
        let edits = [
            Edit::put(Site::ResidPost(0), 1, s.clone()),
            Edit::project_out(Site::ResidMid(1), 3, s.clone()),
            Edit::scale(Site::MlpOut(2), 4, 0.5),
        ];
        let edited = model.run(&TOKENS, &edits).expect("runs");
        let clean = model.run(&[3, 1, 9, 1, 5], &edits).expect("runs");
        let j = Observable::logit_diff(2, 6, 4);
        let fail = |e: Error| -> Labelled { panic!("{}: {e}", on.name()) };
        forward(&edited, false).unwrap_or_else(fail);
        sensitivity(&edited, &j).unwrap_or_else(fail);
        green(&edited, 1, 1, &s).unwrap_or_else(fail);
        let result = patch(&clean, &edited, &j).unwrap_or_else(fail);
        assert_eq!(result.arrays[0].data[0], 0.0, "the first token is the same in both");
    }
}

#[test]
fn a_broken_certificate_is_an_error() {
    let of = |value: f64| Certificate::new("adjoint", value, ADJOINT);
    assert!(of(0.0).verify().is_ok() && of(ADJOINT).verify().is_ok());
    for value in [f64::NAN, f64::INFINITY, 1.01 * ADJOINT] {
        let error = of(value).verify().expect_err("does not hold");
        assert!(matches!(&error, Error::Certificate { name, .. } if name == "adjoint"), "{error}");
        let line = error.to_string();
        assert!(line.contains("--device host") && !line.contains('\n'), "{line}");
    }
    let result = Labelled::new("run", &run(subjects()[0]));
    assert!(result.certify(of(f64::NAN)).is_err(), "a result does not outlive its check");
}

/// Figures of correct derivatives are far below the bounds of their checks. Wrong derivatives exceed the bounds: the
/// transpose of another run's map, and the slope of another observable.
#[test]
fn a_broken_derivative_is_caught() {
    for on in subjects() {
        let model = model(on);
        let (right, wrong) = (run(on), model.run(&[3, 1, 4, 1, 6], &[]).expect("runs"));
        let found = adjoint(&right.linearize(Mode::Exact), 1).expect("runs");
        assert!(found.value < 0.2 * found.bound, "{}: {found:?}", on.name());

        let (linear, other) = (right.linearize(Mode::Exact), wrong.linearize(Mode::Exact));
        let (u, v) = (Random::new(1).normals(32), Random::new(2).normals(32));
        let seed = resolvent_model::Seed::Field { level: 3, token: 4, vector: u.clone() };
        let source = resolvent_model::Source { site: Site::ResidPre(0), token: 4, vector: v.clone() };
        let response = linear.jvp(&[[source]]).expect("runs").into_single();
        let chi = other.vjp(&[[seed]]).expect("runs").into_single();
        let last = &response[(3 * 5 + 4) * 32..];
        let (forward, backward) = (resolvent_field::dot(&u, last), resolvent_field::dot(&chi[4 * 32..5 * 32], &v));
        let value = (forward - backward).abs() / (resolvent_field::norm(&u) * resolvent_field::norm(last));
        assert!(Certificate::new("adjoint", value, ADJOINT).verify().is_err(), "{value}");

        let j = [Observable::logit(2, 4), Observable::logit(9, 4)];
        let chi = linear.gradient(&j[0]).expect("runs");
        let along: Vec<f32> = chi[(3 * 5 + 4) * 32..].to_vec();
        let slope = |j: &Observable| {
            let step = 1e-2f32;
            let moved =
                [step, -step].map(|a| [Edit::add(Site::ResidPost(2), 4, along.iter().map(|x| a * x).collect())]);
            let values = right.values_under(&moved, j).expect("runs");
            (values[0] - values[1]) / (2.0 * f64::from(step))
        };
        let size = resolvent_field::dot(&along, &along);
        let error = |j: &Observable| Certificate::new("slope", (slope(j) / size - 1.0).abs(), SLOPE);
        assert!(error(&j[0]).verify().is_ok() && error(&j[1]).verify().is_err(), "{}", on.name());
    }
}

/// Every adapter passes the self-test that commands run before they use it.
#[test]
fn every_adapter_passes_its_self_test() {
    for on in subjects() {
        let test = resolvent::self_test(on.device()).unwrap_or_else(|e| panic!("{e}"));
        println!("| self-test | {} | {test:?} |", on.name());
        let same = [test.field, test.sensitivity, test.response] == [0.0; 3];
        assert_eq!(same, on.is_host(), "only the host is like the host, bit for bit");
    }
}
