//! Tests the rules of verdicts, and figures beside those of nulls; an empty study has no verdict.

use super::*;
use crate::labelled::Labelled;
use crate::study::statement::Better;

/// Number of prompts: the least for an interval.
const N: usize = 8;

/// The indices of the prompts.
fn prompts() -> Vec<f32> {
    (0..N).map(|i| i as f32).collect()
}

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
    let statement = statements(all, &[]).into_iter().find(|s| s.name == name).expect("a statement");
    (statement.verdict, statement.figure.estimate)
}

#[test]
fn an_empty_study_has_no_verdicts() {
    let all = statements(&[], &[]);
    assert_eq!(all.len(), 9);
    for statement in all {
        assert_eq!(statement.verdict, Verdict::Unknown, "{}", statement.name);
        assert!(statement.figure.estimate.is_nan());
    }
}

fn regimes(radius: f32, error: f32) -> Vec<Done> {
    let columns = [("prompt", prompts()), column("radius", &[radius; N]), column("amplitudes", &[0.01])];
    let result = result(&columns).with("error", &[("source", N), ("amplitude", 1)], vec![error; N]);
    vec![done("regimes.a", result)]
}

#[test]
fn the_linear_regime() {
    assert_eq!(verdict_of("linear regime", &regimes(0.5, 0.01)), (Verdict::Holds, 0.5));
    assert_eq!(verdict_of("linear regime", &regimes(0.5, 0.1)).0, Verdict::Partly);
    assert_eq!(verdict_of("linear regime", &regimes(0.5, 0.5)).0, Verdict::Fails);
    // Infinite radii do not bound a regime.
    assert_eq!(verdict_of("linear regime", &regimes(f32::INFINITY, 0.01)).0, Verdict::Unknown);
    // Sources of one prompt are not independent, so they have no interval.
    let one = result(&[column("prompt", &[0.0; N]), column("radius", &[0.5; N]), column("amplitudes", &[0.01])]);
    let one = [done("regimes.a", one.with("error", &[("source", N), ("amplitude", 1)], vec![0.01; N]))];
    assert_eq!(verdict_of("linear regime", &one), (Verdict::Few, 0.5));
}

#[test]
fn figures_are_compared_with_those_of_nulls() {
    let beside = |radius: f32| {
        let nulls = [(Null::Random, regimes(radius, 0.01)), (Null::Shuffled, Vec::new())];
        let found = statements(&regimes(0.5, 0.01), &nulls).remove(0);
        (found.nulls[0].exceeded, found.nulls[1].exceeded, found.beyond(), found.beside_nulls())
    };
    assert_eq!(beside(0.25), (Some(true), None, None, "undecided beside shuffled pairs".to_owned()));
    assert_eq!(beside(0.75), (Some(false), None, None, "not beyond random weights".to_owned()));
    let all = statements(&regimes(0.5, 0.01), &[(Null::Random, regimes(0.25, 0.01))]).remove(0);
    assert_eq!((all.beyond(), all.beside_nulls().as_str()), (Some(true), "beyond the nulls"));
    assert_eq!(all.nulls[0].verdict, Verdict::Holds, "the null gets its own verdict");
    let none = statements(&regimes(0.5, 0.01), &[]).remove(0);
    assert_eq!((none.beyond(), none.beside_nulls().as_str()), (None, ""));
}

#[test]
fn intervals_are_compared_in_the_direction_of_the_statement() {
    let at = |low: f64, high: f64| Interval { estimate: 0.5 * (low + high), low, high };
    assert_eq!(Better::Higher.beyond(at(2.0, 3.0), at(0.0, 1.0)), Some(true));
    assert_eq!(Better::Higher.beyond(at(2.0, 3.0), at(0.0, 2.5)), Some(false));
    assert_eq!(Better::Lower.beyond(at(0.0, 1.0), at(2.0, 3.0)), Some(true));
    let near = Better::Near(1.0);
    assert_eq!(near.beyond(at(0.9, 1.2), at(0.0, 0.5)), Some(true));
    assert_eq!(near.beyond(at(0.9, 1.2), at(1.1, 2.0)), Some(false));
    assert_eq!(near.beyond(at(0.9, 1.2), at(0.0, 2.0)), Some(false), "the null contains the value");
    assert_eq!(near.beyond(Interval { estimate: 1.0, ..Interval::NONE }, at(0.0, 0.5)), None);
}

/// Returns a result with two kinds of sites: predictions of the first have the given sign, and those of the second are
/// reversed.
fn patching(sign: f32) -> Vec<Done> {
    let n = 40;
    let actual: Vec<f32> = (0..2 * n).map(|i| ((i * 7 % 11) as f32) - 5.0).collect();
    let predicted = actual.iter().enumerate().map(|(i, a)| if i < n { sign * a } else { -a }).collect();
    let kind = (0..2 * n).map(|i| if i < n { 0.0 } else { 1.0 }).collect();
    let prompt = (0..2 * n).map(|i| (i % N) as f32).collect();
    let floor = vec![0.0; 2 * n];
    let columns = [("actual", actual), ("predicted", predicted), ("kind", kind), ("prompt", prompt), ("floor", floor)];
    vec![done("patching.a", result(&columns).note("kinds", "resid,mlp_out"))]
}

fn statement_of(name: &str, all: &[Done]) -> Statement {
    statements(all, &[]).into_iter().find(|s| s.name == name).expect("a statement")
}

#[test]
fn predictions_of_patches() {
    let right = patching(1.0);
    let (verdict, figure) = verdict_of("sensitivities predict patches", &right);
    assert_eq!(verdict, Verdict::Holds);
    assert!((figure - 1.0).abs() < 1e-12, "{figure}");
    let detail = statement_of("sensitivities predict patches", &right).detail();
    assert!(detail.contains("correlation at mlp_out -1.00"), "{detail}");
    assert_eq!(verdict_of("sensitivities predict patches", &patching(-1.0)).0, Verdict::Fails);
}

/// Patches without any possible effect raise no correlation, and neither do effects below the noise floor.
#[test]
fn what_cannot_have_an_effect_is_no_evidence() {
    let of = |more: usize, (predicted, actual): (f32, f32), floor: f32| {
        let n = 4 * N;
        let values = |x: f32, sign: f32| (0..n).map(move |i| x + sign * (i % 3) as f32).chain(vec![0.0; more]);
        let mut actual_values: Vec<f32> = values(5.0, 1.0).collect();
        let mut predicted_values: Vec<f32> = values(5.0, -1.0).collect();
        predicted_values[n..].fill(predicted);
        actual_values[n..].fill(actual);
        let columns = [
            ("predicted", predicted_values),
            ("actual", actual_values),
            ("kind", vec![0.0; n + more]),
            ("prompt", (0..n + more).map(|i| (i % N) as f32).collect()),
            ("floor", vec![floor; n + more]),
        ];
        let all = [done("patching.a", result(&columns).note("kinds", "resid"))];
        statement_of("sensitivities predict patches", &all).figure.estimate
    };
    let alone = of(0, (0.0, 0.0), 0.0);
    assert!(alone < -0.9, "{alone}");
    assert_eq!(of(200, (0.0, 0.0), 0.0), alone, "exact zeros do not count");
    // Rounding errors tie at 0: they are effects of size 0 that are predicted as such.
    assert_eq!(of(200, (1e-4, -1e-4), 1e-3), of(200, (-1e-4, 1e-4), 1e-3), "signs of rounding errors do not count");
}

/// Without an interval, the figures beside a statement have none either, and nothing says NaN.
#[test]
fn few_prompts_have_no_interval_in_words() {
    let mut few = patching(1.0);
    let prompts = few[0].result.arrays.iter_mut().find(|a| a.name == "prompt").expect("an array");
    prompts.data.iter_mut().for_each(|prompt| *prompt %= 3.0);
    let statement = statement_of("sensitivities predict patches", &few);
    assert_eq!(statement.verdict, Verdict::Few);
    assert!(statement.detail().starts_with("relative error 0.00; slope"), "{}", statement.detail());
    assert!(statements(&few, &[]).iter().all(|s| !s.detail().contains("NaN")), "{}", statement.detail());
}

fn transfers(best: f32, control: f32) -> Vec<Done> {
    let rows = |x: f32| vec![x; 4 * N];
    let axes = [("prompt", N), ("level", 4)];
    let result = result(&[("prompt", prompts())])
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

/// Returns a result whose error by role at 16 directions is `error`, `random` with random directions, and `shuffled`
/// with those of shuffled pairs.
fn reduction([error, random, shuffled]: [f32; 3]) -> Vec<Done> {
    let axes = [("prompt", N), ("basis", 2), ("method", 4), ("rank", 3)];
    let of = |[one, by_role]: [f32; 2]| [[9.0, one, 9.0], [9.0, by_role, 9.0]];
    let rows = [of([0.6, 0.75]), of([0.75, error]), of([0.6, random]), of([0.6, shuffled])];
    let errors = [0, 1].map(|basis| rows.map(|row| row[basis]).concat()).concat();
    let squares: Vec<f32> = errors.iter().map(|e| e * e).collect();
    let result = result(&[
        column("ranks", &[8.0, 16.0, 32.0]),
        column("floor", &[0.05]),
        column("dimension", &[f32::NAN, 16.0]),
        column("squared_effect", &[1.0; N]),
    ]);
    let result = result.with("squared_error", &axes, squares.repeat(N)).note("methods", "pod,balanced,random,shuffled");
    vec![done("reduction.a", result)]
}

#[test]
fn reduced_descriptions_must_beat_random_directions_and_shuffled_pairs() {
    let of = |errors: [f32; 3]| verdict_of("reduced descriptions", &reduction(errors));
    assert_eq!(of([0.125, 0.5, 0.25]), (Verdict::Holds, 0.125));
    assert_eq!(of([0.125, 0.2, 0.25]).0, Verdict::Partly, "random directions are less than twice as bad");
    assert_eq!(of([0.125, 0.5, 0.125]).0, Verdict::Partly, "shuffled pairs are as good");
    assert_eq!(of([0.25, 0.9, 0.5]).0, Verdict::Partly);
    assert_eq!(of([0.5, 0.9, 0.6]).0, Verdict::Fails);
    assert_eq!(of([f32::NAN, 0.9, 0.9]).0, Verdict::Unknown);
    // A step that was left out has no arrays.
    let nothing = [done("reduction.a", Labelled::default())];
    assert_eq!(verdict_of("reduced descriptions", &nothing).0, Verdict::Unknown);
}

/// The figure is the mean over tasks, and the details are those at the same rank.
#[test]
fn reduced_descriptions_are_means_over_tasks() {
    let mut all = reduction([0.125, 0.5, 0.5]);
    all.extend(reduction([0.375, 1.0, 1.0]));
    all[1].name = "reduction.b".to_owned();
    let statement = statement_of("reduced descriptions", &all);
    assert_eq!((statement.figure.estimate, statement.prompts), (0.25, 2 * N));
    assert_eq!(statement.by_task, [("a".to_owned(), 0.125), ("b".to_owned(), 0.375)]);
    let detail = statement.detail();
    for part in ["one basis for all tokens 0.75", "(POD) 0.75", "random directions 0.75", "shuffled pairs 0.75"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert!(detail.ends_with("all directions 0.05; directions within 0.05 of all: a 16, b 16"), "{detail}");
    let pod = statement.beside.iter().find(|beside| beside.name.contains("POD")).expect("it");
    assert_eq!(pod.by_task, [("a".to_owned(), 0.75), ("b".to_owned(), 0.75)]);
}

#[test]
fn propagation_and_inverse() {
    let of = |rank: f32| {
        let columns = [
            ("prompt", prompts()),
            column("level", &[0.0; N]),
            column("stable_rank", &[rank; N]),
            column("captured", &[0.5; N]),
        ];
        let result = result(&columns).with("stays", &[("source", N), ("level", 3)], vec![0.7; 3 * N]);
        vec![done("propagation.a", result.note("d", "100"))]
    };
    assert_eq!(verdict_of("structured propagation", &of(5.0)), (Verdict::Holds, 5.0));
    assert_eq!(verdict_of("structured propagation", &of(20.0)).0, Verdict::Partly);
    assert_eq!(verdict_of("structured propagation", &of(80.0)).0, Verdict::Fails);

    let of = |achieved: f32, ratio: f32| {
        let result = result(&[("prompt", prompts()), column("refined", &[1.0; N]), column("greedy", &[1.0; N])])
            .with("achieved", &[("prompt", N), ("goal", 4)], [0.0, achieved, 0.0, 0.0].repeat(N))
            .with("energy_ratio", &[("prompt", N), ("baseline", 1)], vec![ratio; N]);
        vec![done("inverse.a", result.note("baselines", "uniform"))]
    };
    assert_eq!(verdict_of("patches can be chosen", &of(0.9, 3.0)).0, Verdict::Holds);
    assert_eq!(verdict_of("patches can be chosen", &of(0.9, 0.9)).0, Verdict::Partly, "a baseline needs less energy");
    assert_eq!(verdict_of("patches can be chosen", &of(0.6, 3.0)).0, Verdict::Partly);
    assert_eq!(verdict_of("patches can be chosen", &of(0.0, 3.0)).0, Verdict::Fails);
}

/// Returns circuits of 100 edges: what remains at 2 %, the second of two sizes.
fn circuits([circuit, without, random]: [f32; 3]) -> Vec<Done> {
    let axes = [("prompt", N), ("size", 2)];
    let rows = |x: f32| [9.0, x].repeat(N);
    let result = result(&[column("size", &[1.0, 2.0])])
        .with("edges", &[("edge", 100), ("end", 2)], vec![0.0; 200])
        .with("faithfulness", &axes, rows(circuit))
        .with("completeness", &axes, rows(without))
        .with("random", &axes, rows(random));
    vec![done("circuits.a", result)]
}

#[test]
fn circuits_must_be_faithful_and_needed() {
    let of = |remains: [f32; 3]| verdict_of("circuits are small", &circuits(remains));
    assert_eq!(of([0.875, 0.25, 0.125]), (Verdict::Holds, 0.875));
    assert_eq!(of([1.125, -0.5, 0.125]).0, Verdict::Holds);
    assert_eq!(of([0.875, 0.75, 0.125]).0, Verdict::Partly, "the other edges do as well");
    assert_eq!(of([0.875, 0.25, 0.75]).0, Verdict::Partly, "random circuits have half of it");
    assert_eq!(of([0.75, 0.25, 0.125]).0, Verdict::Partly);
    assert_eq!(of([0.75, 0.25, 0.875]).0, Verdict::Fails, "random circuits are better");
    assert_eq!(of([0.25, 0.0, 0.0]).0, Verdict::Fails);
    assert_eq!(of([2.0, 0.0, 0.0]).0, Verdict::Fails, "more than the effect is not faithful");
    assert_eq!(of([f32::NAN, 0.0, 0.0]).0, Verdict::Unknown);
    let detail = statement_of("circuits are small", &circuits([0.875, 0.25, 0.125])).detail();
    assert!(detail.starts_with("without these edges 0.25") && detail.ends_with("2 of 100 edges"), "{detail}");
    // A result without the size of the statement has no figure.
    let other = result(&[column("size", &[1.0])]).with("edges", &[("edge", 100), ("end", 2)], vec![0.0; 200]).with(
        "faithfulness",
        &[("prompt", N), ("size", 1)],
        vec![1.0; N],
    );
    assert_eq!(verdict_of("circuits are small", &[done("circuits.a", other)]).0, Verdict::Unknown);
}

/// Returns sources of three kinds in each prompt: linear ones, the second at a place that is not identifiable; patches;
/// permuted numbers. Ranks are those of the right places.
fn locating([first, second, patch, permuted]: [f32; 4]) -> Vec<Done> {
    let all = |values: [f32; 4]| values.repeat(N);
    let result = result(&[
        ("kind", all([0.0, 0.0, 1.0, 2.0])),
        ("prompt", (0..4 * N).map(|i| (i / 4) as f32).collect()),
        ("level", all([1.0; 4])),
        ("token", all([2.0; 4])),
        ("rank", all([first, second, patch, permuted])),
        ("found_level", all([1.0, 3.0, 1.0, 0.0])),
        ("found_token", all([2.0, 2.0, 2.0, 0.0])),
        ("identifiable", all([0.75, 0.25, 0.75, 0.75])),
    ]);
    vec![done("locating.a", result)]
}

#[test]
fn sources_are_found_beside_chance() {
    let of = |ranks: [f32; 4]| verdict_of("sources are found", &locating(ranks));
    assert_eq!(of([0.0, 0.0, 9.0, 9.0]), (Verdict::Holds, 1.0));
    assert_eq!(of([0.0, 0.0, 9.0, 0.0]).0, Verdict::Fails, "permuted numbers are found too");
    assert_eq!(of([0.0, 1.0, 9.0, 9.0]), (Verdict::Fails, 0.5), "half of them is not above half");
    assert_eq!(of([9.0, 9.0, 0.0, 9.0]), (Verdict::Fails, 0.0), "patches do not count in the figure");
    let detail = statement_of("sources are found", &locating([0.0, 5.0, 0.0, 9.0])).detail();
    for part in [
        "identifiable places 0.50",
        "of sources there, found 1.00",
        "first five places 0.50",
        "in levels 1.00",
        "in tokens 0.00",
        "other prompt, found 1.00",
        "another order 0.00",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
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

/// Returns flows over four levels whose inner ones have `tokens`, the same in each prompt.
fn flows(tokens: [f32; 2]) -> Vec<Done> {
    let levels = |values: [f32; 4]| values.repeat(N);
    let mut flows = result(&[("prompt", prompts()), column("change", &[2.0; N]), column("summed", &[2.1; N])]);
    for (name, values) in [
        ("tokens", [9.0, tokens[0], tokens[1], 9.0]),
        ("at_changed", [1.0, 0.7, 0.3, 0.0]),
        ("at_last", [0.0, 0.1, 0.6, 1.0]),
    ] {
        flows = flows.with(name, &[("prompt", N), ("level", 4)], levels(values));
    }
    vec![done("flows.a", flows)]
}

#[test]
fn flows_count_the_tokens_of_inner_levels() {
    let of = |tokens: [f32; 2]| verdict_of("few tokens carry effects", &flows(tokens));
    assert_eq!(of([1.0, 2.0]), (Verdict::Holds, 1.5));
    assert_eq!(of([2.0, 3.0]), (Verdict::Partly, 2.5));
    assert_eq!(of([3.0, 3.0]), (Verdict::Fails, 3.0), "an interval at the bound is not below it");
    let detail = statement_of("few tokens carry effects", &flows([1.0, 2.0])).detail();
    for part in [
        "tokens that differ 0.50",
        "at the last token 0.35",
        "half has reached the last token 0.67",
        "over tokens 0.05",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
}
