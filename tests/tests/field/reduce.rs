//! Reduced descriptions against float64 torch, and what they refuse.

use resolvent_field::{Labelled, ReduceOptions, Sensitivities, reduce};
use resolvent_model::{Model, PromptCase, PromptSet};
use resolvent_tests::subjects;
use serde_json::Value;

fn cases(model: &Model, task: &str, count: usize) -> Vec<PromptCase> {
    let set = PromptSet::embedded().expect("prompts");
    let rows = set.rows(&[task.to_owned()], Some(count)).expect("rows");
    rows.iter().map(|row| row.case(model, None, None).expect("fits")).collect()
}

fn reduced(model: &Model, cases: &[PromptCase], options: &ReduceOptions) -> resolvent_field::Result<Labelled> {
    reduce(model, cases, options, &mut |_, _| {})
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// The errors of some method, over ranks.
fn errors<'a>(result: &'a Labelled, method: &str, basis: usize) -> &'a [f32] {
    let names: Vec<&str> = result.metadata["methods"].split(',').collect();
    let at = names.iter().position(|name| *name == method).expect("a method");
    let array = result.array("error").expect("errors");
    let n = array.axes[2].1;
    &array.data[(basis * names.len() + at) * n..][..n]
}

fn near(got: &[f32], want: &[f64], what: &str) {
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() < 2e-4 * want.max(0.1), "{what}: {got} instead of {want}");
    }
}

/// See `data/make_reductions.py`. Above the number of different training rows of a role, the directions are arbitrary;
/// words repeat, so that is less than the number of training prompts.
#[test]
fn errors_match_their_goldens() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/reductions.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("JSON");
    let ranks: Vec<usize> = numbers(&golden["ranks"]).iter().map(|&k| k as usize).collect();
    let options = ReduceOptions { ranks: ranks.clone(), steps: 4, ..ReduceOptions::default() };
    for (name, golden) in golden["models"].as_object().expect("models") {
        let count = golden["rows"].as_u64().expect("a number") as usize;
        for on in subjects() {
            let model = Model::named(on.device(), name).expect("embedded");
            let cases = cases(&model, golden["task"].as_str().expect("a task"), count);
            let got = reduced(&model, &cases, &options).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            assert_eq!(got.metadata["level"], golden["level"].to_string());
            let floor = got.array("floor").expect("a floor").data[0];
            near(&[floor], &[golden["floor"].as_f64().expect("a number")], "floor");
            let power: Vec<f64> = got.array("power").expect("powers").data.iter().map(|&p| f64::from(p)).collect();
            assert_eq!(power, numbers(&golden["power"]), "{name} on {}", on.name());
            for basis in 0..2 {
                let most = if basis == 0 { 16 } else { count / 4 };
                let shown = ranks.iter().filter(|&&k| k <= most).count();
                for method in ["balanced", "pod", "active_subspace"] {
                    let want = numbers(&golden[method][basis]);
                    let what = format!("{name} on {}, {method}, basis {basis}", on.name());
                    near(&errors(&got, method, basis)[..shown], &want[..shown], &what);
                }
                let said = &got.array("said").expect("an estimate").data[basis * ranks.len()..][..shown];
                near(said, &numbers(&golden["said"][basis])[..shown], "said in advance");
                for name in ["cross_validated", "expected"] {
                    let of = &got.array(name).expect("an estimate").data[basis * ranks.len()..][..shown];
                    near(of, &numbers(&golden[name][basis])[..shown], name);
                }
            }
        }
    }
}

#[test]
fn controls_do_not_reach_the_balanced_directions() {
    let on = &subjects()[0];
    let model = Model::named(on.device(), "atlas-nano").expect("embedded");
    let cases = cases(&model, "agreement", 24);
    let options = ReduceOptions { ranks: vec![2, 4], ..ReduceOptions::default() };
    let got = reduced(&model, &cases, &options).expect("computes");
    for basis in 0..2 {
        let balanced = errors(&got, "balanced", basis)[1];
        for control in ["random", "krylov", "green"] {
            assert!(errors(&got, control, basis)[1] > 2.0 * balanced, "{control}: {:?}", errors(&got, control, basis));
        }
    }
    let of = |name: &str| &got.array(name).expect("an array").data;
    // All tokens and all training prompts give the same numbers as the table.
    let by_role = errors(&got, "balanced", 1);
    assert_eq!(of("by_tokens")[8..], *by_role);
    assert_eq!(of("learning")[6..], *by_role);
    assert_eq!(*of("learning_prompts"), [2.0, 3.0, 6.0, 12.0]);
    assert!(of("error_low").iter().zip(of("error_high")).all(|(low, high)| low <= high));
    // The directions in the file are those that gave the errors: W and T of a set are dual.
    let (read, write, d) = (of("read"), of("write"), model.sizes().d);
    for set in 0..4 {
        for (i, j) in [(0, 0), (1, 1), (0, 1), (3, 1)] {
            let row = |data: &[f32], n: usize| -> Vec<f32> { data[(set * 4 + n) * d..][..d].to_vec() };
            let product: f64 = resolvent_field::dot(&row(read, i), &row(write, j));
            let want = f64::from(u8::from(i == j));
            assert!((product - want).abs() < 1e-3, "set {set}: <w{i}, t{j}> = {product}");
        }
    }
}

#[test]
fn sensitivities_have_their_own_floors() {
    let on = &subjects()[0];
    let model = Model::named(on.device(), "atlas-nano").expect("embedded");
    let cases = cases(&model, "agreement", 8);
    let floor = |sensitivities| {
        let options = ReduceOptions { sensitivities, ranks: vec![1], ..ReduceOptions::default() };
        reduced(&model, &cases, &options).expect("computes").array("floor").expect("a floor").data[0]
    };
    let [first, relp, averaged] = [Sensitivities::FirstOrder, Sensitivities::RelP, Sensitivities::Averaged].map(floor);
    assert!(averaged < 0.3 * first && first != relp, "{first} {relp} {averaged}");
}

#[test]
fn prompts_and_options_that_do_not_fit_are_named() {
    let on = &subjects()[0];
    let model = Model::named(on.device(), "atlas-nano").expect("embedded");
    let mut cases = cases(&model, "agreement", 9);
    let error = |cases: &[PromptCase], options: ReduceOptions| {
        reduced(&model, cases, &options).expect_err("refused").to_string()
    };
    let default = ReduceOptions::default;
    assert!(error(&cases[..3], default()).contains("1 of 3 prompts give the directions"));
    assert!(error(&cases, ReduceOptions { train: Some(8), ..default() }).contains("8 of 9 prompts"));
    assert!(error(&cases, ReduceOptions { ranks: vec![4, 2], ..default() }).contains("ascending"));
    assert!(error(&cases, ReduceOptions { ranks: vec![1000], ..default() }).contains("a rank of at most"));
    assert!(error(&cases, ReduceOptions { level: Some(99), ..default() }).contains("above the last one"));
    assert!(error(&cases, ReduceOptions { steps: 0, ..default() }).contains("one step or more"));
    // The rows that cannot be used are named, and the others stay.
    cases[1].corrupted = Some(cases[1].clean.clone());
    cases[7].corrupted = None;
    let got = reduced(&model, &cases, &ReduceOptions { ranks: vec![2, 4], ..default() }).expect("the others stay");
    let left_out = resolvent_field::Prompts::left_out_of(&got);
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert!(left_out[0].1.contains("J is the same") && left_out[1].1.contains("no corrupted prompt"), "{left_out:?}");
    assert_eq!((got.array("trained_on").unwrap().data[0], got.array("measured_on").unwrap().data[0]), (3.0, 4.0));
    assert!(got.array("error_low").expect("an array").data.iter().all(|x| x.is_nan()), "too few for intervals");
    // The last level and the first one are levels like all others.
    for level in [0, model.sizes().layers] {
        let options = ReduceOptions { level: Some(level), ranks: vec![2], ..default() };
        assert!(reduced(&model, &cases, &options).is_ok(), "level {level}");
    }
}
