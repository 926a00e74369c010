//! Interactions: they agree with the reference for small sources, and vanish in a linear model.

use resolvent_field::{Case, Interacting, InteractionCase, Joint, Labelled, SiteKind, interactions, interactions_all};
use resolvent_model::{Edit, Observable, RunOptions, Site, Source};
use resolvent_tests::{Random, Subject, Twin, subjects};

use super::{array, close, run, truth};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

fn sources(twin: &Twin, size: f32) -> Vec<Source> {
    let mut random = Random::new(8);
    let at = [(Site::ResidPre(0), 1), (Site::MlpOut(0), 3), (Site::ResidMid(1), 3), (Site::ResidPre(1), 4)];
    let vector = |random: &mut Random| random.normals(twin.config.n_embd).iter().map(|x| size * x).collect();
    at.map(|(site, token)| Source { site, token, vector: vector(&mut random) }).into()
}

/// The interactions equal `(e(s1 + s2) - e(s1 - s2) - e(s2 - s1) + e(-s1 - s2)) / 4` of the reference in f64. This is
/// the mixed second derivative, up to terms of fourth order.
#[test]
fn products_are_mixed_derivatives_of_the_reference() {
    let (twin, j) = (Twin::small(), Observable::logit_diff(4, 20, 4));
    let sources = sources(&twin, 1e-3);
    let n = sources.len();
    let edit = |s: &Source, sign: f32| Edit::add(s.site, s.token, s.vector.iter().map(|x| sign * x).collect());
    let value = |a: &Source, sign_a: f32, b: &Source, sign_b: f32| {
        truth(&twin, &TOKENS, &[edit(a, sign_a), edit(b, sign_b)], &j)
    };
    let mixed = |a: &Source, b: &Source| {
        (value(a, 1.0, b, 1.0) - value(a, 1.0, b, -1.0) - value(a, -1.0, b, 1.0) + value(a, -1.0, b, -1.0)) / 4.0
    };
    let want: Vec<f64> = (0..n * n).map(|k| mixed(&sources[k / n], &sources[k % n])).collect();
    for on in subjects() {
        let options = RunOptions { sites: twin.sites(), ..Default::default() };
        let run = twin.on(on).run_with(&TOKENS, &options).expect("runs");
        let got = interactions(&run, &j, &sources).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        close(&array(&got, "interaction"), &want, 1e-3, on.name());
        assert!(interactions(&run, &j, &[]).is_err());
    }
}

/// For larger sources, the map from Hessian-vector products is near the map from joint runs.
#[test]
fn products_come_near_joint_runs() {
    let (twin, j) = (Twin::small(), Observable::logit_diff(4, 20, 4));
    let options = RunOptions { sites: twin.sites(), ..Default::default() };
    for on in subjects() {
        let run = twin.on(on).run_with(&TOKENS, &options).expect("runs");
        let got = interactions(&run, &j, &sources(&twin, 0.03)).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        close(&array(&got, "interaction"), &array(&got, "interaction_actual"), 0.2, on.name());
    }
}

/// Runs that share passes have the bits that each has alone; one case without sources refuses the call.
#[test]
fn many_runs_have_what_each_has_alone() {
    let twin = Twin::small();
    let (sites, few) = (twin.sites(), sources(&twin, 0.03));
    let prompts: [&[u32]; 3] = [&TOKENS, &[7, 1, 20, 5, 5, 11, 2], &[9, 9, 4, 1, 3]];
    let observables = prompts.map(|prompt| Observable::logit_diff(4, 20, prompt.len() - 1));
    for on in subjects() {
        let model = twin.on(on);
        let runs = model.run_all(&prompts, &RunOptions { sites: sites.clone(), ..Default::default() }).expect("runs");
        let sources = [&few[..], &few[1..], &few[..2]];
        let case = |n: usize| InteractionCase { run: &runs[n], observable: &observables[n], sources: sources[n] };
        let together = interactions_all(&[case(0), case(1), case(2)]).expect("fits");
        for (n, found) in together.into_iter().enumerate() {
            let found = found.unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let options = RunOptions { sites: sites.clone(), ..Default::default() };
            let run = model.run_with(prompts[n], &options).expect("runs");
            let alone = interactions(&run, &observables[n], sources[n]).expect("fits");
            assert_eq!(found.metadata["sites"], alone.metadata["sites"]);
            for name in ["interaction", "interaction_actual", "single"] {
                let (found, alone) = (array(&found, name), array(&alone, name));
                match on.device().info().is_host() {
                    true => assert_eq!(found, alone, "{name}"),
                    false => close(&found, &alone, 1e-3, on.name()),
                }
            }
        }
        let none = InteractionCase { sources: &[], ..case(1) };
        let error = interactions_all(&[case(0), none]).map(|_| ()).expect_err("without sources").to_string();
        assert_eq!(error, "interactions need one source or more");
    }
}

#[test]
fn nothing_interacts_in_a_linear_model() {
    let twin = Twin::linear(3);
    let mut random = Random::new(2);
    let j = Observable::projection(3, 4, random.normals(twin.config.n_embd));
    let d = twin.config.n_embd;
    let mut at = |level, token| Source { site: Site::ResidPre(level), token, vector: random.normals(d) };
    let sources = [at(0, 1), at(1, 3), at(2, 4)];
    for on in subjects() {
        let got = interactions(&run(&twin, on, &TOKENS), &j, &sources).expect("holds");
        let single = array(&got, "single").into_iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for name in ["interaction", "interaction_actual"] {
            let most = array(&got, name).into_iter().fold(0.0f64, |m, x| m.max(x.abs()));
            assert!(most < 1e-3 * single, "{}: {name} {most} of {single}", on.name());
        }
    }
}

/// Returns the interactions of patches, and the patches as edits for the reference. The embeddings of the clean run
/// differ from those of the corrupted run at two tokens, by `size` times normal numbers.
fn patched(twin: &Twin, on: &Subject, (kind, size): (SiteKind, f32), joint: Joint) -> (Labelled, Vec<Edit>) {
    let j = observable(twin);
    let model = twin.on(on);
    let of = |edits| model.run_with(&TOKENS, &RunOptions { edits, sites: twin.sites() }).expect("runs");
    let mut random = Random::new(6);
    let mut off = |token| {
        let by = random.normals(twin.config.n_embd).iter().map(|x| size * x).collect();
        Edit::add(Site::ResidPre(0), token, by)
    };
    let (clean, corrupted) = (of(vec![off(1), off(3)]), of(Vec::new()));
    let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
    let got = Labelled::default().with_interactions(&case, kind, &Interacting::Strongest(6), joint);
    let got = got.unwrap_or_else(|e| panic!("{}: {e}", on.name()));
    let sites: Vec<(Site, usize)> = got.metadata["interaction_sites"]
        .split(' ')
        .map(|text| {
            let (site, token) = text.split_once('@').expect("SITE@TOKEN");
            (site.parse().expect("a site"), token.parse().expect("a token"))
        })
        .collect();
    let value = |run: &resolvent_model::Run, (site, token): (Site, usize)| {
        let width = site.width(&twin.sizes());
        run.capture(site).expect("prepared")[token * width..][..width].to_vec()
    };
    let edits = sites.iter().map(|&(site, token)| match joint {
        Joint::Put => Edit::put(site, token, value(&clean, (site, token))),
        Joint::Add => {
            let (to, from) = (value(&clean, (site, token)), value(&corrupted, (site, token)));
            Edit::add(site, token, to.iter().zip(&from).map(|(a, b)| a - b).collect())
        }
    });
    let edits = edits.collect();
    (got, edits)
}

fn observable(twin: &Twin) -> Observable {
    match twin.config.n_layer {
        2 => Observable::logit_diff(4, 20, 4),
        _ => {
            let direction = Random::new(2).normals(twin.config.n_embd);
            Observable::projection(twin.config.n_layer, 4, direction)
        }
    }
}

/// Joint runs, which put both values or add both displacements, agree with the reference in f64.
#[test]
fn joint_runs_are_those_of_the_reference() {
    let twin = Twin::small();
    let j = observable(&twin);
    let effect = |edits: &[Edit]| truth(&twin, &TOKENS, edits, &j) - truth(&twin, &TOKENS, &[], &j);
    let mut whole = Vec::new();
    for joint in [Joint::Put, Joint::Add] {
        for on in subjects() {
            let (got, edits) = patched(&twin, on, (SiteKind::Resid, 1.0), joint);
            assert_eq!(got.metadata["interaction_joint"], joint.name());
            let n = edits.len();
            let single: Vec<f64> = edits.iter().map(|e| effect(std::slice::from_ref(e))).collect();
            let pair = |k: usize| {
                let (a, b) = (k / n, k % n);
                effect(&[edits[a.min(b)].clone(), edits[a.max(b)].clone()]) - single[a] - single[b]
            };
            let want: Vec<f64> = (0..n * n).map(pair).collect();
            close(&array(&got, "interaction_actual"), &want, 1e-4, joint.name());
            whole.push(want);
        }
    }
    let apart = whole[0].iter().zip(&whole[whole.len() - 1]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart > 0.1 * whole[0].iter().fold(0.0, |m: f64, x| m.max(x.abs())), "two ways: {apart}");
}

/// In a linear model, patches along one path interact, and the prediction equals the interaction of joint runs. Added
/// displacements do not interact.
#[test]
fn patches_along_a_path_interact_in_a_linear_model() {
    let twin = Twin::linear(3);
    for on in subjects() {
        let (got, _) = patched(&twin, on, (SiteKind::Resid, 1.0), Joint::Put);
        let (predicted, actual) = (array(&got, "interaction"), array(&got, "interaction_actual"));
        close(&predicted, &actual, 2e-3, on.name());
        let n = got.array("interaction").expect("a map").axes[0].1;
        let most = |keep: &dyn Fn(usize) -> bool, map: &[f64]| {
            (0..n * n).filter(|&k| keep(k)).map(|k| map[k].abs()).fold(0.0, f64::max)
        };
        let off = most(&|k| k / n != k % n, &actual);
        assert!(off > 0.05 * most(&|_| true, &actual), "{actual:?}");
        let (added, _) = patched(&twin, on, (SiteKind::Resid, 1.0), Joint::Add);
        assert!(most(&|_| true, &array(&added, "interaction_actual")) < 1e-3 * off);
    }
}

/// For small displacements, second order predicts the interactions of joint patches, at sites of the stream and of
/// heads.
#[test]
fn second_order_predicts_joint_patches() {
    let twin = Twin::small();
    for on in subjects() {
        for kind in [SiteKind::Resid, SiteKind::MlpOut, SiteKind::Z, SiteKind::V] {
            let (got, _) = patched(&twin, on, (kind, 0.02), Joint::Put);
            let (predicted, actual) = (array(&got, "interaction"), array(&got, "interaction_actual"));
            let (mut apart, mut size) = (0.0, 0.0);
            let n = got.array("interaction").expect("a map").axes[0].1;
            for k in (0..n * n).filter(|k| k / n != k % n) {
                apart += (predicted[k] - actual[k]).powi(2);
                size += actual[k].powi(2);
            }
            let error = (apart / size).sqrt();
            assert!(error < 0.05, "{kind} on {}: {error} {predicted:?} {actual:?}", on.name());
        }
    }
}
