//! Captures and edits at every site, against the reference with the same edits in its hooks.

use resolvent_model::{Activation, Config, Edit, Model, Site, tiny};
use resolvent_tests::{Labelled, Random, Subject, Twin, Worst, subjects, tolerance};

use super::{change, changes, kinds, prepared};

/// Returns models of odd sizes, each with a prompt length. They cover every switch of the configuration, one token,
/// heads of 66 and 128, and more tokens than an attention tile has keys.
fn twins() -> Vec<(Twin, usize)> {
    let base = Config { n_positions: 80, ..tiny() };
    let exact = Activation::Gelu;
    let of = |config: Config, std: f32, tokens: usize| {
        let seed = (config.n_embd * 100 + tokens) as u64;
        (Twin::random(config, seed, std), tokens)
    };
    vec![
        of(Config { n_layer: 2, n_embd: 30, n_head: 3, n_inner: Some(37), vocab_size: 53, ..base.clone() }, 0.2, 9),
        of(
            Config {
                n_embd: 20,
                n_head: 5,
                n_inner: Some(50),
                vocab_size: 31,
                activation_function: exact,
                tie_word_embeddings: false,
                scale_attn_by_inverse_layer_idx: true,
                ..base.clone()
            },
            0.3,
            17,
        ),
        of(Config { n_layer: 1, n_embd: 66, n_head: 1, scale_attn_weights: false, ..base.clone() }, 0.08, 1),
        of(Config { n_layer: 1, n_embd: 128, n_head: 1, n_inner: Some(8), ..base.clone() }, 0.1, 5),
        of(Config { n_layer: 2, n_embd: 24, n_head: 2, layer_norm_epsilon: 1e-3, ..base }, 0.25, 70),
    ]
}

fn prompt(twin: &Twin, tokens: usize) -> Vec<u32> {
    Random::new(tokens as u64).ids(tokens, twin.config.vocab_size)
}

#[test]
fn every_site_is_captured() {
    let mut worst = Worst::new("capture");
    for (twin, tokens) in twins() {
        let tokens = prompt(&twin, tokens);
        let trace = twin.primal(&tokens, &[]);
        for on in subjects() {
            let run = prepared(&twin, on, &tokens, &[]);
            for site in twin.sites() {
                let got = run.capture(site).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                let want = Labelled::reference(twin.capture(&trace, site));
                worst.check(site, &on.label(&got), &want, tolerance::MODEL);
            }
        }
    }
}

/// Compares field and logits of an edited run with the reference.
fn check(worst: &mut [Worst; 2], twin: &Twin, tokens: &[u32], edits: &[Edit]) {
    let trace = twin.primal(tokens, edits);
    let truth = [trace.field, trace.logits].map(Labelled::reference);
    for on in subjects() {
        let run = twin.on(on).run(tokens, edits).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let got = [run.field(), run.logits()];
        for ((got, want), worst) in got.into_iter().zip(&truth).zip(&mut *worst) {
            let got = got.unwrap_or_else(|e| panic!("{}: {e}", on.name()));
            worst.check(format!("{edits:?}"), &on.label(&got), want, tolerance::MODEL);
        }
    }
}

#[test]
fn every_edit_at_every_site() {
    let mut worst = ["edited.field", "edited.logits"].map(Worst::new);
    let twin = Twin::small();
    let tokens = prompt(&twin, 6);
    let mut random = Random::new(8);
    for site in kinds(&twin) {
        for kind in 0..6 {
            let token = random.below(tokens.len());
            check(&mut worst, &twin, &tokens, &[change(&twin, site, token, (kind, &mut random))]);
        }
    }
}

#[test]
fn several_edits_at_once() {
    let mut worst = ["edits.field", "edits.logits"].map(Worst::new);
    for (twin, tokens) in twins() {
        let mut random = Random::new(tokens as u64 + 1);
        let tokens = prompt(&twin, tokens);
        for n in [3, 12] {
            check(&mut worst, &twin, &tokens, &changes(&twin, tokens.len(), n, &mut random));
        }
    }
}

/// h\[l\] has two names. Edits under both are applied in the given order.
#[test]
fn two_names_of_a_place_are_one_place() {
    let mut worst = ["names.field", "names.logits"].map(Worst::new);
    let twin = Twin::small();
    let (tokens, mut random) = (prompt(&twin, 5), Random::new(2));
    let [put, add] = [1, 0]
        .map(|kind| [Site::ResidPre(1), Site::ResidPost(0)].map(|site| change(&twin, site, 2, (kind, &mut random))));
    check(&mut worst, &twin, &tokens, &[put[0].clone(), add[1].clone()]);
    check(&mut worst, &twin, &tokens, &[add[1].clone(), put[0].clone()]);
    check(&mut worst, &twin, &tokens, &[add[0].clone(), put[1].clone(), add[1].clone()]);
}

/// An invalid edit is an error that names the site, and nothing runs.
#[test]
fn invalid_edits_are_refused() {
    let twin = Twin::small();
    let d = twin.config.n_embd;
    let on: &Subject = subjects()[0];
    let model: Model = twin.on(on);
    let refused = |edit: Edit| model.run(&[1, 2, 3], &[edit]).map(|_| ()).expect_err("does not fit").to_string();
    for (edit, message) in [
        (Edit::ablate(Site::ResidPre(2), 0), "blocks.2.hook_resid_pre: the model has blocks 0 to 1"),
        (Edit::ablate(Site::Z(1, 3), 0), "blocks.1.attn.hook_z[3]: the model has heads 0 to 2"),
        (Edit::ablate(Site::MlpOut(0), 3), "blocks.0.hook_mlp_out at token 3: the prompt has tokens 0 to 2"),
        (
            Edit::put(Site::Q(0, 0), 0, vec![0.0; d]),
            "blocks.0.attn.hook_q[0] is 6 wide, but the given vector has 18 elements",
        ),
        (
            Edit::scale(Site::Q(0, 0), 0, f32::NAN),
            "blocks.0.attn.hook_q[0] at token 0: the factor is NaN; give a finite one",
        ),
        (
            Edit::add(Site::ResidMid(0), 1, [vec![0.0; d - 1], vec![f32::INFINITY]].concat()),
            "blocks.0.hook_resid_mid at token 1: element 17 of the vector is inf; give a finite vector, or a smaller amplitude or goal",
        ),
    ] {
        assert_eq!(refused(edit), message);
    }
    let run = model.run(&[1, 2, 3], &[]).expect("runs");
    let fused = run.capture(Site::AttnOut(1)).expect_err("was not asked for").to_string();
    assert!(fused.contains("RunOptions::sites"), "{fused}");
}
