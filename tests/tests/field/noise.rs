//! Rounding is not an effect: displacements of zero, the noise floor, and statistics that account for it.

use resolvent_field::{Direction, RegimeOptions, SiteKind, TransferOptions, patch, patch_at, regime, transfer};
use resolvent_model::{Edit, Model, Observable, Run, RunOptions, Site};
use resolvent_tests::{Subject, Twin, subjects};

use super::{array, run};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is a number"))
}

/// If a prompt is patched with itself, every effect is exactly 0, although patches run in batches.
#[test]
fn a_displacement_of_zero_has_no_effect() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    for on in subjects() {
        let model = twin.on(on);
        // Without rotary embedding and gates, which this model lacks.
        let lacks = [SiteKind::RotQ, SiteKind::RotK, SiteKind::MlpPreLinear];
        let kinds: Vec<SiteKind> = SiteKind::ALL.into_iter().filter(|kind| !lacks.contains(kind)).collect();
        let sites = kinds.iter().flat_map(|kind| kind.sites(&twin.sizes())).collect();
        let options = RunOptions { sites, ..RunOptions::default() };
        let clean = model.run_with(&TOKENS, &options).expect("runs");
        let result = patch_at(&clean, &clean, &j, &kinds).expect("holds");
        for kind in kinds {
            let effect = array(&result, kind.arrays()[0]);
            assert!(effect.iter().all(|e| *e == 0.0), "{}: {kind}: {effect:?}", on.name());
            let text = &result.metadata[&format!("agreement.{kind}")];
            assert!(text.contains("are the same in both runs") && !text.contains("NaN"), "{text}");
        }
        // J does not see what happens at other tokens of the level that it is read from.
        let other = run(&twin, on, &[3, 7, 15, 11, 2]);
        let effect = array(&patch(&other, &run(&twin, on, &TOKENS), &j).expect("holds"), "effect");
        assert_eq!(effect[2 * 5..2 * 5 + 4], [0.0; 4], "{}", on.name());
        let same = transfer(&other, &run(&twin, on, &TOKENS), &j, &[], &TransferOptions::default()).expect("holds");
        assert_eq!(array(&same, "fraction")[..1], [0.0], "{}: the first token is the same", on.name());
    }
}

/// A constant observable has no effects, and the result says why there is no correlation.
#[test]
fn an_undefined_correlation_has_a_reason() {
    let twin = Twin::small();
    for on in subjects() {
        let (clean, corrupted) = (run(&twin, on, &[3, 7, 15, 11, 2]), run(&twin, on, &TOKENS));
        let result = patch(&clean, &corrupted, &Observable::logit_diff(4, 4, 4)).expect("holds");
        let text = &result.metadata["agreement.resid"];
        assert!(text.contains("undefined: no effect and no prediction differs from 0"), "{text}");
    }
}

/// Checks that the noise floor bounds rounding: if every value is replaced by itself, in a batch, J changes by less.
/// Returns the floor.
fn check_floor(what: &str, on: &Subject, runs: [&Run; 2], j: &Observable) -> f64 {
    let [clean, corrupted] = runs;
    let result = patch(clean, corrupted, j).unwrap_or_else(|e| panic!("{what}: {}: {e}", on.name()));
    let floor = number(&result.metadata["noise_floor"]);
    let sizes = corrupted.model().sizes();
    let (field, d, tokens) = (corrupted.field().expect("reads"), sizes.d, corrupted.tokens().len());
    let own: Vec<[Edit; 1]> = field
        .chunks(d)
        .enumerate()
        .map(|(i, h)| [Edit::put(Site::level(i / tokens, sizes), i % tokens, h.to_vec())])
        .collect();
    let (value, values) = (corrupted.value(j).expect("J"), corrupted.values_under(&own, j).expect("J"));
    let most = values.iter().fold(0.0f64, |m, v| m.max((v - value).abs()));
    println!("| noise | {what} | {} | measured {most:.1e} | floor {floor:.1e} |", on.name());
    assert!(most <= floor, "{what}: {}: {most:e} {floor:e}", on.name());
    floor
}

#[test]
fn rounding_is_below_the_floor() {
    for on in subjects() {
        for (seed, std) in [(5, 0.3), (6, 0.1), (7, 0.6)] {
            let twin = Twin::random(Twin::small().config, seed, std);
            let (clean, corrupted) = (run(&twin, on, &[3, 7, 15, 11, 2]), run(&twin, on, &TOKENS));
            let name = format!("random {seed}, std {std}");
            let floor = check_floor(&name, on, [&clean, &corrupted], &Observable::logit_diff(4, 20, 4));
            let logits = corrupted.logits_at(4).expect("reads");
            let size = logits.iter().fold(0.0f32, |m, l| m.max(l.abs()));
            assert!(floor < 1e-4 * f64::from(size).max(1.0), "{floor:e}: a floor hides no effect");
            check_floor(&name, on, [&clean, &corrupted], &Observable::log_prob(4, 4));
        }
    }
}

/// The statistics of the README's patch are the same on every executor, to the printed digits.
#[test]
fn the_embedded_model_has_one_rank_correlation() {
    let mut lines = Vec::new();
    for on in subjects() {
        let model = Model::named(on.device(), resolvent_model::DEFAULT_MODEL).expect("is embedded");
        let tokenizer = model.tokenizer().expect("has one");
        let ids = |text: &str| tokenizer.encode(text).expect("is text");
        let one = |text: &str| ids(text)[0];
        let clean = model.run(&ids("When Mary and John went to the store, John gave a drink to"), &[]).expect("runs");
        let corrupted =
            model.run(&ids("When Mary and John went to the store, Mary gave a drink to"), &[]).expect("runs");
        let j = Observable::logit_diff(one(" Mary"), one(" John"), clean.tokens().len() - 1);
        let result = patch(&clean, &corrupted, &j).expect("holds");
        check_floor("atlas", on, [&clean, &corrupted], &j);
        let text = result.metadata["agreement.resid"].clone();
        println!("| {} | {text} |", on.name());
        let spearman = text.split("Spearman ").nth(1).and_then(|t| t.split(',').next()).map_or(f64::NAN, number);
        assert!(spearman > 0.99, "{}: {text}", on.name());
        let effect = array(&result, "effect");
        assert!(effect.chunks(14).all(|row| row[..9] == [0.0; 9]), "{}: the prompts differ at token 9", on.name());
        let itself = array(&patch(&corrupted, &corrupted, &j).expect("holds"), "effect");
        let moved = itself.iter().filter(|e| **e != 0.0).count();
        assert_eq!(moved, 0, "{}: a prompt patched with itself", on.name());
        // J does not see what happens at other tokens of the level that it is read from.
        assert_eq!(effect[8 * 14..8 * 14 + 13], [0.0; 13], "{}", on.name());
        lines.push(text);
    }
    lines.dedup();
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

/// At amplitudes at which J changes by less than its noise floor, the error is NaN. The metadata counts such errors.
#[test]
fn rounding_is_no_nonlinearity() {
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 20, 4);
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let places = [(0, 1), (1, 3), (2, 4)];
        let directions = Direction::Random(3)
            .resolve_all(&run, &places, resolvent_field::Context { unit: true, ..Default::default() })
            .expect("directions");
        let sites: Vec<_> = places.into_iter().zip(directions).collect();
        let options = RegimeOptions { amplitudes: vec![1e-6, 1e-5, 0.3], ..RegimeOptions::default() };
        let result = regime(&run, &j, &sites, &RegimeOptions { field: true, ..options }).expect("holds");
        let error = array(&result, "error");
        let (second, first) = (array(&result, "second"), array(&result, "first_order"));
        for n in 0..sites.len() {
            assert!(error[3 * n].is_nan(), "{}: {error:?}", on.name());
            for (i, a) in [1e-6, 1e-5].into_iter().enumerate() {
                let curved = (0.5 * a * second[n] / first[n]).abs();
                let e = error[3 * n + i];
                assert!(e.is_nan() || e < 3.0 * curved + 1e-2, "{}: {n}: {e} {curved}", on.name());
            }
            assert!(error[3 * n + 2].is_finite(), "{}: {error:?}", on.name());
        }
        let counted = &result.metadata["not_finite.error"];
        assert!(counted.contains(" of 9: NaN where rounding hides"), "{counted}");
        assert!(array(&result, "field_error").iter().skip(2).step_by(3).all(|e| e.is_finite()));
    }
}
