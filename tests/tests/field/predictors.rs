//! Predictors of patch effects: their known improvement over first order, and their cost.

use resolvent_field::{Case, Panel, Predictor, PredictorOptions, SiteKind, effects, predict};
use resolvent_model::{Edit, Observable, Run, RunOptions, Site};
use resolvent_tests::{Random, Subject, Twin, subjects};

use super::close;

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];
const KINDS: [SiteKind; 4] = [SiteKind::Resid, SiteKind::AttnOut, SiteKind::MlpOut, SiteKind::K];

/// Returns a clean run and a corrupted run. Their embeddings differ by a displacement of the given size.
fn pair(twin: &Twin, on: &Subject, size: f32) -> [Run; 2] {
    let model = twin.on(on);
    let (mut random, d) = (Random::new(5), twin.config.n_embd);
    let mut moved = |token| {
        let by = random.normals(d).iter().map(|x| size * x).collect();
        Edit::add(Site::ResidPre(0), token, by)
    };
    let edits = (0..TOKENS.len()).map(&mut moved).collect();
    let sites: Vec<Site> = KINDS.iter().flat_map(|kind| kind.sites(&twin.sizes())).collect();
    let run = |edits| {
        let options = RunOptions { sites: sites.clone(), edits };
        model.run_with(&TOKENS, &options).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
    };
    [run(edits), run(Vec::new())]
}

/// Returns the predictions of all predictors and the actual effects, for all patches of all kinds.
fn panels([clean, corrupted]: &[Run; 2], j: &Observable, flag: f64) -> Vec<(SiteKind, Panel, Vec<f64>)> {
    let case = Case { clean, corrupted, observable: j };
    let of = |kind| {
        let options = PredictorOptions { flag, ..PredictorOptions::default() };
        let panel = predict(&case, kind, &Predictor::ALL, options).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let actual = effects(&[case], kind).expect("runs").remove(0);
        for certificate in &panel.certificates {
            certificate.verify().unwrap_or_else(|e| panic!("{kind}: {e}"));
        }
        (kind, panel, actual.effect.iter().map(|&e| f64::from(e)).collect())
    };
    KINDS.map(of).into()
}

fn effect(panel: &Panel, predictor: Predictor) -> Vec<f64> {
    let one = panel.predicted.iter().find(|p| p.predictor == predictor).expect("was asked for");
    one.effect.iter().map(|&e| f64::from(e)).collect()
}

/// Returns the relative L2 error.
fn error(got: &[f64], want: &[f64]) -> f64 {
    let apart: f64 = got.iter().zip(want).map(|(g, w)| (g - w).powi(2)).sum();
    (apart / want.iter().map(|w| w * w).sum::<f64>()).sqrt()
}

/// Errors of first order are proportional to the size of a displacement, those of second order to its square.
#[test]
fn second_order_is_an_order_better() {
    let (twin, j) = (Twin::small(), Observable::logit_diff(4, 20, 4));
    for on in subjects() {
        let at = |size: f32| panels(&pair(&twin, on, size), &j, f64::INFINITY);
        let (far, near) = (at(0.03), at(0.01));
        for ((kind, far, far_actual), (_, near, near_actual)) in far.iter().zip(&near) {
            let of = |predictor| {
                let far = error(&effect(far, predictor), far_actual);
                (far, far / error(&effect(near, predictor), near_actual))
            };
            let ((first, fell), (second, fell_more)) = (of(Predictor::FirstOrder), of(Predictor::Curvature));
            let name = on.name();
            assert!(first > 0.01, "{name}, {kind}: first order misses something, {first}");
            assert!(second < 0.5 * first, "{name}, {kind}: {second} of {first}");
            assert!((2.0..4.5).contains(&fell), "{name}, {kind}: first order fell {fell} times");
            assert!(fell_more > 1.6 * fell, "{name}, {kind}: second order fell {fell_more}, first {fell}");
        }
    }
}

/// Without flags, `hvp` equals first order. With all flags, it equals the curvature predictor, by another computation.
#[test]
fn flags_select_the_corrected_sites() {
    let (twin, j) = (Twin::small(), Observable::logit_diff(4, 20, 3));
    for on in subjects() {
        let runs = pair(&twin, on, 0.3);
        for (kind, panel, _) in panels(&runs, &j, f64::INFINITY) {
            assert_eq!(panel.flagged, 0.0);
            assert_eq!(effect(&panel, Predictor::Hvp), effect(&panel, Predictor::FirstOrder), "{kind}");
        }
        for (kind, panel, _) in panels(&runs, &j, 0.0) {
            assert!(panel.flagged > 0.3, "{kind}: {}", panel.flagged);
            let [hvp, curvature] = [Predictor::Hvp, Predictor::Curvature].map(|p| effect(&panel, p));
            close(&hvp, &curvature, 1e-4, "products and jets");
            assert!(panel.certificates.iter().any(|c| c.name == "second_order"));
        }
        // In between, only predictions above the ratio are corrected.
        for (kind, panel, _) in panels(&runs, &j, 0.05) {
            let ratio = panel.reliability.as_ref().expect("was estimated");
            let [hvp, first] = [Predictor::Hvp, Predictor::FirstOrder].map(|p| effect(&panel, p));
            for ((hvp, first), ratio) in hvp.iter().zip(&first).zip(ratio) {
                assert!(hvp == first || *ratio > 0.05, "{kind}: {hvp} {first} {ratio}");
            }
            assert!((0.0..1.0).contains(&panel.flagged), "{kind}: {}", panel.flagged);
        }
    }
}

/// Integrated along the line between the prompts, the effects of the embeddings add up to the whole difference of J.
#[test]
fn integrated_effects_of_the_embeddings_are_complete() {
    let (twin, j) = (Twin::small(), Observable::logit_diff(4, 20, 4));
    for on in subjects() {
        let runs = pair(&twin, on, 1.0);
        let [clean, corrupted] = &runs;
        let whole = clean.value(&j).expect("reads") - corrupted.value(&j).expect("reads");
        let case = Case { clean, corrupted, observable: &j };
        let sum = |steps, predictor| -> f64 {
            let options = PredictorOptions { steps, ..PredictorOptions::default() };
            let panel = predict(&case, SiteKind::Resid, &[predictor], options).expect("predicts");
            panel.predicted[0].effect[..TOKENS.len()].iter().map(|&e| f64::from(e)).sum()
        };
        let missing = |steps| (sum(steps, Predictor::Integrated) / whole - 1.0).abs();
        assert!(missing(32) < 0.01, "{}: {}", on.name(), missing(32));
        assert!((sum(1, Predictor::FirstOrder) / whole - 1.0).abs() > 0.05, "first order misses some");
        let options = PredictorOptions { steps: 0, ..PredictorOptions::default() };
        assert!(predict(&case, SiteKind::Resid, &[Predictor::Integrated], options).is_err());
    }
}

/// On a linear model with a linear observable every predictor is right, and has its usual cost.
///
/// The model is linear to a part in 1e5. The smallest effect is a thousand times smaller than the largest, so that a
/// ratio of one percent is noise.
#[test]
fn all_predictors_are_right_on_a_linear_model() {
    let twin = Twin::linear(3);
    let mut random = Random::new(9);
    let j = Observable::projection(3, 4, random.normals(twin.config.n_embd));
    for on in subjects() {
        // Costs are counted by the device, so no other test may use this device.
        let own = on.again(resolvent_engine::Options::default());
        let all = panels(&pair(&twin, &own, 1.0), &j, 0.05);
        let largest = all.iter().flat_map(|(.., actual)| actual).fold(0.0f64, |m, x| m.max(x.abs()));
        for (kind, panel, actual) in all {
            assert_eq!(panel.flagged, 0.0, "{kind}: nothing is curved");
            for one in &panel.predicted {
                let got: Vec<f64> = one.effect.iter().map(|&e| f64::from(e)).collect();
                // Patches without an effect, here of keys, differ from the run by the rounding of J.
                let size = actual.iter().chain(&got).fold(1e-2 * largest, |m, x| m.max(x.abs()));
                for (i, (got, want)) in got.iter().zip(&actual).enumerate() {
                    let apart = (got - want).abs();
                    assert!(apart <= 2e-4 * size, "{kind}, {} {i}: {got}, {want} of {size}", one.predictor);
                }
            }
            let cost = |p| panel.predicted.iter().find(|one| one.predictor == p).expect("it").cost;
            let first = cost(Predictor::FirstOrder);
            assert!((0.2..4.0).contains(&first), "{kind}: {first}");
            assert!(cost(Predictor::Integrated) > 8.0 * first, "eight runs and eight backward passes");
            assert!(cost(Predictor::Curvature) > first && cost(Predictor::Hvp) > first);
        }
    }
}
