//! Analyses with several sources a prompt: many prompts share their passes, and each has the numbers that it has alone.

use resolvent_engine::{Device, Options};
use resolvent_field::{
    Case, Labelled, Place, Predictor, PredictorOptions, RegimeCase, RegimeOptions, SiteKind, predict_all, regime,
    regime_all,
};
use resolvent_model::{Edit, EditedPrompt, Model, Observable, RandomWeights, Run, Site, gaussian, tiny};
use resolvent_tests::{Subject, subjects};

/// Counts the waits of `work`.
fn waits<T>(device: &Device, work: impl FnOnce() -> T) -> (T, u64) {
    let before = device.waits();
    let found = work();
    (found, device.waits() - before)
}

/// Prompts of unequal lengths, each with an observable; the last one has an edit.
fn prompts() -> Vec<(Vec<u32>, Observable, Vec<Edit>)> {
    let prompts: [&[u32]; 5] = [&[3, 14, 15, 9, 2], &[1, 2, 7], &[5, 3, 5, 8, 9, 7, 9], &[20, 4, 1, 6], &[7, 7, 7, 7]];
    let each = prompts.iter().enumerate().map(|(i, tokens)| {
        let last = tokens.len() - 1;
        let observable = match i {
            0 => Observable::log_prob(4, last),
            1 => Observable::entropy(last) - 0.5 * Observable::logit(3, 0),
            _ => Observable::logit_diff(4, 11, last),
        };
        let edits = if i == 4 { vec![Edit::scale(Site::Z(0, 1), 2, 0.5)] } else { Vec::new() };
        (tokens.to_vec(), observable, edits)
    });
    each.collect()
}

fn model(device: &Device) -> Model {
    Model::random(device, tiny(), RandomWeights::new(7).with_std(0.15)).expect("opens")
}

/// Runs the prompts in one batch.
fn batch(model: &Model) -> Vec<Run> {
    let prompts = prompts();
    let edited = prompts.iter().map(|(tokens, _, edits)| EditedPrompt { tokens, edits });
    model.run_edited(&edited.collect::<Vec<_>>(), &[]).expect("runs")
}

/// Checks that the numbers of a prompt are those that it has alone: on the host bit for bit. Elsewhere they are within
/// 1e-4 of the largest, except for `ratios`, which divide by rounding where a response is nearly linear.
fn same(on: &Subject, found: &Labelled, alone: &Labelled, ratios: &[&str]) {
    assert_eq!(found.arrays.len(), alone.arrays.len());
    for (a, b) in found.arrays.iter().zip(&alone.arrays) {
        assert_eq!((a.name, &a.axes), (b.name, &b.axes));
        let largest = b.data.iter().filter(|x| x.is_finite()).fold(0.0f32, |m, x| m.max(x.abs()));
        let equal = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        let near = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= 1e-4 * largest || (a.is_nan() && b.is_nan());
        let mut pairs = a.data.iter().zip(&b.data);
        let agrees = if on.is_host() { pairs.all(equal) } else { ratios.contains(&a.name) || pairs.all(near) };
        assert!(agrees, "{}: {}: {:?} {:?}", on.name(), a.name, a.data, b.data);
    }
}

/// Searches for radii advance together: many prompts wait hardly more often than the one that waits longest.
#[test]
fn regimes_share_passes() {
    let options = RegimeOptions { field: true, nodes: 2, ..RegimeOptions::default() };
    for on in subjects() {
        // Of its own: other tests share the subjects' devices, and their waits are counted too.
        let own = on.again(Options::default());
        let (model, prompts) = (model(own.device()), prompts());
        let (runs, d) = (batch(&model), model.sizes().d);
        let sites = |n: usize| -> Vec<(Place, Vec<f32>)> {
            let last = prompts[n].0.len() - 1;
            // J does not depend on the first token of the last level.
            let places = [(0, 1), (1, last), (2, last), (model.sizes().layers, 0)];
            places.into_iter().zip(0..).map(|(place, i)| (place, gaussian(10 * n as u64 + i, d))).collect()
        };
        let sites: Vec<Vec<(Place, Vec<f32>)>> = (0..runs.len()).map(sites).collect();
        let cases = runs.iter().zip(&prompts).zip(&sites);
        let cases: Vec<RegimeCase<'_>> =
            cases.map(|((run, (_, observable, _)), sites)| RegimeCase { run, observable, sites }).collect();
        let (together, shared) = waits(own.device(), || regime_all(&cases, &options).expect("together"));
        let (mut longest, mut sum) = (0, 0);
        for (n, (tokens, observable, edits)) in prompts.iter().enumerate() {
            let run = model.run(tokens, edits).expect("runs");
            let (alone, many) = waits(own.device(), || regime(&run, observable, &sites[n], &options).expect("alone"));
            let together = together[n].as_ref().expect("together");
            same(&own, together, &alone, &["error", "field_error", "secant_error", "secant_bar"]);
            assert_eq!(together.metadata["observable"], alone.metadata["observable"]);
            (longest, sum) = (longest.max(many), sum + many);
        }
        assert!(shared <= longest + longest / 4 && 2 * shared < sum, "{}: {shared} {longest} {sum}", own.name());
        // A case that does not fit refuses the whole call, and one without sources has an empty result.
        let with = |sites: &[(Place, Vec<f32>)]| regime_all(&[cases[0], RegimeCase { sites, ..cases[1] }], &options);
        with(&[((0, 9), vec![1.0; d])]).expect_err("the prompt has three tokens");
        assert!(
            with(&[])
                .expect("computes")
                .remove(1)
                .expect("computes")
                .array("radius")
                .expect("an array")
                .data
                .is_empty()
        );
    }
}

/// The products of the predictor `hvp` wait as often for many prompts as for one, layer by layer.
#[test]
fn predictors_share_products() {
    let options = PredictorOptions { flag: 0.0, ..PredictorOptions::default() };
    for on in subjects() {
        let own = on.again(Options::default());
        let model = model(own.device());
        let (clean, prompts) = (batch(&model), prompts());
        let changed = prompts.iter().map(|(tokens, _, edits)| {
            let mut tokens = tokens.clone();
            tokens[1] += 5;
            (tokens, edits)
        });
        let changed: Vec<(Vec<u32>, &Vec<Edit>)> = changed.collect();
        let edited = changed.iter().map(|(tokens, edits)| EditedPrompt { tokens, edits });
        let corrupted = model.run_edited(&edited.collect::<Vec<_>>(), &[]).expect("runs");
        let cases: Vec<Case<'_>> = (0..prompts.len())
            .map(|n| Case { clean: &clean[n], corrupted: &corrupted[n], observable: &prompts[n].1 })
            .collect();
        let predicted = |cases: &[Case<'_>]| {
            waits(own.device(), || predict_all(cases, SiteKind::Resid, &[Predictor::Hvp], options).expect("predicts"))
        };
        let (together, shared) = predicted(&cases);
        let mut sum = 0;
        for (n, (tokens, observable, edits)) in prompts.iter().enumerate() {
            let [clean, corrupted] = [tokens, &changed[n].0].map(|tokens| model.run(tokens, edits).expect("runs"));
            let (alone, many) = predicted(&[Case { clean: &clean, corrupted: &corrupted, observable }]);
            assert_eq!(shared, many, "{}: prompt {n}", own.name());
            sum += many;
            let [found, alone] = [&together[n], &alone[0]].map(|panel| {
                let reliability = panel.reliability.clone().expect("of hvp");
                [panel.predicted[0].effect.clone(), reliability]
            });
            for (found, alone) in found.iter().zip(&alone) {
                let largest = alone.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                let agrees = |(a, b): (&f32, &f32)| match own.is_host() {
                    true => a.to_bits() == b.to_bits(),
                    false => (a - b).abs() <= 1e-3 * largest,
                };
                assert!(found.iter().zip(alone).all(agrees), "{}: prompt {n}: {found:?} {alone:?}", own.name());
            }
            assert!(together[n].flagged > 0.0, "{}: no product of prompt {n} alone", own.name());
        }
        assert!(4 * shared < sum, "{}: {shared} {sum}", own.name());
    }
}
