//! Embeddings, scales of norms and outputs of heads, against the reference: GPT-2 and every other family.

use resolvent_model::{Edit, Observable, Site, StreamNorm};
use resolvent_reference::{Site as Stage, Trace};
use resolvent_tests::{Golden, Labelled, Worst, subjects, tolerance};

use super::patterns::Both;

/// Returns scale and normalised rows by their formula, of rows `[T, d]`.
fn formula(rows: &[f64], d: usize, (centred, eps): (bool, f64)) -> [Vec<f64>; 2] {
    let (mut scales, mut all) = (Vec::new(), Vec::new());
    for row in rows.chunks(d) {
        let mean = if centred { row.iter().sum::<f64>() / d as f64 } else { 0.0 };
        let square = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / d as f64;
        let scale = (square + eps).sqrt();
        scales.push(scale);
        all.extend(row.iter().map(|x| (x - mean) / scale));
    }
    [scales, all]
}

#[test]
fn norms_have_their_scales_and_rows() {
    let mut worst = ["scale", "normalized"].map(|of| Worst::new(&format!("readouts.{of}")));
    let mut missing = 0;
    for (both, tokens) in Both::all() {
        let trace: Trace<f64> = both.run(&tokens, &[], None);
        let centred = both.subtracts_means();
        for on in subjects() {
            let model = both.on(on);
            let run = model.run(&tokens, &[]).expect("runs");
            let (sizes, form) = (*model.sizes(), (centred, model.architecture().eps()));
            let level = |l: usize| trace.field[l * tokens.len() * sizes.d..][..tokens.len() * sizes.d].to_vec();
            let mut read = vec![(StreamNorm::Final, level(sizes.layers))];
            for l in 0..sizes.layers {
                let mid = if model.architecture().is_parallel() { level(l) } else { trace.blocks[l].resid_mid.clone() };
                read.extend([(StreamNorm::Attention(l), level(l)), (StreamNorm::Mlp(l), mid)]);
            }
            for (norm, input) in read {
                assert_eq!(norm.to_string().parse::<StreamNorm>().ok(), Some(norm));
                if !model.has_norm(norm) {
                    let error = run.norm_scale(norm).expect_err("refused").to_string();
                    assert!(error.contains("no norm there"), "{error}");
                    missing += 1;
                    continue;
                }
                let [scale, rows] = formula(&input, sizes.d, form);
                let case = format!("{} {norm}", both.name());
                let got = run.norm_scale(norm).expect("finite");
                worst[0].check(&case, &on.label(&got), &Labelled::reference(scale), tolerance::MODEL);
                let got = run.normalized(norm).expect("finite");
                worst[1].check(&case, &on.label(&got), &Labelled::reference(rows), tolerance::MODEL);
            }
        }
    }
    assert!(missing > 0, "OLMo 2 has no norms before attention and MLP");
    assert!("blocks.1.ln3".parse::<StreamNorm>().is_err() && "ln_f".parse::<StreamNorm>().is_err());
}

/// Each head alone in the reference: what attention then adds, less its bias.
#[test]
fn outputs_of_heads_are_those_of_each_alone() {
    let mut worst = Worst::new("readouts.result");
    // Without a norm after the projection, attention adds up what its heads write.
    let plain = |both: &Both| {
        !["families/gemma2", "families/gemma3", "families/gemma3-wide", "families/olmo2", "families/olmo3"]
            .contains(&both.name())
    };
    for (both, tokens) in Both::all().into_iter().filter(|(both, _)| plain(both)) {
        let last = subjects().len();
        for on in subjects().into_iter().take(last) {
            let model = both.on(on);
            let (sizes, l) = (*model.sizes(), 1);
            let only = |head: Option<usize>| {
                both.hooked(&tokens, &mut |stage: Stage, x: &mut [f64]| {
                    if stage == Stage::Z(l) {
                        let row = sizes.heads * sizes.d_head;
                        let other = |i: &usize| head != Some(i % row / sizes.d_head);
                        (0..x.len()).filter(other).for_each(|i| x[i] = 0.0);
                    }
                })
                .blocks[l]
                    .attn_out
                    .clone()
            };
            let bias = only(None);
            let of_heads: Vec<Vec<f64>> = (0..sizes.heads).map(|h| only(Some(h))).collect();
            let mut want = Vec::new();
            for t in 0..tokens.len() {
                let row = |x: &[f64]| x[t * sizes.d..][..sizes.d].to_vec();
                want.extend(of_heads.iter().flat_map(|out| row(out).into_iter().zip(row(&bias)).map(|(a, b)| a - b)));
            }
            let got = model.run(&tokens, &[]).expect("runs").head_results(l).expect("finite");
            worst.check(both.name(), &on.label(&got), &Labelled::reference(want), tolerance::MODEL);
        }
    }
}

#[test]
fn embeddings_add_up_to_the_first_level() {
    let mut worst = Worst::new("readouts.embed");
    for (both, tokens) in Both::all() {
        for on in subjects() {
            let model = both.on(on);
            let (d, edit) = (model.sizes().d, Edit::ablate(Site::ResidPre(0), 1));
            let run = model.run(&tokens, &[edit]).expect("runs");
            let (words, places) = (run.token_embeddings().expect("read"), run.position_embeddings().expect("read"));
            assert_eq!(places.is_some(), ["gpt2", "families/gpt_neo"].contains(&both.name()), "{}", both.name());
            let zero = vec![0.0; words.len()];
            let sum = words.iter().zip(places.as_ref().unwrap_or(&zero)).map(|(a, b)| a + b);
            let sum: Vec<f32> = sum.collect();
            let trace = both.run::<f64>(&tokens, &[], None);
            // An edit of the stream does not change the embedding.
            assert!(run.field().expect("finite")[d..2 * d].iter().all(|x| *x == 0.0));
            worst.check(
                both.name(),
                &on.label(&sum),
                &Labelled::reference(trace.field[..sum.len()].to_vec()),
                tolerance::MODEL,
            );
        }
    }
}

/// A head's output is patched by its z; any vector is added to what attention adds.
#[test]
fn what_a_head_adds_is_edited_at_other_sites() {
    let both = Both::family(&Golden::load("families/llama"));
    let (model, tokens) = (both.0.on(subjects()[0]), both.1);
    let j = Observable::logit_diff(1, 4, tokens.len() - 1);
    let run = model.run_with(&tokens, &resolvent_model::RunOptions { sites: vec![Site::AttnOut(0)], edits: vec![] });
    let (run, sizes, t) = (run.expect("runs"), *model.sizes(), tokens.len() - 2);
    let result = run.head_results(0).expect("finite")[(t * sizes.heads + 1) * sizes.d..][..sizes.d].to_vec();
    let minus = result.iter().map(|x| -x).collect();
    let lists = [[Edit::ablate(Site::Z(0, 1), t)], [Edit::add(Site::AttnOut(0), t, minus)]];
    let values = run.values_under(&lists, &j).expect("runs");
    assert!(
        (values[0] - values[1]).abs() < 1e-5 && (values[0] - run.value(&j).expect("finite")).abs() > 1e-3,
        "{values:?}"
    );
}
