//! Patches of whole attention patterns, against the reference: GPT-2 and every other family.

use resolvent_field::{Predictor, PredictorOptions, SiteKind, patch_at, predict};
use resolvent_model::{Observable, RunOptions};
use resolvent_reference::Site as Stage;
use resolvent_tests::{Labelled, Worst, subjects, tolerance};

use super::patterns::Both;

/// Step of the central difference for derivatives of the reference: its error is of the order of the square, 1e-8.
const STEP: f64 = 1e-4;

/// Effects of rows of patterns, and what first order predicts, by runs of the reference in which the rows are put in
/// place.
#[test]
fn patches_of_patterns_put_the_weights_of_all_keys() {
    let mut worst = ["patched", "first_order"].map(|of| Worst::new(&format!("pattern_sweep.{of}")));
    for (both, clean) in Both::all() {
        let (n, mut corrupted) = (clean.len(), clean.clone());
        // So late that it reaches the last token in spite of windows.
        corrupted[n - 3] = (corrupted[n - 3] + 5) % 20;
        let j = Observable::logit_diff(1, 4, n - 1);
        // The rows of one prompt in the reference, by block, head and query.
        let rows = |tokens: &[u32]| {
            let mut rows = Vec::new();
            drop(both.hooked(tokens, &mut |stage: Stage, x: &mut [f64]| {
                if let Stage::Pattern(l, h, t) = stage {
                    rows.push(((l, h, t), x.to_vec()));
                }
            }));
            rows.sort_by_key(|(place, _)| *place);
            rows
        };
        let (from, to) = (rows(&corrupted), rows(&clean));
        // J of the corrupted prompt with one row that is moved by a share of the way to the clean one.
        let moved = |i: usize, share: f64| {
            let (((l, h, t), from), (_, to)) = (&from[i], &to[i]);
            let trace = both.hooked(&corrupted, &mut |stage: Stage, x: &mut [f64]| {
                if stage == Stage::Pattern(*l, *h, *t) {
                    x.iter_mut().zip(from.iter().zip(to)).for_each(|(x, (a, b))| *x = a + share * (b - a));
                }
            });
            let logits = trace.logits_at(n - 1);
            logits[1] - logits[4]
        };
        let (base, patched) = (moved(0, 0.0), (0..from.len()).map(|i| moved(i, 1.0)).collect::<Vec<f64>>());
        let slope = (0..from.len()).map(|i| (moved(i, STEP) - moved(i, -STEP)) / (2.0 * STEP)).collect();
        assert!(patched.iter().any(|x| (x - base).abs() > 1e-4), "{}: no pattern matters", both.name());
        let (patched, slope) = (Labelled::reference(patched), Labelled::reference(slope));
        for on in subjects() {
            let model = both.on(on);
            let runs = model.run_all(&[&clean, &corrupted], &RunOptions::default()).expect("runs");
            let kinds = [SiteKind::Pattern, SiteKind::Z];
            let result = patch_at(&runs[0], &runs[1], &j, &kinds).unwrap_or_else(|e| panic!("{}: {e}", both.name()));
            let of = |name: &str| &result.array(name).expect("an array").data;
            assert_eq!(result.array("effect.pattern").expect("effects").axes[2], ("token", n));
            let values: Vec<f32> = of("effect.pattern").iter().map(|x| x + of("corrupted_value")[0]).collect();
            worst[0].check(both.name(), &on.label(&values), &patched, tolerance::MODEL);
            worst[1].check(both.name(), &on.label(of("first_order.pattern")), &slope, tolerance::DERIVATIVES);
            assert!(result.certificates.iter().any(|check| check.name == "as_patterns"), "{}", both.name());
            // The whole output of a head differs from its pattern alone: the values of the keys differ too.
            let differs = of("effect.pattern").iter().zip(of("effect.z")).any(|(a, b)| (a - b).abs() > 1e-4);
            assert!(differs, "{}", both.name());
        }
    }
}

/// Predictors that have a meaning at patterns, and those that have none.
#[test]
fn patterns_have_curvature_but_no_path_between_two() {
    let (both, clean) = Both::all().remove(0);
    let (on, mut corrupted) = (subjects()[0], clean.clone());
    corrupted[1] += 5;
    let j = Observable::logit_diff(1, 4, clean.len() - 1);
    let runs = both.on(on).run_all(&[&clean, &corrupted], &RunOptions::default()).expect("runs");
    let case = resolvent_field::Case { clean: &runs[0], corrupted: &runs[1], observable: &j };
    let options = PredictorOptions::default();
    let of = |predictor| predict(&case, SiteKind::Pattern, &[predictor], options);
    for predictor in [Predictor::Curvature, Predictor::Hvp, Predictor::RelP] {
        let panel = of(predictor).expect("predicts");
        panel.certificates.iter().for_each(|check| check.verify().expect("holds"));
        assert!(panel.predicted[0].effect.iter().any(|x| *x != 0.0), "{predictor}");
    }
    let refused = of(Predictor::Integrated).map(|_| ()).expect_err("refused").to_string();
    assert!(refused.contains("no runs between two patterns; leave it out"), "{refused}");
}
