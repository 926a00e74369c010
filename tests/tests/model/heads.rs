//! Every kind of observable under the heads of all families, capped logits included, against duals of duals in f64.

use resolvent_model::{Distribution, Mode, Observable};
use resolvent_reference::derivative::{self, jet};
use resolvent_reference::{Scalar, Site as Stage, Trace};
use resolvent_tests::truth::{inner, wide};
use resolvent_tests::{Golden, Worst, observed, subjects, tolerance};

use super::patterns::Both;

/// An observable of the model, read from the reference.
struct Read<'a>(&'a Observable);

impl resolvent_reference::Observable for Read<'_> {
    fn read<S: Scalar>(&self, trace: &Trace<S>) -> S {
        observed::read(self.0, trace)
    }
}

/// The kinds of observables at the last token, in a field of width d.
fn kinds(base: &[f32], tokens: &[u32], d: usize) -> [(&'static str, Observable); 8] {
    let last = tokens.len() - 1;
    let base = || Distribution::of(base);
    [
        ("logit", Observable::logit_diff(3, 7, last)),
        ("log_prob", Observable::log_prob(5, last)),
        ("prob", Observable::prob(&[2, 9], last)),
        ("entropy", Observable::entropy(last)),
        ("kl", Observable::kl(base(), last)),
        ("kl_from", Observable::kl_from(base(), last)),
        ("continuation", Observable::continuation(&[tokens[last], 1], last - 1)),
        ("projection", Observable::projection(1, last, (0..d).map(|i| (i as f32 * 0.7).sin()).collect())),
    ]
}

#[test]
fn every_kind_under_every_head() {
    let mut worst =
        [("values", tolerance::MODEL), ("first", tolerance::DERIVATIVES), ("second", tolerance::SECOND_OF_FAMILIES)]
            .map(|(of, bound)| (Worst::new(&format!("families.{of} of every kind of observable")), bound));
    for golden in Golden::families() {
        let (both, tokens) = Both::family(&golden);
        let Both::Family(_, family) = &both else { unreachable!("a family") };
        let ids: Vec<usize> = tokens.iter().map(|&id| id as usize).collect();
        let source = golden.source();
        let (level, token) = golden.place();
        let vector = wide(&source.vector);
        for on in subjects() {
            let model = both.on(on);
            let run = model.run(&tokens, &[]).expect("runs");
            let other = model.run(&golden.corrupted, &[]).expect("runs");
            let vocab = model.sizes().vocab;
            let base = &other.logits().expect("reads")[(golden.corrupted.len() - 1) * vocab..];
            for (kind, j) in kinds(base, &tokens, model.sizes().d) {
                let at = derivative::Source { site: Stage::ResidPre(level), token, vector: &vector };
                let want = jet(&**family, &ids, &[at], &Read(&j));
                // Values and derivatives may be small differences of larger parts, so they are compared beside usual
                // sizes.
                let d = source.vector.len();
                let chi = run.linearize(Mode::Exact).gradient(&j).expect("fits");
                let row = wide(&chi[(level * tokens.len() + token) * d..][..d]);
                let usual = (inner(&row, &row) * inner(&vector, &vector) / d as f64).sqrt();
                let along = run.linearize(Mode::Exact).along(&[[source.clone()]], &j).expect("fits")[0];
                let got = [run.value(&j).expect("reads"), along.first, along.second];
                let sizes = [0.1, usual.max(f64::MIN_POSITIVE), 1e-2];
                let compared = got.into_iter().zip(want).zip(sizes);
                for ((worst, bound), ((got, want), size)) in worst.iter_mut().zip(compared) {
                    let apart = (got - want).abs() / want.abs().max(size);
                    worst.within(format!("{}, {kind}", golden.name), on.name(), apart, *bound);
                }
            }
        }
    }
}
