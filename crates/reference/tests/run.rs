//! Tests runs of a small random model: hooks, edits, and derivatives at every site.

use resolvent_reference::derivative::{along, gradient, jet, jvp};
use resolvent_reference::ops::{self, Edit, Frozen, GeluForm};
use resolvent_reference::{Config, Gpt2, LogProbability, Logit, Norm, Observable, Projection, Site, Source, Trace};

const TOKENS: [usize; 5] = [3, 1, 4, 1, 6];

const CONFIG: Config = Config {
    n_layer: 2,
    n_embd: 6,
    n_head: 2,
    n_inner: 10,
    vocab: 7,
    n_positions: 5,
    eps: 1e-5,
    activation: GeluForm::Tanh,
    frozen: Frozen { norm: false, pattern: false, ratio: false },
    scale_attn_weights: true,
    scale_attn_by_inverse_layer_idx: false,
};

/// Returns fixed numbers of about unit size, different for every name.
fn numbers(name: &str, len: usize) -> Vec<f64> {
    let seed = name.bytes().fold(7.0, |sum: f64, b| (sum * 1.37 + f64::from(b)) % 1000.0);
    (0..len).map(|i| (seed + 12.9898 * i as f64).sin() * 1.3).collect()
}

fn model(config: Config) -> Gpt2<f64> {
    let (d, inner) = (config.n_embd, config.n_inner);
    let (vocab, positions) = (config.vocab, config.n_positions);
    Gpt2::new(config, |name| {
        let is = |end: &str| name.ends_with(end);
        let len = match name {
            "wte.weight" | "lm_head.weight" => vocab * d,
            "wpe.weight" => positions * d,
            _ if is("c_attn.weight") => d * 3 * d,
            _ if is("c_attn.bias") => 3 * d,
            _ if is("attn.c_proj.weight") => d * d,
            _ if is("c_fc.weight") || is("mlp.c_proj.weight") => d * inner,
            _ if is("c_fc.bias") => inner,
            _ => d,
        };
        numbers(name, len)
    })
}

fn base(model: &Gpt2<f64>) -> Trace<f64> {
    model.forward(&TOKENS, &mut |_, _| {})
}

fn sites(block: usize) -> [Site; 12] {
    use Site::{AttnOut, K, MlpOut, MlpPost, MlpPre, Q, ResidMid, ResidPost, ResidPre, Result, V, Z};
    [ResidPre, Q, K, V, Z, Result, AttnOut, ResidMid, MlpPre, MlpPost, MlpOut, ResidPost].map(|site| site(block))
}

const J: Logit = Logit { target: 2, against: Some(5), position: 4 };

#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance * (1.0 + expected.abs()), "{found:e} is not {expected:e}");
}

#[test]
fn the_hook_sees_every_site_once_and_in_order() {
    let model = model(CONFIG);
    let (mut seen, mut visited, mut of_keys, mut of_norms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let trace = model.forward(&TOKENS, &mut |site, chunk: &mut [f64]| match site {
        Site::Scores(..) | Site::Pattern(..) => {
            assert_eq!(seen.last(), Some(&Site::V(site.block())), "they come between the values and z");
            of_keys.push((site, chunk.len()));
        }
        Site::NormScale(_) | Site::Normalized(_) => of_norms.push((seen.last().copied(), site, chunk.len())),
        _ => {
            seen.push(site);
            visited.push(chunk.to_vec());
        }
    });
    assert_eq!(seen, [vec![Site::Embed, Site::PosEmbed], sites(0).to_vec(), sites(1).to_vec()].concat());
    let mut expected = Vec::new();
    for (l, t) in (0..2).flat_map(|l| (0..TOKENS.len()).map(move |t| (l, t))) {
        for head in 0..CONFIG.n_head {
            expected.extend([Site::Scores(l, head, t), Site::Pattern(l, head, t)].map(|site| (site, t + 1)));
        }
    }
    assert_eq!(of_keys, expected);
    let (tokens, d) = (TOKENS.len(), CONFIG.n_embd);
    let before = |l| [(Site::ResidPre(l), Norm::Attention(l)), (Site::ResidMid(l), Norm::Mlp(l))];
    let before = (0..2).flat_map(before).chain([(Site::ResidPost(1), Norm::Final)]);
    let both = |(after, norm)| {
        [(Site::NormScale(norm), tokens), (Site::Normalized(norm), tokens * d)].map(|(site, n)| (Some(after), site, n))
    };
    assert_eq!(of_norms, before.flat_map(both).collect::<Vec<_>>());
    assert_eq!(visited[13], visited[14], "resid_post and the next resid_pre are the same rows");
    let chunk = TOKENS.len() * CONFIG.n_embd;
    assert_eq!(trace.field, [&visited[2], &visited[13], &visited[25]].map(Vec::as_slice).concat());
    assert_eq!(trace.embeddings[..], visited[..2]);
    assert_eq!(ops::add(&visited[0], &visited[1]), visited[2]);
    let block = &trace.blocks[1];
    let inside = [&block.q, &block.k, &block.v, &block.z, &block.results, &block.attn_out, &block.resid_mid];
    let hidden = [&block.mlp_pre, &block.mlp_post, &block.mlp_out];
    assert!(inside.into_iter().chain(hidden).eq(&visited[15..25]), "the trace contains what the hook received");
    assert_eq!(trace.h(1, 2), &trace.field[chunk + 2 * 6..][..6]);
    assert_eq!(trace.logits.len(), TOKENS.len() * CONFIG.vocab);
}

#[test]
fn resuming_from_any_layer_is_the_same_run() {
    let model = model(CONFIG);
    let whole = base(&model);
    for layer in 0..=CONFIG.n_layer {
        let known = whole.field[..(layer + 1) * TOKENS.len() * CONFIG.n_embd].to_vec();
        let resumed = model.resume(known, TOKENS.len(), &mut |_, _| {});
        assert_eq!(resumed.field, whole.field);
        assert_eq!(resumed.logits, whole.logits);
        assert_eq!(resumed.blocks.len(), CONFIG.n_layer - layer);
    }
}

#[test]
fn derivatives_at_every_site_match_differences_of_finite_runs() {
    let model = model(CONFIG);
    let norms = [Norm::Attention(0), Norm::Mlp(1), Norm::Final];
    let norms = norms.iter().flat_map(|norm| [Site::NormScale(*norm), Site::Normalized(*norm)]).collect();
    for site in [vec![Site::Embed, Site::PosEmbed], sites(0).to_vec(), sites(1).to_vec(), norms].concat() {
        let width = match site {
            Site::NormScale(_) => 1,
            Site::MlpPre(_) | Site::MlpPost(_) => CONFIG.n_inner,
            Site::Result(_) => CONFIG.n_head * CONFIG.n_embd,
            _ => CONFIG.n_embd,
        };
        let vector = numbers("source", width);
        // The source is at the last token, because in the last block no other row of the queries reaches J.
        let source = [Source { site, token: 4, vector: &vector }];
        let [value, first, second] = jet(&model, &TOKENS, &source, &J);
        assert_eq!(value, J.read(&base(&model)), "{site:?}");
        assert!(first != 0.0, "{site:?}: zero against zero proves nothing");

        let h = 1e-3;
        let at = |steps: f64| along(&model, &TOKENS, &source, steps * h, &J);
        let (near, far) = ([at(-1.0), at(1.0)], [at(-2.0), at(2.0)]);
        close(first, (8.0 * (near[1] - near[0]) - (far[1] - far[0])) / (12.0 * h), 1e-8);
        close(second, (16.0 * (near[0] + near[1]) - far[0] - far[1] - 30.0 * value) / (12.0 * h * h), 1e-6);

        let response = jvp(&model, &TOKENS, &source);
        close(J.read(&response.trace).tangent, first, 1e-14);
        let [target, against] = [J.target, 5].map(|v| response.logits[4 * CONFIG.vocab + v]);
        close(target - against, first, 1e-14);
    }
}

#[test]
fn the_response_is_linear_causal_and_starts_with_the_source() {
    let model = model(CONFIG);
    let (a, b) = (numbers("a", 6), numbers("b", 6));
    let sources =
        [Source { site: Site::ResidPre(1), token: 2, vector: &a }, Source { site: Site::V(1), token: 3, vector: &b }];
    let both = jvp(&model, &TOKENS, &sources).field;
    let [one, other] = [0, 1].map(|i| jvp(&model, &TOKENS, &sources[i..=i]).field);
    for ((both, one), other) in both.iter().zip(&one).zip(&other) {
        close(*both, one + other, 1e-13);
    }
    for (i, &x) in one.iter().enumerate() {
        let (layer, token) = (i / 30, i / 6 % 5);
        match layer {
            0 => assert_eq!(x, 0.0, "below the source"),
            1 if token == 2 => assert_eq!(x, a[i % 6], "the source itself"),
            1 => assert_eq!(x, 0.0, "beside the source"),
            _ => assert_eq!(x != 0.0, token >= 2, "layer {layer}, token {token}: {x:e}"),
        }
    }
    let stream = Source { site: Site::ResidPost(0), ..sources[0] };
    assert_eq!(jvp(&model, &TOKENS, &[stream]).field, one, "resid_post(0) is resid_pre(1)");
}

#[test]
fn gradient_rows_agree_with_responses() {
    let model = model(CONFIG);
    let run = base(&model);
    let vector = numbers("direction", 6);
    for layer in 0..CONFIG.n_layer {
        let source = [Source { site: Site::ResidPre(layer), token: 1, vector: &vector }];
        let row = gradient(&model, &run, layer, 1, &J);
        let inner: f64 = row.iter().zip(&vector).map(|(g, v)| g * v).sum();
        close(inner, jet(&model, &TOKENS, &source, &J)[1], 1e-13);
    }
    // At the last level, the gradient of a projection is its direction in its own row, and zero in other rows.
    let projection = Projection { layer: 2, token: 3, direction: &vector };
    assert_eq!(gradient(&model, &run, 2, 3, &projection), vector);
    assert_eq!(gradient(&model, &run, 2, 1, &projection), [0.0; 6]);
}

#[test]
fn log_probabilities_add_up_to_one() {
    let run = base(&model(CONFIG));
    let total: f64 = (0..CONFIG.vocab).map(|target| LogProbability { target, position: 2 }.read(&run).exp()).sum();
    close(total, 1.0, 1e-15);
    let [a, b] = [2, 5].map(|target| LogProbability { target, position: 4 }.read(&run));
    close(a - b, J.read(&run), 1e-14);
}

#[test]
fn an_edit_of_one_head_reaches_the_stream_through_its_rows_of_the_projection() {
    let model = model(CONFIG);
    let run = base(&model);
    let (head, token) = (CONFIG.heads(0).columns(1), 2);
    let ablated = model.forward(&TOKENS, &mut |site, chunk| {
        if site == Site::Z(0) {
            ops::splice(chunk, 6, token, head.clone(), Edit::Scale(0.0));
        }
    });
    for o in 0..6 {
        let lost: f64 = head
            .clone()
            .map(|i| run.blocks[0].z[token * 6 + i] * model.weights.blocks[0].attn_proj.weight[i * 6 + o])
            .sum();
        let change = ablated.blocks[0].attn_out[token * 6 + o] - run.blocks[0].attn_out[token * 6 + o];
        close(change, -lost, 1e-14);
    }
    assert_eq!(run.logits[..2 * CONFIG.vocab], ablated.logits[..2 * CONFIG.vocab], "earlier tokens do not change");
    assert_ne!(run.logits_at(2), ablated.logits_at(2));
}

#[test]
fn score_switches_scale_the_scores() {
    // Unscaled scores are those of sqrt(d_head) times larger queries. A division by l + 1 scales block 1 by 1/2.
    let run = |config: Config, factor: [f64; 2]| {
        model(config)
            .forward(&TOKENS, &mut |site, chunk| {
                if let Site::Q(l) = site {
                    chunk.iter_mut().for_each(|q| *q *= factor[l]);
                }
            })
            .logits
    };
    let unscaled = run(Config { scale_attn_weights: false, ..CONFIG }, [1.0; 2]);
    let by_layer = run(Config { scale_attn_by_inverse_layer_idx: true, ..CONFIG }, [1.0; 2]);
    let root = 3.0_f64.sqrt();
    for (found, factor) in [(unscaled, [root; 2]), (by_layer, [1.0, 0.5])] {
        for (found, expected) in found.iter().zip(run(CONFIG, factor)) {
            close(*found, expected, 1e-13);
        }
    }
}

#[test]
fn single_precision_is_the_same_model_less_exactly() {
    let model = model(CONFIG);
    let exact = base(&model);
    let single = model.lift::<f32>().forward(&TOKENS, &mut |_, _| {});
    assert!(single.logits.iter().zip(&exact.logits).any(|(&s, &e)| f64::from(s) != e));
    for (&s, &e) in single.logits.iter().zip(&exact.logits) {
        close(f64::from(s), e, 1e-4);
    }
}

#[test]
#[should_panic(expected = "ln_f.bias: 5 values, not [1, 6]")]
fn a_weight_of_the_wrong_size_is_named() {
    let good = model(CONFIG);
    let lengths = |name: &str| match name {
        "ln_f.bias" => 5,
        "wte.weight" | "lm_head.weight" => good.weights.wte.len(),
        "wpe.weight" => good.weights.wpe.len(),
        "ln_f.weight" => 6,
        other => panic!("{other} belongs to a block, and there is none"),
    };
    let _ = Gpt2::<f64>::new(Config { n_layer: 0, ..CONFIG }, |name| vec![0.0; lengths(name)]);
}
