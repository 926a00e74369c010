//! Modes of a linearisation in every family: gates, rotary embedding, norms before and after, parallel blocks.

use resolvent_field::{adjoint, reconstruction};
use resolvent_model::Mode;
use resolvent_reference::Site as Stage;
use resolvent_reference::derivative::{self, jvp};
use resolvent_reference::ops::Frozen;
use resolvent_tests::truth::{relative, wide};
use resolvent_tests::{Golden, Labelled, Worst, subjects, tolerance};

use super::patterns::Both;

/// The modes, with what they freeze in the reference.
const MODES: [(Mode, Frozen); 4] = [
    (Mode::FrozenNorm, Frozen { norm: true, pattern: false, ratio: false }),
    (Mode::FrozenAttention, Frozen { norm: false, pattern: true, ratio: false }),
    (Mode::Frozen, Frozen { norm: true, pattern: true, ratio: false }),
    (Mode::RelP, Frozen { norm: true, pattern: true, ratio: true }),
];

/// Each mode has the tangents of the reference with the same frozen factors, which are not those of the exact mode, and
/// its transpose.
#[test]
fn every_family_in_each_mode() {
    let mut worst = ["jvp", "adjoint"].map(|of| Worst::new(&format!("families.modes, {of}")));
    for golden in Golden::families() {
        let (both, tokens) = Both::family(&golden);
        let ids: Vec<usize> = tokens.iter().map(|&id| id as usize).collect();
        let (source, (level, token)) = (golden.source(), golden.place());
        let vector = wide(&source.vector);
        let at = derivative::Source { site: Stage::ResidPre(level), token, vector: &vector };
        for (mode, frozen) in MODES {
            let Both::Family(_, mut family) = Both::family(&golden).0 else { unreachable!("a family") };
            family.features.frozen = frozen;
            let want = jvp(&*family, &ids, &[at]).field;
            for on in subjects() {
                let run = both.on(on).run(&tokens, &[]).expect("runs");
                let (linear, name) = (run.linearize(mode), format!("{} {mode:?}", golden.name));
                let got = linear.jvp(&[[source.clone()]]).expect("fits").into_single();
                worst[0].check(&name, &on.label(&got), &Labelled::reference(want.clone()), tolerance::DERIVATIVES);
                let exact = run.linearize(Mode::Exact).jvp(&[[source.clone()]]).expect("fits").into_single();
                assert!(relative(&wide(&got), &wide(&exact)) > 1e-4, "{name} on {} does nothing", on.name());
                let check = adjoint(&linear, 1).expect("runs");
                worst[1].within(&name, on.name(), check.value, check.bound);
            }
        }
    }
}

/// In RelP, a model without biases is a linear map of h[0]: every level is reconstructed.
#[test]
fn families_without_biases_are_reconstructed() {
    let (mut worst, mut count) = (Worst::new("families.relp, reconstruction"), 0);
    for golden in Golden::families() {
        let (both, tokens) = Both::family(&golden);
        for on in subjects() {
            let model = both.on(on);
            if model.architecture().tensors().iter().any(|(name, _)| name.ends_with(".bias")) {
                continue;
            }
            count += 1;
            let run = model.run(&tokens, &[]).expect("runs");
            let result = reconstruction(&run, Mode::RelP).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            let errors = &result.array("error").expect("is there").data;
            let largest = errors.iter().fold(0.0f32, |most, error| most.max(*error));
            worst.within(golden.name, on.name(), largest.into(), tolerance::DERIVATIVES);
            // Another mode leaves what it does not freeze.
            let exact = reconstruction(&run, Mode::Exact).expect("computes");
            let errors = &exact.array("error").expect("is there").data;
            assert!(errors.iter().any(|error| *error > 1e-2), "{}: the exact mode reconstructs too", golden.name);
        }
    }
    assert!(count >= 16, "the test itself found {count} models without biases");
}
