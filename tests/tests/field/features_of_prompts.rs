//! Features of a dictionary over many prompts, and their control by other prompts.

use std::collections::BTreeMap;

use resolvent_field::{FeatureOptions, Prompts, features, features_of_prompts};
use resolvent_model::{Observable, PromptCase, RunOptions, Source};
use resolvent_tests::{Subject, observed};

use super::features::{CLEAN, CORRUPTED, opened, twin};
use super::{array, close};

/// Over prompts, all have the features with the largest mean effects, and the arrays of each are those of the prompt
/// alone.
#[test]
fn features_of_many_prompts_are_those_of_each() {
    let twin = twin();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = twin.on(&on);
    let dictionary = opened("standard");
    let case = |name: &str, clean: &[u32], corrupted: Option<&[u32]>| PromptCase {
        name: name.to_owned(),
        clean: clean.to_vec(),
        corrupted: corrupted.map(<[u32]>::to_vec),
        observable: Some(Observable::logit_diff(4, 20, clean.len() - 1)),
        roles: BTreeMap::new(),
        edits: Vec::new(),
    };
    let short: [&[u32]; 2] = [&[5, 6, 7], &[5, 9, 7]];
    let pairs = [case("long", &CLEAN, Some(&CORRUPTED)), case("short", short[0], Some(short[1]))];
    let options = FeatureOptions { top: 4, exact: true, controls: 0 };
    let of = |cases: &[PromptCase]| features_of_prompts(&model, cases, &dictionary, options, &mut |_, _| {});
    let got = of(&pairs).expect("computes");
    let ids = array(&got, "features.mean");
    let everything = FeatureOptions { top: usize::MAX, exact: true, controls: 0 };
    let sites = dictionary.sites(model.sizes()).expect("fits").concat();
    let run = |tokens: &[u32]| {
        let options = RunOptions { sites: sites.clone(), ..RunOptions::default() };
        model.run_with(tokens, &options).expect("runs")
    };
    let mut means = vec![0.0; dictionary.features()];
    let (first, exact) = (array(&got, "first_order"), array(&got, "exact"));
    for (n, pair) in pairs.iter().enumerate() {
        let (clean, corrupted) = (run(&pair.clean), run(pair.corrupted.as_ref().expect("a pair")));
        let j = pair.observable.as_ref().expect("an observable");
        let alone = features(&corrupted, Some(&clean), &dictionary, j, everything).expect("computes");
        let each = array(&alone, "features").into_iter().zip(array(&alone, "first_order")).zip(array(&alone, "exact"));
        for ((id, first_order), moved) in each {
            means[id as usize] += first_order / 2.0;
            if let Some(at) = ids.iter().position(|one| *one == id) {
                let apart = (first[4 * n + at] - first_order).abs().max((exact[4 * n + at] - moved).abs());
                assert!(apart < 1e-5, "{} {id}", pair.name);
            }
        }
    }
    let mut order: Vec<usize> = (0..means.len()).collect();
    order.sort_by(|&a, &b| means[b].abs().total_cmp(&means[a].abs()));
    assert_eq!(ids, order[..4].iter().map(|&id| id as f64).collect::<Vec<_>>());
    assert_eq!(got.array("first_order_by_token").expect("an array").axes[2], ("token", 5));
    assert_eq!(got.metadata["moved_to"], "target");
    // Rows without a corrupted prompt are left out beside pairs, and move to zero alone.
    let mixed = of(&[pairs[0].clone(), case("single", short[0], None)]).expect("computes");
    assert_eq!((mixed.metadata["prompts"].as_str(), mixed.metadata["moved_to"].as_str()), ("1", "target"));
    assert!(Prompts::left_out_of(&mixed)[0].1.contains("no corrupted prompt"));
    let single = of(&[case("single", short[0], None)]).expect("computes");
    assert_eq!(single.metadata["moved_to"], "zero");
}

/// As a control, each feature moves as in other pairs, as far as in its own: a derivative in the reference.
#[test]
fn features_that_move_as_in_other_prompts_are_a_control() {
    let twin = twin();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let (model, dictionary) = (twin.on(&on), opened("standard"));
    let pairs: [[&[u32]; 2]; 3] =
        [[&CLEAN, &CORRUPTED], [&[5, 6, 7, 1, 9], &[5, 9, 7, 2, 9]], [&[4; 5], &[8, 4, 4, 2, 4]]];
    let j = Observable::logit_diff(4, 20, 4);
    let case = |[clean, corrupted]: &[&[u32]; 2]| PromptCase {
        name: format!("{clean:?}"),
        clean: clean.to_vec(),
        corrupted: Some(corrupted.to_vec()),
        observable: Some(j.clone()),
        roles: BTreeMap::new(),
        edits: Vec::new(),
    };
    let cases: Vec<PromptCase> = pairs.iter().map(case).collect();
    let options = FeatureOptions { top: 5, exact: false, controls: 2 };
    let got = features_of_prompts(&model, &cases, &dictionary, options, &mut |_, _| {}).expect("computes");
    let sites = dictionary.sites(model.sizes()).expect("fits");
    let prepare = RunOptions { sites: sites.concat(), ..RunOptions::default() };
    let moved = |pair: [&[u32]; 2], feature: u32| -> Vec<f64> {
        let [clean, corrupted] = pair.map(|tokens| {
            let codes = dictionary.codes(&model.run_with(tokens, &prepare).expect("runs")).expect("encodes");
            codes.iter().map(|code| f64::from(code.factor(feature))).collect::<Vec<f64>>()
        });
        clean.iter().zip(corrupted).map(|(to, from)| to - from).collect()
    };
    let size = |moved: &[f64]| moved.iter().map(|x| x * x).sum::<f64>().sqrt();
    let effect = |feature: u32, by: &[f64]| {
        let row = dictionary.direction(feature as usize).expect("a feature");
        let source = |(t, by): (usize, &f64)| Source {
            site: sites[1][0],
            token: t,
            vector: row.iter().map(|w| (by * f64::from(*w)) as f32).collect(),
        };
        let sources: Vec<Source> = by.iter().enumerate().map(source).collect();
        observed::read(&j, &twin.tangent(&CORRUPTED, &[], &sources)).tangent
    };
    let want = array(&got, "features.mean").into_iter().map(|id| {
        let (feature, own) = (id as u32, size(&moved(pairs[0], id as u32)));
        let square = |pair: &[&[u32]; 2]| {
            let other = moved(*pair, feature);
            let share = own / size(&other).max(f64::MIN_POSITIVE);
            effect(feature, &other.iter().map(|x| share * x).collect::<Vec<f64>>()).powi(2)
        };
        (pairs[1..].iter().map(square).sum::<f64>() / 2.0).sqrt()
    });
    let want: Vec<f64> = want.collect();
    assert!(want.iter().any(|x| *x > 1e-3), "no feature moves elsewhere: {want:?}");
    close(&array(&got, "other_prompts")[..5], &want, 5e-5, "other prompts");
}
