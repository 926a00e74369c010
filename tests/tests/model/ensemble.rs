//! Several prompts in one pass: each run equals the run of its prompt alone, and so do all results computed from it.

use resolvent_model::{Edit, EditedRun, Mode, Observable, Run, RunOptions, Site, Source, values_of};
use resolvent_tests::truth::{relative, wide};
use resolvent_tests::{Random, Subject, Twin, Worst, subjects, tolerance};

use super::{change, changes};

fn prompts(twin: &Twin) -> Vec<Vec<u32>> {
    let mut random = Random::new(12);
    [3, 1, 7, 5].map(|n| random.ids(n, twin.config.vocab_size)).to_vec()
}

/// Runs all prompts together, and each alone.
fn both(twin: &Twin, on: &Subject, edits: &[Edit]) -> (Vec<Run>, Vec<Run>) {
    let model = twin.on(on);
    let options = RunOptions { edits: edits.to_vec(), sites: twin.sites() };
    let together = model.run_all(&prompts(twin), &options).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
    let one = |prompt: &Vec<u32>| model.run_with(prompt, &options).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
    let alone = prompts(twin).iter().map(one).collect();
    (together, alone)
}

#[test]
fn runs_of_a_batch_match_single_runs() {
    let mut worst =
        ["ensemble.field", "ensemble.logits", "ensemble.sites", "ensemble.jvp", "ensemble.vjp"].map(Worst::new);
    let twin = Twin::small();
    let mut random = Random::new(3);
    // Edits at token 0, which every prompt has.
    let edits = [change(&twin, Site::MlpOut(0), 0, (0, &mut random)), Edit::scale(Site::Q(1, 2), 0, 0.3)];
    for edits in [&[][..], &edits] {
        for on in subjects() {
            let (together, alone) = both(&twin, on, edits);
            assert_eq!(together.len(), prompts(&twin).len());
            for (i, (a, b)) in together.iter().zip(&alone).enumerate() {
                assert_eq!((a.tokens(), a.edits()), (b.tokens(), b.edits()));
                let same = |worst: &mut Worst, a: Vec<f32>, b: Vec<f32>| {
                    worst.within(i, on.name(), relative(&wide(&a), &wide(&b)), tolerance::BATCH);
                };
                let [field, logits, sites, jvp, vjp] = &mut worst;
                same(field, a.field().expect("runs"), b.field().expect("runs"));
                same(logits, a.logits().expect("runs"), b.logits().expect("runs"));
                for site in twin.sites() {
                    same(sites, a.capture(site).expect("captured"), b.capture(site).expect("captured"));
                }
                let last = a.tokens().len() - 1;
                let source = Source { site: Site::ResidMid(0), token: last / 2, vector: random.normals(18) };
                let response = |run: &Run| run.linearize(Mode::Exact).jvp(&[[source.clone()]]);
                same(jvp, response(a).expect("fits").into_single(), response(b).expect("fits").into_single());
                for j in [Observable::logit_diff(1, 2, last), Observable::log_prob(3, last)] {
                    let chi = |run: &Run| run.linearize(Mode::Exact).gradient(&j).expect("fits");
                    same(vjp, chi(a), chi(b));
                }
            }
        }
    }
}

/// Edited runs of several base runs, with an observable each, match those of each base run alone.
#[test]
fn a_sweep_over_several_prompts() {
    let mut worst = Worst::new("ensemble.sweep");
    let twin = Twin::small();
    for on in subjects() {
        let (together, alone) = both(&twin, on, &[]);
        let mut random = Random::new(4);
        let mut cases: Vec<(usize, Vec<Edit>)> = Vec::new();
        for n in 0..40 {
            let prompt = n % together.len();
            cases.push((prompt, changes(&twin, together[prompt].tokens().len(), 1 + n % 4, &mut random)));
        }
        let observables: Vec<Observable> = together
            .iter()
            .enumerate()
            .map(|(i, run)| match (i, run.tokens().len() - 1) {
                (0, last) => Observable::logit_diff(1, 2, last),
                (1, last) => Observable::log_prob(7, last) - Observable::entropy(last / 2),
                (2, last) => Observable::projection(1, last, random.normals(18)),
                (_, last) => Observable::logit(4, last / 2),
            })
            .collect();
        let of = |runs: &[Run]| {
            let copy = |(prompt, edits): &(usize, Vec<Edit>)| -> (usize, Vec<Edit>) { (*prompt, edits.clone()) };
            let owned: Vec<(usize, Vec<Edit>)> = cases.iter().map(copy).collect();
            let edited: Vec<EditedRun<'_>> = owned
                .iter()
                .map(|(p, edits)| EditedRun { run: &runs[*p], edits, observable: &observables[*p] })
                .collect();
            values_of(&edited).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
        };
        let (got, want) = (of(&together), of(&alone));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let single = alone[cases[i].0].values_under(&[&cases[i].1], &observables[cases[i].0]).expect("fits");
            let size = want.abs().max(1.0);
            worst.within(i, on.name(), (got - want).abs() / size, tolerance::ALONE);
            worst.within(i, on.name(), (got - single[0]).abs() / size, tolerance::ALONE);
        }
    }
}

/// Prompts that do not fit one pass are run in several passes, with the same results.
#[test]
fn a_large_batch_is_split() {
    let twin = Twin::small();
    for on in subjects() {
        let small = on.again(resolvent_engine::Options { batch_bytes: 40_000, ..Default::default() });
        let ((whole, _), (split, _)) = (both(&twin, on, &[]), both(&twin, &small, &[]));
        for (a, b) in whole.iter().zip(&split) {
            let error = relative(&wide(&a.field().expect("runs")), &wide(&b.field().expect("runs")));
            assert!(error <= tolerance::BATCH, "{}: {error}", on.name());
        }
    }
}
