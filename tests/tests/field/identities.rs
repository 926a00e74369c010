//! Identities of the derivatives: they hold for every family that has the features, and fail where the features differ.

use resolvent_field::{Identity, Labelled, identities, sensitivity};
use resolvent_model::{Edit, Mode, Model, Observable, Run, Site};
use resolvent_tests::{Golden, subjects};

use super::array;

/// Returns the names of the identities that hold, and checks that the metadata give a reason for the others.
fn passed(result: &Labelled) -> Vec<&'static str> {
    let figures = array(result, "figures");
    for (identity, figure) in Identity::ALL.iter().zip(figures) {
        let reason = result.metadata.contains_key(&format!("left_out.{identity}"));
        assert_eq!(reason, figure < 0.0, "{identity}: {figure}");
    }
    result.certificates.iter().map(|check| check.name).collect()
}

fn with_run(golden: &Golden, work: &mut dyn FnMut(&Run)) {
    for on in subjects() {
        let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
        work(&model.run(&golden.tokens, &[]).expect("runs"));
    }
}

/// The identities of every family, by the features of its golden models.
#[test]
fn identities_hold_for_every_family() {
    let layer = &["shift", "constant", "keys", "gauge", "final_scale"][..];
    let rms = &["keys", "gauge", "final_scale", "branch_scale"][..];
    let normed = &["keys", "gauge", "final_scale", "qk_scale", "branch_scale"][..];
    for golden in Golden::all().into_iter().chain(Golden::families()) {
        let want = match golden.name.trim_start_matches("families/") {
            name if name.starts_with("tiny") || name.starts_with("gpt_neo") => layer,
            "cohere" | "cohere2" | "starcoder2" | "stablelm" | "stablelm-seq" | "olmo" => layer,
            // Norms before and behind the branches; before them only; behind them only.
            name if name.starts_with("gemma3") => {
                &["keys", "gauge", "final_scale", "qk_scale", "branch_scale", "output_scale"]
            }
            "qwen3" => normed,
            "olmo2" | "olmo3" => &["keys", "gauge", "final_scale", "qk_scale", "output_scale"],
            "gemma2" => &["gauge", "final_scale", "branch_scale", "output_scale"],
            _ => rms,
        };
        with_run(&golden, &mut |run| {
            let curved = Observable::log_prob(2, golden.tokens.len() - 1) - Observable::entropy(1);
            for j in [golden.observable(), curved] {
                let got = identities(run, &j).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
                assert_eq!(passed(&got), want, "{}", golden.name);
                let far: Vec<_> = got.certificates.iter().filter(|c| c.value > 0.25 * c.bound).collect();
                assert!(far.is_empty(), "{}: {far:?}", golden.name);
                let chi = sensitivity(run, &j).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
                let shifts = chi.certificates.iter().any(|check| check.name == "shift");
                assert_eq!(shifts, want.contains(&"shift"), "{}", golden.name);
            }
        });
    }
}

#[test]
fn identities_hold_for_embedded_models() {
    for on in subjects() {
        let model = Model::named(on.device(), "atlas-micro").expect("opens");
        let run = model.run(&[5, 9, 12, 7, 3, 9, 40, 2], &[]).expect("runs");
        let got = identities(&run, &Observable::logit_diff(7, 11, 7)).expect("holds");
        assert_eq!(passed(&got), ["shift", "constant", "keys", "gauge", "final_scale"]);
    }
}

/// Each check fails where its identity does not hold, far beyond its bound.
#[test]
fn identities_fail_without_their_features() {
    let fails = |identity: Identity, run: &Run, j: &Observable, mode: Mode| {
        let check = identity.check(run, j, mode).expect("computes");
        assert!(!check.passes() && check.value > 10.0 * check.bound, "{}: {check}", run.model().name());
    };
    let holds = |identity: Identity, run: &Run, j: &Observable, mode: Mode| {
        let check = identity.check(run, j, mode).expect("computes");
        assert!(check.passes(), "{}: {check}", run.model().name());
    };
    // Without a mean that is subtracted, and with an observable that a shift changes.
    let llama = Golden::load("families/llama");
    with_run(&llama, &mut |run| {
        fails(Identity::Shift, run, &llama.observable(), Mode::Exact);
        fails(Identity::Constant, run, &llama.observable(), Mode::Exact);
    });
    let tiny = Golden::load("tiny-odd");
    with_run(&tiny, &mut |run| {
        let (d, last) = (run.model().sizes().d, run.model().sizes().layers);
        let ones = |level| Observable::projection(level, 2, vec![1.0; d]);
        assert!(Identity::Shift.fails_because(run, &ones(1)).is_some());
        fails(Identity::Shift, run, &ones(1), Mode::Exact);
        // Past the final norm, the size of the last level counts. So it does if the scale of the norm is frozen.
        assert!(Identity::FinalScale.fails_because(run, &ones(1)).is_none());
        let first = Observable::projection(last, 2, (0..d).map(|i| f32::from(u8::from(i == 0))).collect());
        assert!(Identity::FinalScale.fails_because(run, &first).is_some());
        fails(Identity::FinalScale, run, &first, Mode::Exact);
        fails(Identity::FinalScale, run, &tiny.observable(), Mode::FrozenNorm);
        // The mean is subtracted in every mode.
        holds(Identity::Shift, run, &tiny.observable(), Mode::RelP);
        // A projection of the stream in the run keeps no constant vector.
        let away: Vec<f32> = (0..d).map(|i| f32::from(u8::from(i == 0))).collect();
        let edited = run.model().run(run.tokens(), &[Edit::project_out(Site::ResidPre(1), 1, away)]).expect("runs");
        assert!(Identity::Constant.fails_because(&edited, &tiny.observable()).is_some());
        fails(Identity::Constant, &edited, &tiny.observable(), Mode::Exact);
    });
    // A soft-cap of scores does not ignore their shift, but sees only products of queries and keys.
    let gemma = Golden::load("families/gemma2");
    with_run(&gemma, &mut |run| {
        fails(Identity::Keys, run, &gemma.observable(), Mode::Exact);
        holds(Identity::Gauge, run, &gemma.observable(), Mode::Exact);
    });
    // The size of queries counts if the scale of their norm is frozen.
    for name in ["families/qwen3", "families/olmo2"] {
        let golden = Golden::load(name);
        with_run(&golden, &mut |run| fails(Identity::QkScale, run, &golden.observable(), Mode::FrozenNorm));
    }
    // So does that of what branches read and compute, if the scale of the norm around them is frozen.
    for name in ["families/gemma2", "families/gemma3", "families/qwen2", "families/olmo2"] {
        let golden = Golden::load(name);
        let [reads, writes] = [name != "families/olmo2", name != "families/qwen2"];
        with_run(&golden, &mut |run| {
            for (identity, has) in [(Identity::BranchScale, reads), (Identity::OutputScale, writes)] {
                assert_eq!(identity.fails_because(run, &golden.observable()).is_none(), has, "{name} {identity}");
                if has {
                    fails(identity, run, &golden.observable(), Mode::FrozenNorm);
                }
            }
        });
    }
    // A branch that reads the stream as it is does not ignore its size; without a norm behind it, none can be checked.
    let olmo = Golden::load("families/olmo2");
    with_run(&olmo, &mut |run| fails(Identity::BranchScale, run, &olmo.observable(), Mode::Exact));
    with_run(&llama, &mut |run| {
        let none = Identity::OutputScale.check(run, &llama.observable(), Mode::Exact).expect_err("no norm").to_string();
        assert_eq!(none, "blocks.0.hook_attn_out: no norm follows it in this model");
        // Edits within a block change what the sums are of.
        let edited = run.model().run(run.tokens(), &[Edit::scale(Site::V(0, 0), 1, 0.0)]).expect("runs");
        assert!(Identity::BranchScale.fails_because(&edited, &llama.observable()).is_some());
    });
    with_run(&olmo, &mut |run| {
        let d = run.model().sizes().d;
        let edited = run.model().run(run.tokens(), &[Edit::add(Site::AttnOut(0), 1, vec![3.0; d])]).expect("runs");
        assert!(Identity::OutputScale.fails_because(&edited, &olmo.observable()).is_some());
    });
}
