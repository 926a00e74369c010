//! Modes of a linearisation: each against the reference with the same frozen factors, and against its transpose.

use resolvent_field::{adjoint, dot, reconstruction};
use resolvent_model::{Mode, Observable, Site, Source};
use resolvent_reference::{Dual, Trace};
use resolvent_tests::truth::{relative, wide};
use resolvent_tests::{Labelled, Random, Twin, Worst, subjects, tangents, tolerance};

use super::batches::cases;
use super::edited::{TOKENS, gradient, lists};
use super::{kinds, prepared, source};

const FROZEN: [Mode; 4] = [Mode::FrozenNorm, Mode::FrozenAttention, Mode::Frozen, Mode::RelP];

/// Sources of every kind, in runs without edits and with many. The tangents must differ from those of the exact mode.
#[test]
fn tangents_in_each_mode() {
    let mut worst = Worst::new("modes.jvp");
    for mode in FROZEN {
        let twin = Twin::small().in_mode(mode);
        let lists = lists(&twin, TOKENS.len());
        for edits in [&lists[0], &lists[5], &lists[8]] {
            let mut random = Random::new(5);
            let at = |site| vec![source(&twin, site, random.below(TOKENS.len()), &mut random)];
            let mut batch: Vec<Vec<Source>> = kinds(&twin).into_iter().map(at).collect();
            batch.push(batch.concat());
            for on in subjects() {
                let run = prepared(&twin, on, &TOKENS, edits);
                let got = run.linearize(mode).jvp(&batch).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                for (k, sources) in batch.iter().enumerate() {
                    let truth = tangents(&twin.tangent(&TOKENS, edits, sources).field);
                    let case = format!("{mode:?} {edits:?} {sources:?}");
                    if truth.iter().all(|x| *x == 0.0) {
                        assert!(got.get(k).iter().all(|x| *x == 0.0), "{}: {case}", on.name());
                        continue;
                    }
                    worst.check(case, &on.label(got.get(k)), &Labelled::reference(truth), tolerance::MODEL);
                }
                let last = batch.len() - 1;
                let exact = run.linearize(Mode::Exact).jvp(&batch[last..]).expect("fits").into_single();
                assert!(relative(&wide(got.get(last)), &wide(&exact)) > 1e-3, "{mode:?} does nothing");
            }
        }
    }
}

/// Sensitivities of a difference of logits, including the final norm.
#[test]
fn sensitivities_in_each_mode() {
    let mut worst = Worst::new("modes.vjp");
    let j = Observable::logit_diff(4, 21, 3);
    let read = |trace: &Trace<Dual<f64>>| (trace.logits_at(3)[4] - trace.logits_at(3)[21]).tangent;
    for mode in FROZEN {
        let twin = Twin::small().in_mode(mode);
        for edits in [&lists(&twin, TOKENS.len())[0], &lists(&twin, TOKENS.len())[8]] {
            let truth = Labelled::reference(gradient(&twin, edits, &read));
            for on in subjects() {
                let run = prepared(&twin, on, &TOKENS, edits);
                let chi = run.linearize(mode).gradient(&j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                worst.check(format!("{mode:?} {edits:?}"), &on.label(&chi), &truth, tolerance::MODEL);
            }
        }
    }
}

/// The second prompt is longer than an attention tile.
#[test]
fn each_mode_has_its_transpose() {
    let mut worst = Worst::new("modes.adjoint");
    for (twin, tokens) in cases() {
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &[]);
            for mode in Mode::ALL {
                let certificate = adjoint(&run.linearize(mode), 3).expect("runs");
                worst.within(format!("{mode:?}"), on.name(), certificate.value, certificate.bound);
            }
        }
    }
}

/// With frozen norms, patterns and GELU ratios, the run is a linear map of its embeddings and biases. Applied to them,
/// the map gives the run itself, at every level and at the logits.
#[test]
fn the_relevance_rules_reconstruct_the_run() {
    let mut worst = ["relp.field", "relp.logits", "relp.value"].map(Worst::new);
    let (twin, d, last) = (Twin::affine(7), 18, TOKENS.len() - 1);
    for on in subjects() {
        let run = prepared(&twin, on, &TOKENS, &[]);
        let (field, linear) = (run.field().expect("reads"), run.linearize(Mode::RelP));
        let embedded = field[..TOKENS.len() * d].chunks(d).enumerate();
        let mut sources: Vec<Source> =
            embedded.map(|(token, h)| Source { site: Site::ResidPre(0), token, vector: h.to_vec() }).collect();
        sources.extend(twin.constants(TOKENS.len()));
        let product = linear.jvp(std::slice::from_ref(&sources)).expect("fits").into_single();
        let apart = relative(&wide(&product), &wide(&field));
        worst[0].within("all levels", on.name(), apart, tolerance::MODEL);

        let h = product[product.len() - d..].to_vec();
        let logits = linear.logit_tangents(last, &[h]).expect("fits");
        let apart = relative(&wide(&logits), &wide(&run.logits_at(last).expect("reads")));
        worst[1].within("last token", on.name(), apart, tolerance::MODEL);

        // By the transpose: the contributions of all sources to J add up to J.
        let (j, mut sum, mut size) = (Observable::logit_diff(4, 21, last), 0.0, 0.0f64);
        let sites: Vec<Site> = sources.iter().map(|s| s.site).collect();
        let seeds = run.seeds(&j).expect("fits");
        let visit = &mut |chunk: resolvent_model::Chunk<'_>| {
            let Source { token, vector, .. } = &sources[chunk.site];
            let Some(row) = chunk.rows.chunks(vector.len()).nth(token - chunk.token) else { return };
            sum += dot(row, vector);
            size = size.max(dot(row, vector).abs());
        };
        linear.vjp_at(&[seeds], &sites, visit).expect("fits");
        let apart = (sum - run.value(&j).expect("reads")).abs() / size;
        worst[2].within("contributions", on.name(), apart, tolerance::MODEL);
    }
}

/// The reconstruction from the embeddings alone has an error in every mode, because this model has biases.
#[test]
fn reconstructions_are_reported() {
    let twin = Twin::small();
    for on in subjects() {
        let run = prepared(&twin, on, &TOKENS, &[]);
        let errors = Mode::ALL.map(|mode| {
            let result = reconstruction(&run, mode).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let error = result.array("error").expect("is there").data.clone();
            assert!(error[..TOKENS.len()].iter().all(|e| *e == 0.0), "h[0] is exact");
            let cosine = &result.array("cosine").expect("is there").data;
            assert!(cosine.iter().all(|c| (-1.0..=1.000_001).contains(c)), "{cosine:?}");
            error[error.len() - 1]
        });
        assert!(errors.iter().all(|e| e.is_finite() && *e > 1e-3), "{}: {errors:?}", on.name());
    }
}

#[test]
fn only_the_exact_mode_has_a_second_order() {
    let twin = Twin::small();
    let on = subjects()[0];
    let run = prepared(&twin, on, &TOKENS, &[]);
    let (j, s) = (Observable::logit(1, 0), [[source(&twin, Site::ResidPre(0), 0, &mut Random::new(1))]]);
    for mode in FROZEN {
        let linear = run.linearize(mode);
        assert_eq!(linear.mode(), mode);
        let errors = [
            linear.jet(&s).err().map(|e| e.to_string()),
            linear.along(&s, &j).err().map(|e| e.to_string()),
            linear.hvp(&s, &j).err().map(|e| e.to_string()),
        ];
        for error in errors {
            let error = error.expect("is refused");
            assert!(error.contains(&format!("{mode:?}")) && error.contains("use Mode::Exact"), "{error}");
        }
    }
}
