//! Analyses with several sources a prompt: many prompts share their passes, and each has the numbers that it has alone.

use std::collections::BTreeSet;

use resolvent_engine::{Device, Options};
use resolvent_field::{
    Case, Frames, Goal, GreenOptions, InvertCase, InvertOptions, Labelled, Method, Place, PlacePairs, PlacedSource,
    Predictor, PredictorOptions, RegimeCase, RegimeOptions, SiteKind, Slice, green_all, invert, invert_all,
    predict_all, regime, regime_all, slice_all,
};
use resolvent_model::{
    Edit, EditedPrompt, Linearization, Mode, Model, Observable, RandomWeights, Run, RunOptions, Site, gaussian, tiny,
};
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

/// Returns a source of the n-th prompt; they are at different levels and tokens.
fn placed<'a>(n: usize, run: &'a Run, vector: &'a [f32]) -> PlacedSource<'a> {
    PlacedSource { run, place: (n % 3, 1 + n % 2), vector }
}

/// Responses to sources of their whole length share their runs too: many prompts wait about as often as one.
#[test]
fn finite_responses_share_passes() {
    let options = GreenOptions { nodes: 3, ..GreenOptions::default() };
    for on in subjects() {
        // Of its own: other tests share the subjects' devices, and their waits are counted too.
        let own = on.again(Options::default());
        let (model, prompts) = (model(own.device()), prompts());
        let (runs, d) = (batch(&model), model.sizes().d);
        let vectors: Vec<Vec<f32>> = (0..runs.len()).map(|n| gaussian(n as u64, d)).collect();
        let sources: Vec<PlacedSource<'_>> =
            runs.iter().zip(&vectors).enumerate().map(|(n, (run, vector))| placed(n, run, vector)).collect();
        let (together, shared) = waits(own.device(), || green_all(&sources, options).expect("together"));
        let mut longest = 0;
        for (n, (tokens, _, edits)) in prompts.iter().enumerate() {
            let run = model.run(tokens, edits).expect("runs");
            let (alone, many) =
                waits(own.device(), || green_all(&[placed(n, &run, &vectors[n])], options).expect("alone"));
            same(&own, &together[n], &alone[0], &["first_error", "secant_error", "secant_bar"]);
            longest = longest.max(many);
        }
        assert!(shared <= longest + 2, "{}: {shared} {longest}", own.name());
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

/// Slices of many prompts wait as often as the one that waits longest, and a slice that fails is alone in it.
#[test]
fn slices_share_passes() {
    for on in subjects() {
        let own = on.again(Options::default());
        let (model, prompts) = (model(own.device()), prompts());
        let (runs, d, top) = (batch(&model), model.sizes().d, model.sizes().layers);
        let vectors = |rank: usize, seed: u64| Frames::everywhere(rank, gaussian(seed, rank * d));
        let mut passes = BTreeSet::new();
        // Few vectors at many sources are read forwards, many at few are read backwards.
        for [k, m] in [[1, 6], [6, 1]] {
            let of = |linear: &Linearization<'_>| {
                let last = linear.run().tokens().len() - 1;
                let (from, to) = ([(0, 1), (0, last), (1, last)], [(top, last), (top, 1)]);
                PlacePairs::new(linear.run(), Some(&from), Some(&to)).expect("pairs")
            };
            let linear: Vec<Linearization<'_>> = runs.iter().map(|run| run.linearize(Mode::Exact)).collect();
            let slices: Vec<Slice<'_>> = linear
                .iter()
                .map(|linear| Slice::with_frames(linear, of(linear), [vectors(k, 3), vectors(m, 4)]).expect("a slice"))
                .collect();
            passes.extend(slices.iter().map(|slice| slice.chosen_pass().name()));
            let (together, shared) = waits(own.device(), || slice_all(&slices).expect("together"));
            let (mut longest, mut sum) = (0, 0);
            for (n, (tokens, _, edits)) in prompts.iter().enumerate() {
                let run = model.run(tokens, edits).expect("runs");
                let linear = run.linearize(Mode::Exact);
                let slice = Slice::with_frames(&linear, of(&linear), [vectors(k, 3), vectors(m, 4)]).expect("a slice");
                let (alone, many) = waits(own.device(), || slice.compute(&mut |_, _| {}).expect("alone").result);
                let found = together[n].as_ref().expect("together");
                same(&own, found, &alone, &["singular_values", "effective_rank"]);
                if own.is_host() {
                    assert_eq!(found.metadata, alone.metadata, "prompt {n}");
                    assert_eq!(found.certificates, alone.certificates, "prompt {n}");
                }
                (longest, sum) = (longest.max(many), sum + many);
            }
            assert!(shared <= longest + longest / 4 && 2 * shared < sum, "{}: {shared} {longest} {sum}", own.name());
        }
        assert_eq!(passes.len(), 2, "{passes:?}");
    }
}

/// A slice whose result does not fit is refused alone: the others have their results.
#[test]
fn a_slice_that_does_not_fit_leaves_the_others() {
    for on in subjects() {
        let own = on.again(Options { batch_bytes: 1 << 17, ..Options::default() });
        let model = model(own.device());
        let long: Vec<u32> = (0..30).map(|i| (7 * i + 3) % 23).collect();
        let short = [3, 14, 15];
        let runs = model.run_all(&[&short[..], &long[..]], &RunOptions::default()).expect("runs");
        let linear: Vec<Linearization<'_>> = runs.iter().map(|run| run.linearize(Mode::Exact)).collect();
        let d = model.sizes().d;
        let vectors = || Frames::everywhere(12, gaussian(3, 12 * d));
        let slices: Vec<Slice<'_>> = linear
            .iter()
            .map(|linear| {
                let all = PlacePairs::new(linear.run(), None, None).expect("pairs");
                Slice::with_frames(linear, all, [vectors(), vectors()]).expect("a slice")
            })
            .collect();
        let fits: Vec<bool> = slices.iter().map(|slice| slice.fits_in_memory().is_ok()).collect();
        assert_eq!(fits, [true, false], "{} {}", slices[0].bytes(), slices[1].bytes());
        let found = slice_all(&slices).expect("computes");
        assert!(found[0].is_ok());
        let error = found[1].as_ref().expect_err("does not fit").to_string();
        assert!(error.contains("the result takes"), "{error}");
    }
}

/// Solutions for many prompts wait as often as the one that waits longest, and one without a solution is alone in it.
#[test]
fn solutions_share_passes() {
    let options = [
        InvertOptions { method: Method::Greedy(2), limit: Some(0.5), ..InvertOptions::default() },
        InvertOptions::default(),
    ];
    for on in subjects() {
        let own = on.again(Options::default());
        let (model, prompts) = (model(own.device()), prompts());
        let runs = batch(&model);
        let goals: Vec<[Goal; 1]> = prompts
            .iter()
            .map(|(_, observable, _)| [Goal::Observable { observable: observable.clone(), change: 0.01 }])
            .collect();
        let sites = |n: usize| -> Vec<Place> {
            let last = prompts[n].0.len() - 1;
            // No source at the last level reaches another token, so the second prompt has no solution.
            if n == 1 { vec![(model.sizes().layers, 1)] } else { vec![(0, 1), (1, last), (2, last)] }
        };
        let sites: Vec<Vec<Place>> = (0..runs.len()).map(sites).collect();
        let case = |(n, run): (usize, _)| InvertCase { run, goals: &goals[n][..], sites: &sites[n][..] };
        let cases: Vec<InvertCase<'_>> = runs.iter().enumerate().map(case).collect();
        for options in &options {
            let (together, shared) = waits(own.device(), || invert_all(&cases, options).expect("together"));
            let (mut longest, mut sum) = (0, 0);
            for (n, (tokens, _, edits)) in prompts.iter().enumerate() {
                let run = model.run(tokens, edits).expect("runs");
                let (alone, many) = waits(own.device(), || invert(&run, &goals[n], &sites[n], options));
                (longest, sum) = (longest.max(many), sum + many);
                if n == 1 {
                    let found = together[n].as_ref().expect_err("no solution").to_string();
                    assert_eq!(found, alone.expect_err("no solution").to_string());
                    continue;
                }
                let (found, alone) = (together[n].as_ref().expect("together"), alone.expect("alone"));
                same(&own, found, &alone, &[]);
                if own.is_host() {
                    assert_eq!(found.metadata, alone.metadata, "prompt {n}");
                    assert_eq!(found.certificates, alone.certificates, "prompt {n}");
                }
            }
            assert!(shared <= longest + 2 && 2 * shared < sum, "{}: {shared} {longest} {sum}", own.name());
        }
    }
}
