//! Circuits over prompts: their ends, their controls, and what the other edges carry.

use resolvent_field::{Ablation, CircuitOptions, EdgePredictor, EdgeScore, Prompts, Selection, circuit};
use resolvent_model::{
    Edge, Model, Observable, PromptCase, RunOptions, outputs_of, parse_token, path_sites, rewired_values,
};
use resolvent_tests::{Subject, Twin, subjects};

use super::{array, close};

const PAIRS: [([u32; 5], [u32; 5]); 4] = [
    ([3, 14, 15, 9, 2], [3, 8, 15, 4, 2]),
    ([1, 2, 7, 9, 2], [1, 2, 5, 9, 2]),
    ([6, 6, 1, 0, 11], [6, 3, 1, 0, 12]),
    ([20, 4, 4, 8, 13], [20, 4, 9, 8, 13]),
];

fn cases() -> Vec<PromptCase> {
    let case = |(n, (clean, corrupted)): (usize, &([u32; 5], [u32; 5]))| PromptCase {
        name: format!("row {n}"),
        clean: clean.to_vec(),
        corrupted: Some(corrupted.to_vec()),
        observable: Some(Observable::logit_diff(4, 20, 4)),
        roles: [].into(),
        edits: Vec::new(),
    };
    PAIRS.iter().enumerate().map(case).collect()
}

fn computed(model: &Model, options: &CircuitOptions) -> resolvent_field::Labelled {
    circuit(model, &cases(), options, &mut |_, _| {}).unwrap_or_else(|e| panic!("{options:?}: {e}"))
}

/// Resample ablation takes the outputs of the other prompts, one after another.
#[test]
fn resamples_are_those_of_the_other_prompts() {
    let twin = Twin::small();
    let shares = vec![0.0, 0.25, 0.75, 1.0];
    let options = CircuitOptions { ablation: Ablation::Resample, shares, resamples: 3, ..CircuitOptions::default() };
    for on in subjects() {
        let model = twin.on(on);
        let got = computed(&model, &options);
        assert_eq!(array(&got, "resamples"), [3.0; 4]);
        let (rank, sizes) = (array(&got, "rank"), array(&got, "size"));
        let first = |size: &f64| rank.iter().map(|rank| rank < size).collect::<Vec<bool>>();
        let masks: Vec<Vec<bool>> = sizes.iter().map(first).collect();
        let prepared = RunOptions { sites: path_sites(model.sizes()), ..RunOptions::default() };
        let runs: Vec<_> = PAIRS.iter().map(|(clean, _)| model.run_with(clean, &prepared).expect("runs")).collect();
        let outputs = outputs_of(&runs.iter().collect::<Vec<_>>()).expect("read");
        for (n, run) in runs.iter().enumerate() {
            let j = Observable::logit_diff(4, 20, 4);
            let of = |other: usize| -> Vec<f64> {
                let values = rewired_values(run, &outputs[other].data, &masks, &j).expect("computes");
                values.iter().map(|value| (value - values[0]) / (values[3] - values[0])).collect()
            };
            let of_others: Vec<Vec<f64>> = (0..4).filter(|other| *other != n).map(of).collect();
            for size in 0..4 {
                let each: Vec<f64> = of_others.iter().map(|faithful| faithful[size]).collect();
                let mean = each.iter().sum::<f64>() / 3.0;
                let deviation = (each.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
                let at = 4 * n + size;
                assert!((array(&got, "faithfulness")[at] - mean).abs() < 1e-4, "{} {at}", on.name());
                assert!((array(&got, "deviation")[at] - deviation).abs() < 1e-4, "{} {at}", on.name());
            }
        }
    }
}

/// A circuit of all edges is the model, and one without edges is what stands in its place, for every score, selection
/// and ablation. The areas are those of the returned faithfulness.
#[test]
fn circuits_end_at_the_model() {
    let twin = Twin::small();
    let scores = EdgePredictor::ALL.map(EdgeScore::Predicted);
    for on in subjects() {
        let model = twin.on(on);
        for (score, selection, ablation) in [
            (scores[0], Selection::Top, Ablation::Corrupted),
            (scores[1], Selection::Greedy, Ablation::Zero),
            (scores[2], Selection::Greedy, Ablation::Mean),
            (scores[3], Selection::Top, Ablation::Zero),
            (EdgeScore::Exact, Selection::Top, Ablation::Corrupted),
        ] {
            let shares = vec![0.0, 0.25, 0.75, 1.0];
            let options = CircuitOptions { score, selection, ablation, shares, steps: 2, ..CircuitOptions::default() };
            let got = computed(&model, &options);
            let faithful = array(&got, "faithfulness.mean");
            assert!(faithful[0].abs() < 1e-5 && (faithful[3] - 1.0).abs() < 1e-5, "{faithful:?}");
            let complete = array(&got, "completeness.mean");
            assert!((complete[0] - 1.0).abs() < 1e-5 && complete[3].abs() < 1e-5, "{complete:?}");
            let edges = array(&got, "score").len() as f64;
            let shares: Vec<f64> = array(&got, "size").iter().map(|size| size / edges).collect();
            let part = |n: usize| (shares[n + 1] - shares[n]) * (faithful[n] + faithful[n + 1]) / 2.0;
            let area: f64 = (0..3).map(part).sum();
            assert!((array(&got, "area.mean")[0] - area).abs() < 1e-4);
            assert_eq!(got.array("faithfulness").expect("by prompt").axes, [("prompt", 4), ("size", 4)]);
            let mut rank = array(&got, "rank");
            rank.sort_by(f64::total_cmp);
            assert!(rank.iter().enumerate().all(|(n, rank)| *rank == n as f64), "every edge has a place of its own");
        }
    }
}

/// In a model that solves its task, few edges keep most of the effect, without them little remains, and as many random
/// ones keep nothing.
#[test]
fn few_edges_of_a_trained_model_are_a_faithful_circuit() {
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = Model::named(on.device(), "atlas-small").expect("opens");
    let tokenizer = model.tokenizer().expect("the family has a tokenizer");
    let text = |giver: &str| format!("When Mary and John went to the store, {giver} gave a drink to");
    let [clean, corrupted] = ["John", "Mary"].map(|giver| tokenizer.encode(&text(giver)).expect("English"));
    let token = |text| parse_token(Some(tokenizer), model.sizes().vocab, text).expect("one token");
    let observable = Some(Observable::logit_diff(token(" Mary"), token(" John"), clean.len() - 1));
    let case = PromptCase {
        name: "ioi".to_owned(),
        clean,
        corrupted: Some(corrupted),
        observable,
        roles: [].into(),
        edits: Vec::new(),
    };
    let options = CircuitOptions { shares: vec![0.02, 0.1], ..CircuitOptions::default() };
    let got = circuit(&model, &[case], &options, &mut |_, _| {}).expect("computes");
    let [faithful, without, random] =
        ["faithfulness.mean", "completeness.mean", "random.mean"].map(|name| array(&got, name)[0]);
    assert!((faithful - 1.0).abs() < 0.1 && without.abs() < 0.1 && random.abs() < 0.1, "{faithful} {without} {random}");
}

/// Prompts that rank the edges do not measure the circuits; a prompt whose ends agree is left out by name; wrong
/// options are errors.
#[test]
fn prompts_are_divided_and_left_out() {
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = Twin::small().on(&on);
    let first = EdgeScore::Predicted(EdgePredictor::FirstOrder);
    let options =
        CircuitOptions { score: first, shares: vec![0.5], random: 0, ranked_on: 3, ..CircuitOptions::default() };
    let got = computed(&model, &options);
    assert_eq!(
        (array(&got, "lengths").len(), got.metadata["ranked_on"].as_str()),
        (1, "3 other prompts than those that measure the circuits")
    );
    assert!(got.array("random").is_none());
    let mut same = cases();
    same[3].corrupted = Some(same[3].clean.clone());
    let options = CircuitOptions { ranked_on: 0, ..options };
    let got = circuit(&model, &same, &options, &mut |_, _| {}).expect("computes");
    let [(name, reason)] = &Prompts::left_out_of(&got)[..] else { panic!("one is left out") };
    assert!(name == "row 3" && reason.contains("faithfulness is undefined"), "{name}: {reason}");
    let refused = |options: CircuitOptions| circuit(&model, &cases(), &options, &mut |_, _| {}).is_err();
    assert!(refused(CircuitOptions { ranked_on: 4, ..options.clone() }));
    assert!(refused(CircuitOptions { shares: vec![2.0], ..options }));
}

/// A threshold includes the edges whose mean score is as large: their number follows from the prompts, and what they
/// keep is what the same number of edges keeps as a share.
#[test]
fn thresholds_are_sizes_of_scores() {
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = Twin::small().on(&on);
    let first = EdgeScore::Predicted(EdgePredictor::FirstOrder);
    let thresholds = vec![0.1, 0.02, 0.0];
    let options = CircuitOptions {
        score: first,
        thresholds: thresholds.clone(),
        shares: Vec::new(),
        ..CircuitOptions::default()
    };
    let got = computed(&model, &options);
    let (scores, sizes) = (array(&got, "score"), array(&got, "size"));
    let want: Vec<f64> =
        thresholds.iter().map(|least| scores.iter().filter(|x| x.abs() >= *least).count() as f64).collect();
    assert_eq!(sizes, want);
    assert!(0.0 < sizes[0] && sizes[0] < sizes[1] && sizes[2] == scores.len() as f64, "{sizes:?}");
    close(&array(&got, "threshold"), &thresholds, 1e-6, "thresholds");
    let shares = sizes.iter().map(|size| size / scores.len() as f64).collect();
    let same = computed(&model, &CircuitOptions { shares, thresholds: Vec::new(), ..options.clone() });
    assert_eq!(array(&same, "size"), sizes);
    assert_eq!(array(&same, "faithfulness"), array(&got, "faithfulness"));
    assert!(same.array("threshold").is_none());
    let fewer = circuit(&model, &cases()[..1], &options, &mut |_, _| {}).expect("computes");
    assert!(array(&fewer, "size") != sizes, "one prompt has other scores");
}

/// What remains of pruning is faithful to the sum of the thresholds, and an edge stays because it matters.
#[test]
fn pruned_circuits_are_minimal() {
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = Twin::small().on(&on);
    let threshold = 0.02;
    let options = CircuitOptions { prune: Some(threshold), shares: vec![1.0], random: 0, ..CircuitOptions::default() };
    let case = cases().swap_remove(0);
    let got = circuit(&model, std::slice::from_ref(&case), &options, &mut |_, _| {}).expect("computes");
    let remain: usize = got.metadata["pruned_to"].parse().expect("a number");
    let edges = Edge::all(model.architecture()).len();
    assert!(0 < remain && remain < edges, "{remain} of {edges}");
    assert_eq!(array(&got, "size"), [remain as f64, edges as f64]);
    let faithful = array(&got, "faithfulness.mean")[0];
    assert!((1.0 - faithful).abs() <= threshold * (edges - remain) as f64, "{faithful}");
    // The first edge that stayed did so because the loss grew by more than the threshold: all edges before it were
    // included then, and all after it removed.
    let rank = array(&got, "rank");
    let stayed = rank.iter().rposition(|rank| *rank < remain as f64).expect("some remain");
    let options = RunOptions { sites: path_sites(model.sizes()), ..RunOptions::default() };
    let prompts = [case.clean.clone(), case.corrupted.clone().expect("is there")];
    let runs = model.run_all(&prompts, &options).expect("runs");
    let replaced = outputs_of(&[&runs[1]]).expect("computes").remove(0).data;
    let j = case.observable.as_ref().expect("is there");
    let [with, without] = [stayed + 1, stayed].map(|n| (0..edges).map(|e| e < n).collect::<Vec<bool>>());
    let all = [vec![true; edges], vec![false; edges], with, without];
    let values = rewired_values(&runs[0], &replaced, &all, j).expect("runs");
    let loss = |value: f64| (1.0 - (value - values[1]) / (values[0] - values[1])).abs();
    assert!(loss(values[3]) - loss(values[2]) >= threshold * 0.999, "{} {}", loss(values[3]), loss(values[2]));
}

/// The mean is taken over all tokens of all clean prompts, each counted once.
#[test]
fn means_are_over_the_tokens_of_all_prompts() {
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = Twin::small().on(&on);
    let first = EdgeScore::Predicted(EdgePredictor::FirstOrder);
    let (ablation, shares) = (Ablation::Mean, vec![0.0]);
    let options = CircuitOptions { score: first, ablation, shares, random: 0, ..CircuitOptions::default() };
    let got = computed(&model, &options);
    let options = RunOptions { sites: path_sites(model.sizes()), ..RunOptions::default() };
    let runs = model.run_all(&PAIRS.map(|(clean, _)| clean), &options).expect("runs");
    let outputs = outputs_of(&runs.iter().collect::<Vec<_>>()).expect("computes");
    let (d, tokens) = (model.sizes().d, 5);
    let mean = |row: usize| {
        let of = |i: usize| {
            let rows = outputs.iter().flat_map(|one| one.data[row * tokens * d..][..tokens * d].chunks(d));
            rows.map(|row| f64::from(row[i])).sum::<f64>() / (tokens * PAIRS.len()) as f64
        };
        (0..d).map(|i| of(i) as f32).collect::<Vec<f32>>()
    };
    let writers = outputs[0].data.len() / (tokens * d);
    let replaced: Vec<f32> = (0..writers).flat_map(|row| mean(row).repeat(tokens)).collect();
    let j = Observable::logit_diff(4, 20, 4);
    let none = vec![vec![false; Edge::all(model.architecture()).len()]];
    let want: Vec<f64> = runs.iter().map(|run| rewired_values(run, &replaced, &none, &j).expect("runs")[0]).collect();
    close(&array(&got, "value"), &want, 1e-5, "without edges");
}

/// A row that cannot prune is left out by its name, once, and the others prune.
#[test]
fn rows_that_cannot_prune_are_left_out() {
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = Twin::small().on(&on);
    let first = EdgeScore::Predicted(EdgePredictor::FirstOrder);
    let mut rows = cases();
    rows[1].corrupted = Some(rows[1].clean.clone());
    for (ranked_on, measured) in [(0, 3), (2, 2)] {
        let options = CircuitOptions {
            score: first,
            prune: Some(0.5),
            shares: vec![1.0],
            random: 0,
            ranked_on,
            ..CircuitOptions::default()
        };
        let got = circuit(&model, &rows, &options, &mut |_, _| {}).expect("computes");
        let left_out = Prompts::left_out_of(&got);
        assert!(left_out.len() == 1 && left_out[0].0 == "row 1", "{left_out:?}");
        assert_eq!(array(&got, "lengths").len(), measured);
    }
    let all: Vec<PromptCase> =
        rows.iter().map(|row| PromptCase { corrupted: Some(row.clean.clone()), ..row.clone() }).collect();
    let options = CircuitOptions { score: first, prune: Some(0.5), ..CircuitOptions::default() };
    assert!(circuit(&model, &all, &options, &mut |_, _| {}).is_err());
}
