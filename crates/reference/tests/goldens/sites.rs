//! Hooks, resumed runs and derivatives at every site, for one model with each feature of a block.

use resolvent_reference::derivative::{along, jet, jvp};
use resolvent_reference::{FamilyModel, Norm, Observable, Site, Source};

use crate::golden::Golden;

/// Fused heads and a parallel block; windows, norms everywhere and wide q; norms after the MLP only.
const NAMES: [&str; 3] = ["families/gpt_neox", "families/gemma3", "families/olmo2"];

fn models() -> [(Golden, FamilyModel); 3] {
    NAMES.map(|name| {
        let golden = Golden::load(name);
        let model = FamilyModel::new(&golden.config, golden.weights.clone());
        (golden, model)
    })
}

fn sites(block: usize) -> [Site; 12] {
    use Site::{AttnOut, K, MlpOut, MlpPost, MlpPre, Q, ResidMid, ResidPost, ResidPre, Result, V, Z};
    [ResidPre, Q, K, V, Z, Result, AttnOut, ResidMid, MlpPre, MlpPost, MlpOut, ResidPost].map(|site| site(block))
}

/// Returns the columns of a site.
fn width(model: &FamilyModel, site: Site) -> usize {
    let features = &model.features;
    match site {
        Site::Q(_) | Site::Z(_) => features.heads * features.head_width,
        Site::Result(_) => features.heads * features.width,
        Site::K(_) | Site::V(_) => features.kv_heads * features.head_width,
        Site::MlpPre(_) | Site::MlpPost(_) => {
            let down = model.weights.iter().find(|(name, _)| {
                name.contains("layers.0.mlp.d")
                    && (name.ends_with("down_proj.weight") || name.ends_with("4h_to_h.weight"))
            });
            down.expect("the last projection of an MLP").1.len() / features.width
        }
        Site::NormScale(_) => 1,
        _ => features.width,
    }
}

#[test]
fn the_hook_sees_every_site_once_and_in_order() {
    for (golden, model) in models() {
        let mut seen = Vec::new();
        let trace = model.forward(&golden.tokens, &mut |site, chunk: &mut [f64]| {
            let expected = match site {
                Site::Scores(.., query) | Site::Pattern(.., query) => query + 1,
                _ => golden.tokens.len() * width(&model, site),
            };
            assert_eq!(chunk.len(), expected, "{site:?}");
            seen.push(site);
        });
        // Between the values and z come the scores and the pattern of each query and head.
        let (tokens, heads) = (golden.tokens.len(), model.features.heads);
        let attention = |l: usize| {
            let each = (0..tokens).flat_map(move |t| (0..heads).map(move |head| (head, t)));
            each.flat_map(move |(head, t)| [Site::Scores(l, head, t), Site::Pattern(l, head, t)])
        };
        // Scale and rows of each norm come after what it reads.
        let [before_attention, _, before_mlp, _] = model.features.names.norms;
        let norm = |name: &str, norm: Norm| match name {
            "" => Vec::new(),
            _ => vec![Site::NormScale(norm), Site::Normalized(norm)],
        };
        let block = |l: usize| {
            let [first, before] = [sites(l)[..1].to_vec(), sites(l)[1..4].to_vec()];
            let [middle, after] = [sites(l)[4..8].to_vec(), sites(l)[8..].to_vec()];
            let [norm_1, norm_2] = [norm(before_attention, Norm::Attention(l)), norm(before_mlp, Norm::Mlp(l))];
            first.into_iter().chain(norm_1).chain(before).chain(attention(l)).chain(middle).chain(norm_2).chain(after)
        };
        let all = [Site::Embed].into_iter().chain((0..model.features.layers).flat_map(block));
        let all = all.chain(norm("norm", Norm::Final));
        assert_eq!(seen, all.collect::<Vec<Site>>());
        let block = &trace.blocks[1];
        for (i, next) in trace.h(2, 3).iter().enumerate() {
            let at = 3 * model.features.width + i;
            assert_eq!(*next, trace.h(1, 3)[i] + block.attn_out[at] + block.mlp_out[at], "the stream is a sum");
        }
    }
}

#[test]
fn resuming_from_any_layer_is_the_same_run() {
    for (golden, model) in models() {
        let (whole, tokens) = (model.forward::<f64>(&golden.tokens, &mut |_, _| {}), golden.tokens.len());
        for layer in 0..=model.features.layers {
            let known = whole.field[..(layer + 1) * tokens * model.features.width].to_vec();
            let resumed = model.resume(known, tokens, &mut |_, _| {});
            assert_eq!((resumed.field, resumed.logits), (whole.field.clone(), whole.logits.clone()));
        }
    }
}

#[test]
fn derivatives_at_every_site_match_differences_of_finite_runs() {
    for (golden, model) in models() {
        let (tokens, j) = (&golden.tokens, golden.observable());
        for site in (0..2).flat_map(sites) {
            let vector: Vec<f64> = (0..width(&model, site)).map(|i| (12.9898 * i as f64).sin() * 0.3).collect();
            // The last token, because in the last block no other row of the queries reaches J.
            let source = [Source { site, token: tokens.len() - 1, vector: &vector }];
            let [value, first, second] = jet(&model, tokens, &source, &j);
            assert!(first != 0.0, "{site:?}: zero against zero proves nothing");
            let at = |steps: f64| along(&model, tokens, &source, steps * 1e-3, &j);
            let (near, far) = ([at(-1.0), at(1.0)], [at(-2.0), at(2.0)]);
            close(first, (8.0 * (near[1] - near[0]) - (far[1] - far[0])) / 12e-3, 1e-8, site);
            close(second, (16.0 * (near[0] + near[1]) - far[0] - far[1] - 30.0 * value) / 12e-6, 1e-6, site);
            close(j.read(&jvp(&model, tokens, &source).trace).tangent, first, 1e-13, site);
        }
    }
}

#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64, site: Site) {
    assert!((found - expected).abs() <= tolerance * (1.0 + expected.abs()), "{site:?}: {found:e} is not {expected:e}");
}
