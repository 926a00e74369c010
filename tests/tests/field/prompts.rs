//! Many prompts at once: a prompt's numbers are those that it has alone, whatever its company.

use resolvent_engine::Options;
use resolvent_field::{
    BesidePatches, Case, CaseRuns, GreenOptions, Interacting, Joint, Labelled, PlacedSource, Predictor,
    PredictorOptions, Prompts, SiteKind, TransferOptions, forward, forward_of_prompts, green_all, green_with,
    over_prompts, patch_at, patch_of_prompts, sensitivity, sensitivity_of_prompts, transfer, transfer_of_prompts,
};
use resolvent_model::{Distribution, Model, Observable, PromptCase, Run, RunOptions, gaussian};
use resolvent_tests::{Subject, Twin, subjects};

/// Returns the results of all prompts as one.
fn stacked(results: resolvent_field::Result<Prompts>) -> resolvent_field::Result<Labelled> {
    results?.stack()
}

/// Pairs of unequal lengths, each with another kind of observable.
fn cases(model: &Model) -> Vec<PromptCase> {
    let prompts: [&[u32]; 6] =
        [&[3, 14, 15, 9, 2], &[1, 2], &[5, 3, 5, 8, 9, 7, 9], &[20, 4, 1], &[7, 7, 7, 7], &[2, 9]];
    let base = |tokens: &[u32]| {
        let logits = model.run(tokens, &[]).and_then(|run| run.logits_at(tokens.len() - 1)).expect("runs");
        Distribution::of(&logits)
    };
    let observable = |i: usize, tokens: &[u32]| {
        let last = tokens.len() - 1;
        match i {
            0 => Observable::log_prob(4, last),
            1 => Observable::entropy(last) - 0.5 * Observable::logit(3, 0),
            2 => Observable::kl(base(tokens), last),
            _ => Observable::logit_diff(4, 11, last),
        }
    };
    let case = |(i, clean): (usize, &&[u32])| {
        let mut corrupted = clean.to_vec();
        corrupted[clean.len() / 2] += 6;
        PromptCase {
            name: format!("row {i}"),
            clean: clean.to_vec(),
            corrupted: Some(corrupted),
            observable: Some(observable(i, clean)),
            roles: [("changed".to_owned(), clean.len() / 2..clean.len() / 2 + 1)].into(),
            edits: Vec::new(),
        }
    };
    prompts.iter().enumerate().map(case).collect()
}

/// Runs the prompts of a case alone.
fn alone(model: &Model, case: &PromptCase, kinds: &[SiteKind]) -> [Run; 2] {
    let sites = kinds.iter().flat_map(|kind| kind.sites(model.sizes())).collect();
    let options = RunOptions { sites, ..RunOptions::default() };
    [Some(&case.clean), case.corrupted.as_ref()]
        .map(|tokens| model.run_with(tokens.expect("a pair"), &options).expect("runs"))
}

/// Checks that each array of `alone` is that prompt's part of the stacked one: on the host bit for bit.
fn same(on: &Subject, stacked: &Labelled, n: usize, alone: &Labelled) {
    for array in &alone.arrays {
        let all = stacked.array(array.name).unwrap_or_else(|| panic!("no `{}`", array.name));
        let (size, lengths): (usize, Vec<usize>) =
            (all.axes[1..].iter().map(|a| a.1).product(), all.axes[1..].iter().map(|a| a.1).collect());
        let part = &all.data[n * size..(n + 1) * size];
        let largest = array.data.iter().filter(|x| x.is_finite()).fold(1.0f32, |m, x| m.max(x.abs()));
        for (i, want) in array.data.iter().enumerate() {
            let (mut rest, mut at, mut stride) = (i, 0, 1);
            for (axis, length) in array.axes.iter().zip(&lengths).rev() {
                at += rest % axis.1 * stride;
                (rest, stride) = (rest / axis.1, stride * length);
            }
            let equal = part[at].to_bits() == want.to_bits() || (part[at].is_nan() && want.is_nan());
            let near = !on.is_host() && (part[at] - want).abs() <= 1e-5 * largest;
            assert!(
                equal || near,
                "{}: `{}` of prompt {n}, {i}: {} instead of {want}",
                on.name(),
                array.name,
                part[at]
            );
        }
    }
}

fn quiet(_: u64, _: u64) {}

#[test]
fn company_changes_no_number() {
    let twin = Twin::small();
    for on in subjects() {
        let model = twin.on(on);
        let cases = cases(&model);
        let kinds = [SiteKind::Resid, SiteKind::MlpOut, SiteKind::Z];
        let options = PredictorOptions { steps: 2, ..PredictorOptions::default() };
        let predictors = Predictor::ALL;
        let none = BesidePatches::default();
        let beside = BesidePatches { predictors: &predictors, options, ..none };
        let patched = stacked(patch_of_prompts(&model, &cases, &kinds, none, &mut quiet)).expect("patches");
        let run = stacked(forward_of_prompts(&model, &cases, &mut quiet)).expect("runs");
        let sensitive = stacked(sensitivity_of_prompts(&model, &cases, &[SiteKind::Z], &mut quiet)).expect("computes");
        let differ = &cases[3..];
        let random = TransferOptions { random: 2, ..TransferOptions::default() };
        let transferred = stacked(transfer_of_prompts(&model, differ, &random, &mut quiet)).expect("computes");
        let predicted = stacked(patch_of_prompts(&model, differ, &kinds[..1], beside, &mut quiet)).expect("predicts");
        for (n, case) in cases.iter().enumerate() {
            let j = case.observable.as_ref().expect("one");
            let [clean, corrupted] = alone(&model, case, &kinds);
            same(on, &patched, n, &patch_at(&clean, &corrupted, j, &kinds).expect("patches"));
            // Without fused outputs, an add rounds once more. So runs are compared with runs prepared for the same
            // sites.
            let [clean, corrupted] = alone(&model, case, &kinds[..1]);
            same(on, &run, n, &forward(&clean, true).expect("runs"));
            same(on, &sensitive, n, &sensitivity(&clean, j).expect("computes"));
            let Some(n) = n.checked_sub(3) else { continue };
            same(on, &transferred, n, &transfer(&clean, &corrupted, j, &[], &random).expect("computes"));
            let one = patch_at(&clean, &corrupted, j, &kinds[..1]).expect("patches");
            let pair = Case { clean: &clean, corrupted: &corrupted, observable: j };
            let mut one = one.with_predictors(&pair, &kinds[..1], &predictors, options).expect("predicts");
            // A cost is that of all prompts together.
            one.arrays.retain(|array| array.name != "cost");
            same(on, &predicted, n, &one);
        }
        assert_eq!(patched.array("lengths").expect("lengths").data, [5.0, 2.0, 7.0, 3.0, 4.0, 2.0]);
        let role = patched.array("effect.role").expect("means by role");
        assert_eq!(role.axes, [("role", 1), ("level", twin.config.n_layer + 1)]);
    }
}

/// Interactions between places that all prompts have, and between each prompt's strongest patches.
#[test]
fn company_changes_no_interaction() {
    let twin = Twin::small();
    let stream = Some(["0,changed", "1,changed", "-1,-1"]);
    for on in subjects() {
        let model = twin.on(on);
        let cases = cases(&model);
        for (kind, places, joint) in [
            (SiteKind::Resid, stream, Joint::Put),
            (SiteKind::Resid, stream, Joint::Add),
            (SiteKind::Z, Some(["0,1,changed", "0,0,-1", "1,0,-1"]), Joint::Put),
            (SiteKind::Resid, None, Joint::Put),
            (SiteKind::MlpOut, None, Joint::Add),
        ] {
            let which = |at: usize| match places {
                Some(texts) if at == 0 => Interacting::at(texts).expect("places"),
                Some(texts) => Interacting::at(texts.map(|t| t.replace("changed", &at.to_string()))).expect("places"),
                None => Interacting::Strongest(3),
            };
            let named = which(0);
            let beside = BesidePatches { interactions: Some((&named, joint)), ..BesidePatches::default() };
            let found = patch_of_prompts(&model, &cases, &[kind], beside, &mut quiet).expect("patches");
            assert!(found.left_out.is_empty(), "{:?}", found.left_out);
            let found = found.stack().expect("stacks");
            assert_eq!(
                found.array("interaction_actual").expect("a map").axes,
                [("prompt", 6), ("source", 3), ("with", 3)]
            );
            for (n, case) in cases.iter().enumerate() {
                let (j, [clean, corrupted]) = (case.observable.as_ref().expect("one"), alone(&model, case, &[kind]));
                let pair = Case { clean: &clean, corrupted: &corrupted, observable: j };
                let one = patch_at(&clean, &corrupted, j, &[kind]).expect("patches");
                let mut one =
                    one.with_interactions(&pair, kind, &which(case.clean.len() / 2), joint).expect("computes");
                assert!(one.array("interaction_actual").expect("a map").data.iter().any(|x| *x != 0.0));
                // A share jumps, and an error is of numbers that may be small.
                one.arrays.retain(|a| on.is_host() || !["superadditive", "interaction_error"].contains(&a.name));
                same(on, &found, n, &one);
            }
        }
    }
}

/// Little memory splits the prompts and their sweeps into several batches, with the same numbers.
#[test]
fn company_changes_no_response() {
    let options = GreenOptions { geometry: true, directions: (2, 5), nodes: 2 };
    let twin = Twin::small();
    for on in subjects() {
        let model = twin.on(on);
        let cases = cases(&model);
        let runs: Vec<Run> = cases.iter().map(|case| model.run(&case.clean, &[]).expect("runs")).collect();
        let batch = model.run_all(&cases.iter().map(|c| &c.clean[..]).collect::<Vec<_>>(), &RunOptions::default());
        let batch = batch.expect("runs");
        let vectors: Vec<Vec<f32>> = (0..runs.len() as u64).map(|seed| gaussian(seed, model.sizes().d)).collect();
        // A source at the last level has no response beyond it, and an empty one has none at all.
        let place = |n: usize| (n % (model.sizes().layers + 1), cases[n].clean.len() - 1 - n % 2);
        let zero = vec![0.0; model.sizes().d];
        let vector = |n: usize| if n == 2 { &zero[..] } else { &vectors[n][..] };
        let placed = batch.iter().enumerate().map(|(n, run)| PlacedSource { run, place: place(n), vector: vector(n) });
        let together = green_all(&placed.collect::<Vec<_>>(), options).expect("together");
        for (n, run) in runs.iter().enumerate() {
            let alone = green_with(run, place(n), vector(n), options).expect("alone");
            assert_eq!(together[n].metadata["source"], alone.metadata["source"]);
            for (a, b) in together[n].arrays.iter().zip(&alone.arrays) {
                assert_eq!((a.name, &a.axes), (b.name, &b.axes));
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                match on.is_host() {
                    true => assert_eq!(bits(&a.data), bits(&b.data), "{} of prompt {n}", a.name),
                    false => near(&a.data, &b.data, a.name),
                }
            }
        }
    }
}

/// Checks that two arrays differ by at most 1e-5 of their largest element; NaN equals NaN.
fn near(a: &[f32], b: &[f32], name: &str) {
    let scale = b.iter().filter(|x| x.is_finite()).fold(0.0f32, |m, x| m.max(x.abs()));
    let apart = |(a, b): (&f32, &f32)| !((a - b).abs() <= 1e-5 * scale || (a.is_nan() && b.is_nan()) || a == b);
    assert_eq!(a.iter().zip(b).filter(|pair| apart(*pair)).count(), 0, "{name}");
}

#[test]
fn memory_changes_no_number() {
    let twin = Twin::small();
    for on in subjects() {
        let small = on.again(Options { batch_bytes: 1 << 14, ..Options::default() });
        let (model, little) = (twin.on(on), twin.on(&small));
        assert!(little.most_prompt_rows() < 12, "{}", little.most_prompt_rows());
        let cases = &cases(&model)[3..];
        let of = |model: &Model| {
            let which = Interacting::at(["0,changed", "1,-1"]).expect("places");
            let beside = BesidePatches { interactions: Some((&which, Joint::Put)), ..BesidePatches::default() };
            stacked(patch_of_prompts(model, cases, &[SiteKind::Resid], beside, &mut quiet)).expect("patches")
        };
        let (much, little) = (of(&model), of(&little));
        for name in ["effect", "first_order", "clean_value", "interaction", "interaction_actual"] {
            let [much, little] = [&much, &little].map(|result| result.array(name).expect("one"));
            for (a, b) in much.data.iter().zip(&little.data) {
                let near = if on.is_host() { a == b } else { (a - b).abs() <= 1e-5 };
                assert!(near || (a.is_nan() && b.is_nan()), "{}: {name}: {a} and {b}", on.name());
            }
        }
    }
}

/// A prompt that cannot be analysed is left out with its reason, and the others have their results.
#[test]
fn a_bad_prompt_is_left_out() {
    let twin = Twin::small();
    let on = subjects()[0];
    let model = twin.on(on);
    let mut cases = cases(&model);
    let good = patch_of_prompts(&model, &cases[3..], &[SiteKind::Resid], BesidePatches::default(), &mut quiet);
    let good = stacked(good).expect("patches");
    cases[0].corrupted = None;
    cases[1].clean = vec![99_999, 1];
    cases[2].observable = Some(Observable::logit(3, 40));
    let result = patch_of_prompts(&model, &cases, &[SiteKind::Resid], BesidePatches::default(), &mut quiet);
    let result = stacked(result).expect("three prompts are analysed");
    let left_out = Prompts::left_out_of(&result);
    let names: Vec<&str> = left_out.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["row 0", "row 1", "row 2"]);
    assert!(left_out[0].1.contains("no corrupted prompt") && left_out[1].1.contains("99999"), "{left_out:?}");
    assert_eq!(result.array("effect").expect("effects").data.len(), good.array("effect").expect("effects").data.len());
    assert_eq!(result.array("clean_value"), good.array("clean_value"));
    let nothing = patch_of_prompts(&model, &cases[..3], &[SiteKind::Resid], BesidePatches::default(), &mut quiet);
    let error = stacked(nothing).expect_err("nothing can be analysed").to_string();
    assert!(error.starts_with("no prompt can be analysed; row 0: "), "{error}");
}

/// A prompt that lacks a place of the interactions is left out alone.
#[test]
fn a_prompt_without_the_places_is_left_out() {
    let twin = Twin::small();
    let model = twin.on(subjects()[0]);
    let mut cases = cases(&model);
    cases[0].roles.clear();
    // Of two tokens, the changed one is the last.
    assert_eq!(cases[1].clean.len(), 2);
    cases[2].corrupted = Some(cases[2].clean.clone());
    let which = Interacting::at(["1,changed", "1,-1"]).expect("places");
    let of = |cases: &[PromptCase], kind| {
        let beside = BesidePatches { interactions: Some((&which, Joint::Put)), ..BesidePatches::default() };
        patch_of_prompts(&model, cases, &[kind], beside, &mut quiet)
    };
    let found = of(&cases[..5], SiteKind::Resid).expect("patches");
    let reasons: Vec<&str> = found.left_out.iter().map(|row| &row.reason[..]).collect();
    assert_eq!(found.results.len(), 2);
    assert!(reasons[0].contains("no token has the role `changed`: the prompt names no roles"), "{reasons:?}");
    assert!(reasons[1].contains("`1,changed` and `1,-1` are the same patch in this prompt"), "{reasons:?}");
    assert!(reasons[2].contains("both prompts have the same values at all given places"), "{reasons:?}");
    let error = of(&cases[3..4], SiteKind::Z).map(|found| found.left_out[0].reason.clone()).expect("left out");
    assert!(error.contains("invalid place `1,changed`: a patch of z is at BLOCK,HEAD,TOKEN"), "{error}");
}

/// A patch that changes nothing interacts with none, and its effect is zero.
#[test]
fn a_patch_without_a_change_does_not_interact() {
    let twin = Twin::small();
    for on in subjects() {
        let model = twin.on(on);
        let case = &cases(&model)[3];
        let j = case.observable.as_ref().expect("one");
        let [clean, corrupted] = alone(&model, case, &[SiteKind::Resid]);
        let pair = Case { clean: &clean, corrupted: &corrupted, observable: j };
        let of = |places: &[&str]| {
            let which = Interacting::at(places.iter().copied()).expect("places");
            Labelled::default().with_interactions(&pair, SiteKind::Resid, &which, Joint::Put).expect("computes")
        };
        // The first token is the same in both prompts.
        let (all, two) = (of(&["0,1", "1,0", "2,2"]), of(&["0,1", "2,2"]));
        for name in ["interaction", "interaction_actual"] {
            let [all, two] = [&all, &two].map(|of| &of.array(name).expect("a map").data);
            assert_eq!([all[0], all[2], all[6], all[8]], two[..], "{name} on {}", on.name());
            assert!([1, 3, 4, 5, 7].iter().all(|&i| all[i] == 0.0), "{name} on {}", on.name());
        }
        let single = &all.array("interaction_single").expect("effects").data;
        assert!(single[0] != 0.0 && single[1] == 0.0 && single[2] != 0.0);
        assert_eq!(all.array("interaction_error"), two.array("interaction_error"));
    }
}

/// A stop ends the work; it is not a prompt that is left out.
#[test]
fn a_stop_ends_the_work() {
    let twin = Twin::small();
    let model = twin.on(subjects()[0]);
    let cases = cases(&model);
    let mut calls = 0;
    let analysis = &mut |_: &[CaseRuns<'_>]| {
        calls += 1;
        let stopped = resolvent_engine::Error::Stopped;
        Err(resolvent_field::Error::Model(resolvent_model::Error::Engine(stopped)))
    };
    let error = over_prompts(&model, &cases, &[], analysis, &mut quiet).map(|_| ()).expect_err("stops");
    assert!(matches!(error, resolvent_field::Error::Model(_)), "{error}");
    assert_eq!(calls, 1);
}

/// A case that fails is left out, and the others of its batch are not computed again.
#[test]
fn a_failing_case_does_not_repeat_its_batch() {
    let twin = Twin::small();
    let model = twin.on(subjects()[0]);
    let (cases, mut calls) = (cases(&model), Vec::new());
    let analysis = &mut |all: &[CaseRuns<'_>]| {
        calls.push(all.len());
        let one = |runs: &CaseRuns<'_>| match runs.case.name == "row 2" {
            true => Err(resolvent_field::Error::Input("no result".to_owned())),
            false => forward(&runs.clean, true),
        };
        Ok(all.iter().map(one).collect())
    };
    let found = over_prompts(&model, &cases, &[], analysis, &mut quiet).expect("the others");
    assert_eq!(calls, [cases.len()]);
    let left_out: Vec<&str> = found.left_out.iter().map(|row| &row.what[..]).collect();
    assert_eq!((found.results.len(), left_out), (cases.len() - 1, vec!["row 2"]));
}
