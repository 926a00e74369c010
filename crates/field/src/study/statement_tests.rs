//! Tests the rules of verdicts; an empty study has no verdict.

use super::*;

fn done(name: &str, result: Labelled) -> Done {
    Done { name: name.to_owned(), result }
}

fn column(name: &'static str, values: &[f32]) -> (&'static str, Vec<f32>) {
    (name, values.to_vec())
}

fn result(columns: &[(&'static str, Vec<f32>)]) -> Labelled {
    let add = |r: Labelled, (name, data): &(&'static str, Vec<f32>)| r.with(name, &[("n", data.len())], data.clone());
    columns.iter().fold(Labelled::default(), add)
}

fn verdict_of(name: &str, all: &[Done]) -> (Verdict, f64) {
    let statement = statements(all).into_iter().find(|s| s.name == name).expect("a statement");
    (statement.verdict, statement.figure.estimate)
}

#[test]
fn an_empty_study_has_no_verdicts() {
    let all = statements(&[]);
    assert_eq!(all.len(), 6);
    for statement in all {
        assert_eq!(statement.verdict, Verdict::Unknown, "{}", statement.name);
        assert!(statement.figure.estimate.is_nan());
    }
}

fn regimes(radius: f32, error: f32) -> Vec<Done> {
    let columns =
        [column("prompt", &[0.0, 0.0, 1.0, 1.0]), column("radius", &[radius; 4]), column("amplitudes", &[0.01])];
    let result = result(&columns).with("error", &[("source", 4), ("amplitude", 1)], vec![error; 4]);
    vec![done("regimes.a", result)]
}

#[test]
fn the_linear_regime() {
    assert_eq!(verdict_of("linear regime", &regimes(0.5, 0.01)), (Verdict::Holds, 0.5));
    assert_eq!(verdict_of("linear regime", &regimes(0.5, 0.1)).0, Verdict::Partly);
    assert_eq!(verdict_of("linear regime", &regimes(0.5, 0.5)).0, Verdict::Fails);
    // Infinite radii do not bound a regime.
    assert_eq!(verdict_of("linear regime", &regimes(f32::INFINITY, 0.01)).0, Verdict::Unknown);
}

/// Returns a result with two kinds of sites: predictions of the first have the given sign, and those of the second are
/// reversed.
fn patching(sign: f32) -> Vec<Done> {
    let n = 40;
    let actual: Vec<f32> = (0..2 * n).map(|i| ((i * 7 % 11) as f32) - 5.0).collect();
    let predicted = actual.iter().enumerate().map(|(i, a)| if i < n { sign * a } else { -a }).collect();
    let kind = (0..2 * n).map(|i| if i < n { 0.0 } else { 1.0 }).collect();
    let prompt = (0..2 * n).map(|i| (i % 4) as f32).collect();
    let columns = [("actual", actual), ("predicted", predicted), ("kind", kind), ("prompt", prompt)];
    vec![done("patching.a", result(&columns).note("kinds", "resid,mlp_out"))]
}

#[test]
fn predictions_of_patches() {
    let right = patching(1.0);
    let (verdict, figure) = verdict_of("sensitivities predict patches", &right);
    assert_eq!(verdict, Verdict::Holds);
    assert!((figure - 1.0).abs() < 1e-12, "{figure}");
    let statement = statements(&right).into_iter().find(|s| s.name == "sensitivities predict patches");
    assert!(statement.expect("it").detail.contains("resid 1.00, mlp_out -1.00"));
    assert_eq!(verdict_of("sensitivities predict patches", &patching(-1.0)).0, Verdict::Fails);
}

fn transfers(best: f32, control: f32) -> Vec<Done> {
    let rows = |x: f32| vec![x; 3 * 4];
    let axes = [("prompt", 3), ("level", 4)];
    let result = result(&[column("prompt", &[0.0, 1.0, 2.0])])
        .with("best", &axes, rows(best))
        .with("random_best", &axes, rows(control))
        .with("shuffled_best", &axes, rows(f32::NAN));
    vec![done("transfers.a", result)]
}

#[test]
fn transfer_must_beat_its_controls() {
    assert_eq!(verdict_of("answers are carried over", &transfers(0.6, 0.1)).0, Verdict::Holds);
    assert_eq!(verdict_of("answers are carried over", &transfers(0.15, 0.1)).0, Verdict::Partly);
    assert_eq!(verdict_of("answers are carried over", &transfers(0.6, 0.7)).0, Verdict::Fails);
}

/// Returns a result whose error by role at 16 directions is `error`, and `random` with random directions.
fn reduction(error: f32, random: f32) -> Vec<Done> {
    let axes = [("basis", 2), ("method", 4), ("rank", 3)];
    let of = |[one, by_role]: [f32; 2]| [[9.0, one, 9.0], [9.0, by_role, 9.0]];
    let rows = [of([0.6, 0.7]), of([0.8, error]), of([0.6, random]), of([0.6, 0.65])];
    let errors = [0, 1].map(|basis| rows.map(|row| row[basis]).concat()).concat();
    let result = result(&[
        column("ranks", &[8.0, 16.0, 32.0]),
        column("floor", &[0.05]),
        column("dimension", &[f32::NAN, 16.0]),
    ]);
    let result = result.with("error", &axes, errors).note("methods", "pod,balanced,random,shuffled");
    vec![done("reduction.a", result)]
}

#[test]
fn reduced_descriptions_must_beat_random_directions() {
    assert_eq!(verdict_of("reduced descriptions", &reduction(0.125, 0.5)), (Verdict::Holds, 0.125));
    assert_eq!(verdict_of("reduced descriptions", &reduction(0.125, 0.25)).0, Verdict::Holds, "twice as bad");
    assert_eq!(verdict_of("reduced descriptions", &reduction(0.125, 0.2)).0, Verdict::Partly);
    assert_eq!(verdict_of("reduced descriptions", &reduction(0.25, 0.9)).0, Verdict::Partly);
    assert_eq!(verdict_of("reduced descriptions", &reduction(0.5, 0.9)).0, Verdict::Fails);
    assert_eq!(verdict_of("reduced descriptions", &reduction(f32::NAN, 0.9)).0, Verdict::Unknown);
    // A step that was left out has no arrays.
    let nothing = [done("reduction.a", Labelled::default())];
    assert_eq!(verdict_of("reduced descriptions", &nothing).0, Verdict::Unknown);
}

/// The figure is the mean over tasks, and the details are those at the same rank.
#[test]
fn reduced_descriptions_are_means_over_tasks() {
    let mut all = reduction(0.125, 0.5);
    all.extend(reduction(0.375, 1.0));
    all[1].name = "reduction.b".to_owned();
    let statement = statements(&all).into_iter().find(|s| s.name == "reduced descriptions").expect("it");
    let figure = statement.figure;
    assert_eq!((figure.estimate, figure.low, figure.high), (0.25, 0.125, 0.375));
    for part in ["one basis for all tokens 0.80", "(POD) 0.70", "random directions 0.75", "shuffled pairs 0.65"] {
        assert!(statement.detail.contains(part), "{part}: {}", statement.detail);
    }
    assert!(statement.detail.ends_with("all directions 0.05; directions within 0.05 of all, for each task: 16, 16"));
}

#[test]
fn propagation_and_inverse() {
    let of = |rank: f32| {
        let columns = [
            column("prompt", &[0.0, 1.0]),
            column("level", &[0.0, 0.0]),
            column("stable_rank", &[rank; 2]),
            column("captured", &[0.5; 2]),
        ];
        let result = result(&columns).with("stays", &[("source", 2), ("level", 3)], vec![0.7; 6]);
        vec![done("propagation.a", result.note("d", "100"))]
    };
    assert_eq!(verdict_of("structured propagation", &of(5.0)), (Verdict::Holds, 5.0));
    assert_eq!(verdict_of("structured propagation", &of(20.0)).0, Verdict::Partly);
    assert_eq!(verdict_of("structured propagation", &of(80.0)).0, Verdict::Fails);

    let of = |achieved: f32| {
        let result =
            result(&[column("prompt", &[0.0, 1.0]), column("refined", &[1.0; 2]), column("greedy", &[1.0; 2])])
                .with("achieved", &[("prompt", 2), ("goal", 4)], [0.0, achieved, 0.0, 0.0].repeat(2))
                .with("energy_ratio", &[("prompt", 2), ("baseline", 1)], vec![3.0; 2]);
        vec![done("inverse.a", result.note("baselines", "uniform"))]
    };
    assert_eq!(verdict_of("patches can be chosen", &of(0.9)).0, Verdict::Holds);
    assert_eq!(verdict_of("patches can be chosen", &of(0.6)).0, Verdict::Partly);
    assert_eq!(verdict_of("patches can be chosen", &of(0.0)).0, Verdict::Fails);
}

#[test]
fn scales_are_those_of_the_largest_small_model() {
    let of = |affine: f32| {
        let axes = [("small", 2), ("quantity", 3), ("predictor", 4)];
        let mut values = vec![0.3; 24];
        values[12] = affine;
        let add = |r: Labelled, name: &'static str| r.with(name, &axes, values.clone());
        let names = ["correlation", "correlation_low", "correlation_high"];
        vec![done("scaling", names.into_iter().fold(Labelled::default(), add))]
    };
    assert_eq!(verdict_of("small predicts large", &of(0.9)), (Verdict::Holds, f64::from(0.9f32)));
    assert_eq!(verdict_of("small predicts large", &of(0.5)).0, Verdict::Partly);
    assert_eq!(verdict_of("small predicts large", &of(0.2)).0, Verdict::Fails);
}
