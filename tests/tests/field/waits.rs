//! How often each analysis waits for the device.

use resolvent_engine::Device;
use std::collections::BTreeMap;

use resolvent_field::{AttributeOptions, EdgeOptions, attribute, edges};
use resolvent_field::{BesidePatches, forward_of_prompts, patch_of_prompts};
use resolvent_field::{
    Case, Goal, forward, green_with, invert, patch, patch_at, predict, regime, sensitivity, transfer,
};
use resolvent_field::{
    GreenOptions, InvertOptions, Method, Predictor, PredictorOptions, RegimeOptions, SiteKind, TransferOptions,
};
use resolvent_model::{Model, Observable, PromptCase, RandomWeights, Run, RunOptions, path_sites, tiny};
use resolvent_tests::subjects;

const CLEAN: [u32; 6] = [3, 1, 4, 1, 5, 9];
const CORRUPTED: [u32; 6] = [3, 1, 7, 1, 5, 9];

/// Runs both prompts on a model of so many blocks.
fn runs(device: &Device, layers: usize) -> [Run; 2] {
    let config = resolvent_model::Config { n_layer: layers, ..tiny() };
    let weights = RandomWeights::new(7).with_std(0.1);
    let model = Model::random(device, config, weights).expect("opens");
    [CLEAN, CORRUPTED].map(|tokens| model.run(&tokens, &[]).expect("runs"))
}

/// Counts the waits of `work`.
pub(super) fn waits(device: &Device, work: &mut dyn FnMut()) -> u64 {
    let before = device.waits();
    work();
    device.waits() - before
}

/// The most waits of each analysis, at any depth. Each check of a difference of J takes up to three amplitudes, one
/// wait each; `patch, curved` reads J at two places, which it restores together.
const MOST: [(&str, u64); 12] = [
    ("run", 4),
    ("sensitivity", 10),
    ("patch", 8),
    ("patch, curved", 10),
    ("patch, patterns", 15),
    ("predictors", 7),
    ("green", 7),
    ("regime", 17),
    ("transfer", 9),
    ("invert", 22),
    ("attribute", 7),
    ("edges", 9),
];

/// No analysis waits more often for a deep model than for a shallow one, and none more often than stated.
#[test]
fn waits_do_not_grow_with_depth() {
    let j = Observable::logit_diff(2, 6, 5);
    let curved = Observable::log_prob(2, 5) - Observable::entropy(4);
    for on in subjects() {
        // Of its own: other tests share the subjects' devices, and their waits are counted too.
        let own = on.again(resolvent_engine::Options::default());
        let device = own.device();
        let count = |layers: usize| -> Vec<(&str, u64)> {
            let [clean, corrupted] = runs(device, layers);
            let with = RunOptions { sites: path_sites(clean.model().sizes()), ..RunOptions::default() };
            let of_paths = clean.model().run_all(&[CLEAN, CORRUPTED], &with).expect("runs");
            let prepared: Vec<&Run> = of_paths.iter().collect();
            let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
            let all = |name: &'static str, work: &dyn Fn()| (name, waits(device, &mut || work()));
            let source = [0.5; 32];
            let goal = || [Goal::Observable { observable: j.clone(), change: 0.01 }];
            vec![
                all("run", &|| drop(forward(&clean, true).expect("runs"))),
                all("sensitivity", &|| drop(sensitivity(&clean, &j).expect("computes"))),
                all("patch", &|| drop(patch(&clean, &corrupted, &j).expect("computes"))),
                all("patch, curved", &|| drop(patch(&clean, &corrupted, &curved).expect("computes"))),
                all("patch, patterns", &|| {
                    drop(patch_at(&clean, &corrupted, &j, &[SiteKind::Pattern]).expect("computes"));
                }),
                all("predictors", &|| {
                    let others = Predictor::beside_first_order(&[Predictor::Curvature, Predictor::RelP]);
                    let panel = predict(&case, SiteKind::Resid, &others, PredictorOptions::default());
                    drop(panel.expect("computes"));
                }),
                all("green", &|| drop(green_with(&clean, (0, 2), &source, GreenOptions::default()).expect("computes"))),
                all("regime", &|| {
                    let sites = [((0, 2), source.to_vec())];
                    drop(regime(&clean, &j, &sites, &RegimeOptions::default()).expect("computes"));
                }),
                all("transfer", &|| {
                    let options = TransferOptions { random: 0, ..TransferOptions::default() };
                    drop(transfer(&corrupted, &clean, &j, &[], &options).expect("computes"));
                }),
                all("invert", &|| {
                    let options = InvertOptions { method: Method::LeastEnergy, ..InvertOptions::default() };
                    drop(invert(&clean, &goal(), &[(0, 2)], &options).expect("computes"));
                }),
                all("attribute", &|| drop(attribute(prepared[0], &j, AttributeOptions::default()).expect("computes"))),
                all("edges", &|| {
                    let case = Case { clean: prepared[0], corrupted: prepared[1], observable: &j };
                    drop(edges(&case, &EdgeOptions::default()).expect("computes"));
                }),
            ]
        };
        let (shallow, deep) = (count(2), count(12));
        assert_eq!(shallow.len(), MOST.len());
        for (((name, few), (_, many)), (stated, most)) in shallow.iter().zip(&deep).zip(MOST) {
            assert_eq!((*name, few), (stated, many), "{}: waits with 2 blocks and with 12", on.name());
            assert!(*few <= most, "{}: {name} waits {few} times, {most} are stated", on.name());
        }
    }
}

/// Nor does an analysis of many prompts wait more often for six than for two, if they fit one batch.
#[test]
fn waits_do_not_grow_with_prompts() {
    let case = |i: u32| PromptCase {
        name: i.to_string(),
        clean: CLEAN.iter().map(|t| t + i).collect(),
        corrupted: Some(CORRUPTED.iter().map(|t| t + i).collect()),
        observable: Some(Observable::logit_diff(2, 6, 5)),
        roles: BTreeMap::new(),
        edits: Vec::new(),
    };
    let cases: Vec<PromptCase> = (0..6).map(case).collect();
    for on in subjects() {
        let own = on.again(resolvent_engine::Options::default());
        let device = own.device();
        let model = Model::random(device, tiny(), RandomWeights::new(7).with_std(0.1)).expect("opens");
        let count = |cases: &[PromptCase]| {
            let quiet = &mut |_: u64, _: u64| {};
            let of = BesidePatches::default();
            let patch = waits(device, &mut || {
                patch_of_prompts(&model, cases, &[SiteKind::Resid], of, quiet).map(drop).expect("computes");
            });
            let run = waits(device, &mut || {
                forward_of_prompts(&model, cases, quiet).map(drop).expect("runs");
            });
            [patch, run]
        };
        let [few, many] = [count(&cases[..2]), count(&cases)];
        assert_eq!(few, many, "{}", on.name());
        assert!(few[0] <= 11 && few[1] <= 4, "{}: {few:?}", on.name());
    }
}
