//! The flow of an effect: places of the reference, sums over tokens, and the secant of a whole source.

use resolvent_field::{Case, FlowOptions, Labelled, flow, flow_between};
use resolvent_model::{Edit, Observable, Site, Source};
use resolvent_tests::{Golden, Subject, Twin, observed, subjects};

use super::{array, close, run, truth};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];
const OTHER: [u32; 5] = [3, 7, 15, 11, 2];

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

/// Returns the flow of the reference at a run with edits, place by place. Only forward derivatives are used: J's
/// response to the response at one place alone.
fn reference(twin: &Twin, edits: &[Edit], sources: &[Source], j: &Observable) -> Vec<f64> {
    let (d, tokens, sizes) = (twin.config.n_embd, TOKENS.len(), twin.sizes());
    let response: Vec<f64> = twin.tangent(&TOKENS, edits, sources).field.iter().map(|x| x.tangent).collect();
    let at = |(place, r): (usize, &[f64])| {
        let site = Site::level(place / tokens, &sizes);
        let source = Source { site, token: place % tokens, vector: narrow(r) };
        observed::read(j, &twin.tangent(&TOKENS, edits, &[source])).tangent
    };
    response.chunks(d).enumerate().map(at).collect()
}

fn sources(twin: &Twin) -> Vec<Source> {
    let source = |token, seed| Source {
        site: Site::ResidPre(1),
        token,
        vector: resolvent_model::gaussian(seed, twin.config.n_embd),
    };
    vec![source(1, 3), source(4, 4)]
}

fn added(sources: &[Source], amount: f64) -> Vec<Edit> {
    let moved = |x: &f32| (amount * f64::from(*x)) as f32;
    sources.iter().map(|s| Edit::add(s.site, s.token, s.vector.iter().map(moved).collect())).collect()
}

/// Checks that each level from `top` on sums to `want`, and that those below are zero.
fn sums(map: &[f64], top: usize, want: f64, within: f64) {
    for (level, row) in map.chunks(TOKENS.len()).enumerate() {
        let (sum, want) = (row.iter().sum::<f64>(), if level < top { 0.0 } else { want });
        assert!((sum - want).abs() <= within, "level {level}: {sum} instead of {want}");
    }
}

#[test]
fn every_place_is_that_of_the_reference() {
    let twin = Twin::small();
    let sources = sources(&twin);
    let j = Observable::log_prob(4, 4) - 0.5 * Observable::logit(20, 3);
    let want = reference(&twin, &[], &sources, &j);
    for on in subjects() {
        let got = flow(&run(&twin, on, &TOKENS), &j, &sources, FlowOptions::default()).expect("computes");
        close(&array(&got, "flow"), &want, 2e-5, on.name());
        let effect = array(&got, "effect")[0];
        sums(&array(&got, "flow"), 1, effect, 2e-5 * effect.abs().max(1.0));
        assert!(got.array("secant").is_none());
        let names: Vec<&str> = got.certificates.iter().map(|c| c.name).collect();
        assert_eq!(names, ["level_sums", "adjoint", "slope", "shift"]);
    }
}

/// Simpson's rule over the reference is the secant, and its sums are the change of J.
#[test]
fn the_secant_is_that_of_the_whole_source() {
    let twin = Twin::small();
    let sources = sources(&twin);
    let j = Observable::logit_diff(4, 20, 4);
    let n = 64;
    let mut want = vec![0.0; 3 * TOKENS.len()];
    for k in 0..=n {
        let weight = if k == 0 || k == n { 1.0 } else { 2.0 + 2.0 * f64::from(k % 2) } / (3.0 * f64::from(n));
        let at = reference(&twin, &added(&sources, f64::from(k) / f64::from(n)), &sources, &j);
        want.iter_mut().zip(at).for_each(|(sum, x)| *sum += weight * x);
    }
    let change = truth(&twin, &TOKENS, &added(&sources, 1.0), &j) - truth(&twin, &TOKENS, &[], &j);
    for on in subjects() {
        let got = |steps| flow(&run(&twin, on, &TOKENS), &j, &sources, FlowOptions { steps }).expect("computes");
        let fine = got(16);
        close(&array(&fine, "secant"), &want, 1e-4, on.name());
        close(&array(&fine, "change"), &[change], 1e-4, "change");
        sums(&array(&fine, "secant"), 1, change, 1e-4 * change.abs().max(1.0));
        // Few amplitudes are farther off, and the embedded rule shows it.
        let coarse = got(2);
        let error = |result: &Labelled| array(result, "secant_effect_error")[0];
        assert!(error(&coarse) > 10.0 * error(&fine), "{} {}", error(&coarse), error(&fine));
        assert!(array(&coarse, "secant_effect")[0] != array(&fine, "secant_effect")[0]);
        // The first order alone is not the change.
        assert!((array(&fine, "effect")[0] - change).abs() > 1e-2 * change.abs());
    }
}

#[test]
fn between_prompts_the_change_is_their_difference() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    let want = truth(&twin, &TOKENS, &[], &j) - truth(&twin, &OTHER, &[], &j);
    for on in subjects() {
        let (clean, corrupted) = (run(&twin, on, &TOKENS), run(&twin, on, &OTHER));
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &j };
        let got = flow_between(&[case], FlowOptions { steps: 24 }).expect("computes").remove(0);
        sums(&array(&got, "secant"), 0, want, 2e-3 * want.abs());
        close(&array(&got, "change"), &[want], 1e-4, "change");
        assert_eq!(got.metadata["source"], "0,1 0,3");
        // At level 0 only the tokens that differ have a part.
        let level = &array(&got, "secant")[..5];
        assert_eq!([level[0], level[2], level[4]], [0.0; 3]);
        let same = Case { clean: &clean, corrupted: &clean, observable: &j };
        assert!(flow_between(&[same], FlowOptions::default()).is_err());
    }
}

/// Every family's effects flow, also with an observable that reads a level below the last.
#[test]
fn every_family_has_a_flow() {
    for golden in Golden::all().into_iter().chain(Golden::forms()) {
        let on = &subjects()[0];
        let model = resolvent_model::Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
        let run = model.run(&golden.tokens, &[]).expect("runs");
        let below = Observable::projection(1, golden.tokens.len() - 1, vec![0.5; model.sizes().d]);
        for j in [golden.observable(), golden.observable() + below] {
            let got = flow(&run, &j, &[golden.source()], FlowOptions { steps: 2 });
            let got = got.unwrap_or_else(|e| panic!("{}: {e}", golden.name));
            assert!(array(&got, "flow").iter().any(|x| *x != 0.0), "{}", golden.name);
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let twin = Twin::small();
    let j = Observable::logit(4, 4);
    let on: &Subject = subjects()[0];
    let run = run(&twin, on, &TOKENS);
    let error =
        |sources: &[Source], steps| flow(&run, &j, sources, FlowOptions { steps }).expect_err("misfit").to_string();
    let good = sources(&twin);
    assert!(error(&[], 0).contains("no sources"));
    assert!(error(&good, 1).contains("from 2 to 64") && error(&good, 65).contains("from 2 to 64"));
    let head = Source { site: Site::Z(0, 0), token: 1, vector: vec![1.0; 6] };
    assert!(error(&[head], 0).contains("hook_resid_pre"));
    for wrong in [
        Source { vector: vec![1.0; 3], ..good[0].clone() },
        Source { token: 9, ..good[0].clone() },
        Source { site: Site::ResidPre(7), ..good[0].clone() },
    ] {
        error(&[wrong], 0);
    }
}
