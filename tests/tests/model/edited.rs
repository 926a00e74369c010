//! Derivatives of edited runs, against the reference's runs on dual numbers.

use resolvent_field::adjoint;
use resolvent_model::{Edit, Mode, Observable, Run, RunOptions, Seed, Site, Source};
use resolvent_reference::{Dual, Trace};
use resolvent_tests::{Labelled, Random, Twin, Worst, subjects, tangents, tolerance};

use super::{changes, kinds, prepared, source};

/// Returns lists of edits for tangents and cotangents to pass: none, single kinds, several at one place, and random
/// ones.
pub(super) fn lists(twin: &Twin, tokens: usize) -> Vec<Vec<Edit>> {
    let mut random = Random::new(77);
    let d = twin.config.n_embd;
    let mut s = |site: Site| random.normals(site.width(&twin.sizes()));
    let (pre, mid, z) = (Site::ResidPre(1), Site::ResidMid(0), Site::Z(1, 2));
    let mut lists = vec![
        Vec::new(),
        vec![Edit::put(mid, 1, s(mid))],
        vec![Edit::scale(pre, 2, -0.7)],
        vec![Edit::project_out(pre, 2, s(pre))],
        // Projections at one place do not commute: a cotangent passes them in the opposite order.
        vec![Edit::project_out(pre, 2, s(pre)), Edit::project_out(pre, 2, s(pre))],
        vec![
            Edit::project_out(z, 1, s(z)),
            Edit::add(z, 1, s(z)),
            Edit::project_out(z, 1, s(z)),
            Edit::scale(z, 1, 1.5),
        ],
        vec![Edit::put(pre, 0, vec![0.5; d]), Edit::add(pre, 0, s(pre)), Edit::ablate(Site::Q(1, 0), 3)],
    ];
    lists.extend((0..4).map(|_| changes(twin, tokens, 9, &mut random)));
    lists
}

pub(super) const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

#[test]
fn tangents_of_edited_runs() {
    let mut worst = Worst::new("edited.jvp");
    let twin = Twin::small();
    for edits in lists(&twin, TOKENS.len()) {
        let mut random = Random::new(5);
        // One source of every kind, then all of them together.
        let mut batch: Vec<Vec<Source>> = Vec::new();
        for site in kinds(&twin) {
            let token = random.below(TOKENS.len());
            batch.push(vec![source(&twin, site, token, &mut random)]);
        }
        batch.push(batch.concat());
        let truth: Vec<Labelled> = batch
            .iter()
            .map(|sources| Labelled::reference(tangents(&twin.tangent(&TOKENS, &edits, sources).field)))
            .collect();
        for on in subjects() {
            let run = prepared(&twin, on, &TOKENS, &edits);
            let got = run.linearize(Mode::Exact).jvp(&batch).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            for (k, truth) in truth.iter().enumerate() {
                let case = format!("{edits:?} {:?}", batch[k]);
                if truth.values().iter().all(|x| *x == 0.0) {
                    assert!(got.get(k).iter().all(|x| *x == 0.0), "{case}");
                    continue;
                }
                worst.check(case, &on.label(got.get(k)), truth, tolerance::MODEL);
            }
        }
    }
}

/// Computes dJ/dh\[l, t\] for every level, token and component, each by a run on duals.
pub(super) fn gradient(twin: &Twin, edits: &[Edit], read: &dyn Fn(&Trace<Dual<f64>>) -> f64) -> Vec<f64> {
    let d = twin.config.n_embd;
    let mut field = Vec::new();
    for level in 0..=twin.config.n_layer {
        for token in 0..TOKENS.len() {
            for i in 0..d {
                let vector = (0..d).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
                let unit = Source { site: Site::level(level, &twin.sizes()), token, vector };
                field.push(read(&twin.tangent(&TOKENS, edits, &[unit])));
            }
        }
    }
    field
}

#[test]
fn sensitivities_of_edited_runs() {
    let mut worst = Worst::new("edited.vjp");
    let twin = Twin::small();
    let j = Observable::logit_diff(4, 21, 3);
    for edits in lists(&twin, TOKENS.len()) {
        let read = |trace: &Trace<Dual<f64>>| {
            let logits = trace.logits_at(3);
            (logits[4] - logits[21]).tangent
        };
        let truth = Labelled::reference(gradient(&twin, &edits, &read));
        for on in subjects() {
            let run = prepared(&twin, on, &TOKENS, &edits);
            let chi = run.linearize(Mode::Exact).gradient(&j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            worst.check(format!("{edits:?}"), &on.label(&chi), &truth, tolerance::MODEL);
        }
    }
}

/// A cotangent with weighted seeds at several levels and several logits.
#[test]
fn seeds_at_levels_and_logits_together() {
    let mut worst = Worst::new("seeds.vjp");
    let twin = Twin::small();
    let mut random = Random::new(12);
    let field = |random: &mut Random, level: usize, token: usize| Seed::Field {
        level,
        token,
        vector: random.normals(twin.config.n_embd),
    };
    let seeds = vec![
        field(&mut random, 0, 3),
        field(&mut random, 1, 0),
        field(&mut random, 1, 4),
        field(&mut random, 2, 2),
        field(&mut random, 2, 2),
        Seed::Logit { position: 1, id: 7, weight: -1.5 },
        Seed::Logit { position: 4, id: 7, weight: 0.5 },
        Seed::Logit { position: 4, id: 0, weight: 2.0 },
        Seed::Logit { position: 4, id: 0, weight: 1.0 },
    ];
    let read = |trace: &Trace<Dual<f64>>| {
        let each = seeds.iter().map(|seed| match seed {
            Seed::Field { level, token, vector } => {
                trace.h(*level, *token).iter().zip(vector).map(|(h, &u)| h.tangent * f64::from(u)).sum()
            }
            Seed::Logit { position, id, weight } => {
                trace.logits_at(*position)[*id as usize].tangent * f64::from(*weight)
            }
            Seed::Observable(j) => panic!("{j} is not a seed of this test"),
        });
        each.sum()
    };
    for edits in [Vec::new(), vec![Edit::scale(Site::ResidPost(0), 0, 0.3), Edit::ablate(Site::MlpOut(1), 4)]] {
        let truth = Labelled::reference(gradient(&twin, &edits, &read));
        for on in subjects() {
            let run = prepared(&twin, on, &TOKENS, &edits);
            let chi = run.linearize(Mode::Exact).vjp(std::slice::from_ref(&seeds)).expect("fits");
            worst.check(format!("{edits:?}"), &on.label(chi.get(0)), &truth, tolerance::MODEL);
        }
    }
}

#[test]
fn edited_runs_satisfy_the_adjoint_identity() {
    let mut worst = Worst::new("edited.adjoint");
    let twin = Twin::small();
    for edits in lists(&twin, TOKENS.len()) {
        for on in subjects() {
            let run: Run = prepared(&twin, on, &TOKENS, &edits);
            for seed in 1..3 {
                let certificate = adjoint(&run.linearize(Mode::Exact), seed).expect("runs");
                worst.within(format!("{edits:?}"), on.name(), certificate.value, certificate.bound);
            }
        }
    }
}

/// If edits replace the last level at every token, the derivative is zero, and the check accepts it.
#[test]
fn a_run_with_a_replaced_last_level_has_a_derivative_of_zero() {
    let twin = Twin::small();
    let last = Site::ResidPost(1);
    let put = |token| Edit::put(last, token, vec![0.25; twin.config.n_embd]);
    for on in subjects() {
        let run = prepared(&twin, on, &[1, 2], &[put(0), put(1)]);
        let certificate = adjoint(&run.linearize(Mode::Exact), 1).expect("runs");
        assert_eq!(certificate.value, 0.0, "{}", on.name());
    }
}

/// A row that is taken from another run gives the numbers of the same row put in place, whether it stays on the device
/// or comes from a run of another batch, and as an edit of a run itself.
#[test]
fn a_taken_row_is_the_row_itself() {
    let twin = Twin::small();
    let prompts: [&[u32]; 2] = [&[3, 14, 15, 9, 2], &[3, 7, 15, 11, 2]];
    let j = Observable::log_prob(4, 4);
    for on in subjects() {
        let model = twin.on(on);
        let runs = model.run_all(&prompts, &RunOptions::default()).expect("runs");
        let apart = model.run(prompts[0], &[]).expect("runs");
        assert!(runs[0].shares_batch(&runs[1]) && !apart.shares_batch(&runs[1]));
        for site in [Site::ResidPre(1), Site::Z(0, 1), Site::K(1, 0), Site::ResidPost(1)] {
            let width = site.width(&twin.sizes());
            let row = runs[0].capture(site).expect("reads")[3 * width..4 * width].to_vec();
            let put = Edit::put(site, 3, row);
            let here = Edit::take(site, 3, runs[0].row_on_device(site, 3).expect("is there"));
            let there = Edit::take(site, 3, apart.row_on_device(site, 3).expect("is there"));
            let values = runs[1].values_under(&[[put.clone()], [here.clone()], [there]], &j).expect("runs");
            assert_eq!(values[0], values[1], "{}: {site}", on.name());
            assert!((values[2] - values[0]).abs() < 1e-5, "{}: {site}: {values:?}", on.name());
            let own = model.run(prompts[1], &[here]).expect("runs").value(&j).expect("reads");
            assert!((own - values[0]).abs() < 1e-5, "{}: {site}: {own} instead of {}", on.name(), values[0]);
        }
        let wrong = Edit::take(Site::Z(0, 0), 3, runs[0].row_on_device(Site::Z(0, 1), 3).expect("is there"));
        let error = runs[1].values_under(&[[wrong]], &j).expect_err("another head").to_string();
        assert!(error.contains("the row to take is not a value of"), "{error}");
        assert!(runs[0].row_on_device(Site::ResidPre(0), 5).is_err());
    }
}
