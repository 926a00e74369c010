//! Which writers carry a difference at one place: against the f64 reference, and as directions of sources.

use resolvent_field::{Case, Context, Direction, edges_into, edges_into_of_prompts};
use resolvent_model::{Edit, Observable, RunOptions, Site, Source, Writer};
use resolvent_tests::truth::wide;
use resolvent_tests::{Subject, Twin, observed, subjects};

use super::edges::{CLEAN, CORRUPTED, both, moved};
use super::edges_by_token::two_lengths;
use super::{array, close, truth};

#[test]
fn effects_are_those_of_the_reference() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4) - Observable::log_prob(7, 2);
    let base = truth(&twin, &CORRUPTED, &[], &j);
    for on in subjects() {
        let model = twin.on(on);
        let runs = both(&model, [&CLEAN, &CORRUPTED]);
        let case = Case { clean: &runs[0], corrupted: &runs[1], observable: &j };
        for (level, token) in [(0, 1), (1, 3), (twin.config.n_layer, 4)] {
            let result = edges_into(&case, (level, token)).expect("passes its checks");
            let writers = &Writer::all(model.sizes())[..array(&result, "exact").len()];
            assert_eq!(writers.len(), 1 + level * (model.sizes().heads + 1));
            let site = Site::level(level, model.sizes());
            let (mut exact, mut first_order) = (Vec::new(), Vec::new());
            for &writer in writers {
                let vector = moved(&twin, writer)[token].clone();
                exact.push(truth(&twin, &CORRUPTED, &[Edit::add(site, token, vector.clone())], &j) - base);
                let source = [Source { site, token, vector }];
                first_order.push(observed::read(&j, &twin.tangent(&CORRUPTED, &[], &source)).tangent);
            }
            let what = format!("{level},{token} on {}", on.name());
            close(&array(&result, "exact"), &exact, 1e-4, &format!("exact at {what}"));
            close(&array(&result, "first_order"), &first_order, 1e-4, &format!("first order at {what}"));
            // The control is the size of a vector of the same length along each axis, root mean square.
            let axis = |i: usize| {
                let vector = (0..twin.config.n_embd).map(|k| f32::from(u8::from(k == i))).collect();
                let source = [Source { site, token, vector }];
                observed::read(&j, &twin.tangent(&CORRUPTED, &[], &source)).tangent.powi(2)
            };
            let d = twin.config.n_embd;
            let gain = ((0..d).map(axis).sum::<f64>() / d as f64).sqrt();
            let random: Vec<f64> = array(&result, "norm").iter().map(|norm| norm * gain).collect();
            close(&array(&result, "random"), &random, 1e-4, &format!("control at {what}"));
        }
    }
}

/// Over prompts of several lengths, a negative token counts from the end of each.
#[test]
fn writers_of_many_prompts() {
    let twin = Twin::small();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = twin.on(&on);
    let cases = two_lengths();
    let found = edges_into_of_prompts(&model, &cases, (1, -2), &mut |_, _| {}).expect("computes");
    for (result, case) in found.results.iter().zip(&cases) {
        let corrupted = case.corrupted.as_ref().expect("has one");
        let runs = both(&model, [&case.clean, corrupted]);
        let one = Case { clean: &runs[0], corrupted: &runs[1], observable: case.observable.as_ref().expect("has one") };
        let alone = edges_into(&one, (1, corrupted.len() - 2)).expect("computes");
        for name in ["exact", "first_order", "whole"] {
            close(&array(result, name), &array(&alone, name), 1e-6, name);
        }
    }
    let stacked = found.stack().expect("stacks");
    assert_eq!(stacked.array("exact").expect("effects").axes, [("prompt", 2), ("writer", 1 + twin.config.n_head + 1)]);
    let early = edges_into_of_prompts(&model, &cases, (1, -5), &mut |_, _| {}).expect("one prompt is long enough");
    assert_eq!((early.results.len(), early.left_out.len()), (1, 1));
}

/// The direction `writer:NAME` is the vector whose effect the analysis computes.
#[test]
fn a_writer_is_a_direction() {
    let twin = Twin::small();
    for on in subjects() {
        let model = twin.on(on);
        let [clean, corrupted] = [&CLEAN, &CORRUPTED].map(|tokens| model.run_with(tokens, &RunOptions::default()));
        let (clean, corrupted) = (clean.expect("runs"), corrupted.expect("runs"));
        let context = Context { observable: None, other: Some(&clean), unit: false };
        for name in ["input", "a0.h1", "m0"] {
            let direction = Direction::parse(&format!("writer:{name}"), &model).expect("is one");
            let found = direction.resolve(&corrupted, (1, 3), context).expect("writes before level 1");
            let want = wide(&moved(&twin, name.parse().expect("is one"))[3]);
            close(&wide(&found), &want, 2e-5, name);
        }
        let refused = |text: &str, place, context: Context<'_>| {
            let found =
                Direction::parse(text, &model).and_then(|direction| direction.resolve(&corrupted, place, context));
            found.expect_err("is refused").to_string()
        };
        assert!(refused("writer:a0.h1", (0, 3), context).contains("a0.h1 writes after level 0"));
        assert!(refused("writer:a99.h0", (1, 3), context).contains("the model has no writer `a99.h0`"));
        assert!(refused("writer:x", (1, 3), context).contains("invalid writer `x`"));
        let alone = Context { other: None, ..context };
        assert!(refused("writer:input", (1, 3), alone).contains("needs a second prompt"));
    }
}
