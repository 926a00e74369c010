//! Dictionaries against SAELens, and the effects of their features against the reference.

use std::path::{Path, PathBuf};

use resolvent_field::{Code, Dictionary, FeatureOptions, Labelled, features};
use resolvent_model::{Config, Edit, Model, Observable, Run, RunOptions, Site, Source, gaussian, tiny};
use resolvent_tests::truth::wide;
use resolvent_tests::{Subject, Twin, observed, subjects};
use safetensors::SafeTensors;

use super::{array, close, truth};

pub(super) const CLEAN: [u32; 5] = [3, 14, 15, 9, 2];
pub(super) const CORRUPTED: [u32; 5] = [3, 8, 15, 4, 2];
const KINDS: [&str; 9] = [
    "standard",
    "layer_norm",
    "constant_norm",
    "jumprelu",
    "gated",
    "topk",
    "topk_rescaled",
    "transcoder",
    "skip_transcoder",
];

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dictionaries").join(kind)
}

pub(super) fn opened(kind: &str) -> Dictionary {
    Dictionary::open(&folder(kind)).unwrap_or_else(|e| panic!("{kind}: {e}"))
}

pub(super) fn twin() -> Twin {
    Twin::random(Config { n_layer: 2, vocab_size: 23, ..tiny() }, 5, 0.3)
}

/// Runs prompts so that a dictionary can be applied.
fn prepared(model: &Model, dictionary: &Dictionary) -> [Run; 2] {
    let sites = dictionary.sites(model.sizes()).expect("fits").concat();
    let options = RunOptions { sites, ..RunOptions::default() };
    let runs = model.run_all(&[CLEAN, CORRUPTED], &options).expect("runs");
    [0, 1].map(|i| runs[i].clone())
}

#[test]
fn codes_are_those_of_saelens() {
    for kind in KINDS {
        let bytes = std::fs::read(folder(kind).join("golden.safetensors")).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("a golden");
        let tensor = |name: &str| file.tensor(name).expect("a tensor");
        let x: Vec<f32> = bytemuck::pod_collect_to_vec(tensor("x").data());
        let [a, y]: [Vec<f64>; 2] = ["a", "y"].map(|name| bytemuck::pod_collect_to_vec(tensor(name).data()));
        let (dictionary, width) = (opened(kind), x.len() / 9);
        let codes = dictionary.encode(&x).expect("encodes");
        let decoded: Vec<f64> = codes.iter().flat_map(|code| wide(&dictionary.decode(code))).collect();
        close(&decoded, &y, 2e-5, kind);
        let n = dictionary.features();
        let mut some = 0;
        for (code, (a, x)) in codes.iter().zip(a.chunks(n).zip(x.chunks(width))) {
            let active: Vec<u32> = (0..n as u32).filter(|f| a[*f as usize] > 0.0).collect();
            assert_eq!(code.features.iter().map(|(f, _)| *f).collect::<Vec<_>>(), active, "{kind}");
            some += active.len();
            // Here the factor of a row of the decoder is the activation.
            if !kind.contains("norm") && kind != "topk_rescaled" {
                let factors: Vec<f64> = (0..n as u32).map(|f| f64::from(code.factor(f))).collect();
                close(&factors, a, 2e-5, kind);
            }
            // One row alone has the same code.
            assert_eq!(dictionary.encode(x).expect("encodes"), std::slice::from_ref(code), "{kind}");
        }
        assert!(some > 9 && some < 9 * n, "{kind}: {some} active features");
    }
}

/// Returns rows that are spread over the sites of a dictionary, as edits.
fn edits(sites: &[Site], model: &Model, rows: &[Vec<f32>]) -> Vec<(Site, usize, Vec<f32>)> {
    let mut all = Vec::new();
    for (t, row) in rows.iter().enumerate() {
        let mut from = 0;
        for &site in sites {
            let width = site.width(model.sizes());
            all.push((site, t, row[from..from + width].to_vec()));
            from += width;
        }
    }
    all
}

/// Every kind of dictionary at every kind of site: effects of single features, to first order and exactly.
#[test]
fn effects_of_features_match_the_reference() {
    let twin = twin();
    let j = Observable::logit_diff(4, 20, 4) - Observable::log_prob(7, 2);
    for on in subjects() {
        let model = twin.on(on);
        for kind in KINDS {
            let dictionary = opened(kind);
            let [clean, corrupted] = prepared(&model, &dictionary);
            let [_, sites] = dictionary.sites(model.sizes()).expect("fits");
            for target in [Some(&clean), None] {
                let options = FeatureOptions { top: 6, exact: true, controls: 0 };
                let got =
                    features(&corrupted, target, &dictionary, &j, options).unwrap_or_else(|e| panic!("{kind}: {e}"));
                let ids = array(&got, "features");
                let ours = dictionary.codes(&corrupted).expect("encodes");
                let theirs = target.map(|run| dictionary.codes(run).expect("encodes"));
                let (mut exact, mut first) = (Vec::new(), Vec::new());
                for &id in &ids {
                    let by = |t: usize| {
                        let to = theirs.as_ref().map_or(0.0, |codes| codes[t].factor(id as u32));
                        to - ours[t].factor(id as u32)
                    };
                    let direction = dictionary.direction(id as usize).expect("a feature");
                    let row = |t: usize| direction.iter().map(|w| by(t) * w).collect::<Vec<f32>>();
                    let moved = edits(&sites, &model, &(0..5).map(row).collect::<Vec<_>>());
                    let added: Vec<Edit> =
                        moved.iter().cloned().map(|(site, t, row)| Edit::add(site, t, row)).collect();
                    exact.push(truth(&twin, &CORRUPTED, &added, &j) - truth(&twin, &CORRUPTED, &[], &j));
                    let sources: Vec<Source> =
                        moved.into_iter().map(|(site, token, vector)| Source { site, token, vector }).collect();
                    first.push(observed::read(&j, &twin.tangent(&CORRUPTED, &[], &sources)).tangent);
                }
                let what = format!("{} {kind} to {}", on.name(), got.metadata["moved_to"]);
                close(&array(&got, "exact"), &exact, 5e-5, &what);
                close(&array(&got, "first_order"), &first, 5e-5, &what);
                assert!(
                    ids.len() == 6 && first.windows(2).all(|pair| pair[0].abs() >= pair[1].abs() * 0.999),
                    "{what}"
                );
                if dictionary.skips() {
                    let by = |t: usize| -> Vec<f32> {
                        let theirs = theirs.as_ref().map_or(&ours, |codes| codes);
                        theirs[t].skip.iter().zip(&ours[t].skip).map(|(a, b)| a - b).collect()
                    };
                    let moved = edits(&sites, &model, &(0..5).map(by).collect::<Vec<_>>());
                    let added: Vec<Edit> = moved.into_iter().map(|(site, t, row)| Edit::add(site, t, row)).collect();
                    let want = truth(&twin, &CORRUPTED, &added, &j) - truth(&twin, &CORRUPTED, &[], &j);
                    assert!(target.is_none() || want.abs() > 1e-3, "{what}: the test itself moves nothing");
                    close(&array(&got, "skip_exact"), &[want], 5e-5, &what);
                    assert_eq!(array(&got, "skip_first_order").iter().all(|x| *x == 0.0), target.is_none(), "{what}");
                }
                let by_token = array(&got, "first_order_by_token");
                let sums: Vec<f64> = by_token.chunks(5).map(|each| each.iter().sum()).collect();
                close(&sums, &first, 5e-5, &what);
                assert!(got.certificates.iter().map(|c| c.name).eq(["parts", "whole"]), "{what}");
            }
        }
    }
}

/// Writes a dictionary of 40 features with random weights from one activation to another, or to the same, and opens it.
pub(super) fn made(at: &Path, [hook, output]: [&str; 2], [d_in, d_out]: [usize; 2]) -> Dictionary {
    let mut cfg = serde_json::json!({ "architecture": "standard", "d_in": d_in, "d_sae": 40, "hook_name": hook });
    if output != hook {
        cfg["architecture"] = "transcoder".into();
        cfg["hook_name_out"] = output.into();
        cfg["d_out"] = d_out.into();
    }
    std::fs::write(at.join("cfg.json"), cfg.to_string()).expect("writes");
    let random = |seed: u64, n: usize, scale: f32| gaussian(seed, n).iter().map(|x| scale * x).collect::<Vec<f32>>();
    let scale = 1.0 / (d_in as f32).sqrt();
    let weights = Labelled::default()
        .with("W_enc", &[("d", d_in), ("feature", 40)], random(0, d_in * 40, scale))
        .with("W_dec", &[("feature", 40), ("d", d_out)], random(1, d_out * 40, scale))
        .with("b_enc", &[("feature", 40)], random(2, 40, 0.1))
        .with("b_dec", &[("d", d_out)], random(3, d_out, 0.1));
    weights.write(&at.join("sae_weights.safetensors")).expect("writes");
    Dictionary::open(at).expect("opens")
}

/// Returns the exact effects of moving features in the reference.
fn effects(twin: &Twin, model: &Model, dictionary: &Dictionary, [ours, theirs]: [&Run; 2], ids: &[f64]) -> Vec<f64> {
    let j = Observable::logit_diff(4, 20, 4);
    let [_, sites] = dictionary.sites(model.sizes()).expect("fits");
    let [ours, theirs] = [ours, theirs].map(|run| dictionary.codes(run).expect("encodes"));
    let of = |&id: &f64| {
        let direction = dictionary.direction(id as usize).expect("a feature");
        let by = |t: usize| theirs[t].factor(id as u32) - ours[t].factor(id as u32);
        let row = |t: usize| direction.iter().map(|w| by(t) * w).collect::<Vec<f32>>();
        let moved = edits(&sites, model, &(0..5).map(row).collect::<Vec<_>>());
        let added: Vec<Edit> = moved.into_iter().map(|(site, t, row)| Edit::add(site, t, row)).collect();
        truth(twin, &CORRUPTED, &added, &j) - truth(twin, &CORRUPTED, &[], &j)
    };
    ids.iter().map(of).collect()
}

/// Dictionaries at what attention adds, at neurons, before them, at queries, keys and values of all heads, and from the
/// rows of norms.
#[test]
fn features_at_other_activations_match_the_reference() {
    let twin = twin();
    let j = Observable::logit_diff(4, 20, 4);
    let scratch = tempfile::tempdir().expect("a folder");
    for on in subjects() {
        let model = twin.on(on);
        let sizes = *model.sizes();
        let [d, inner, heads] = [sizes.d, sizes.inner, sizes.heads * sizes.d_head];
        for (hook, output, widths) in [
            ("blocks.1.hook_attn_out", "blocks.1.hook_attn_out", [d; 2]),
            ("blocks.0.mlp.hook_post", "blocks.0.mlp.hook_post", [inner; 2]),
            ("blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_pre", [inner; 2]),
            ("blocks.1.attn.hook_q", "blocks.1.attn.hook_q", [heads; 2]),
            ("blocks.0.attn.hook_k", "blocks.0.attn.hook_k", [heads; 2]),
            ("blocks.1.attn.hook_v", "blocks.1.attn.hook_v", [heads; 2]),
            ("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out", [d; 2]),
            ("blocks.0.ln1.hook_normalized", "blocks.0.hook_attn_out", [d; 2]),
            ("blocks.1.ln2.hook_normalized", "blocks.1.ln2.hook_normalized", [d; 2]),
            ("ln_final.hook_normalized", "ln_final.hook_normalized", [d; 2]),
        ] {
            let dictionary = made(scratch.path(), [hook, output], widths);
            let [clean, corrupted] = prepared(&model, &dictionary);
            let options = FeatureOptions { top: 3, exact: true, controls: 0 };
            let got =
                features(&corrupted, Some(&clean), &dictionary, &j, options).unwrap_or_else(|e| panic!("{hook}: {e}"));
            let ids = array(&got, "features");
            let want = effects(&twin, &model, &dictionary, [&corrupted, &clean], &ids);
            assert!(ids.len() == 3 && want[0].abs() > 1e-4, "{hook}: {want:?}");
            close(&array(&got, "exact"), &want, 1e-4, hook);
        }
        // What is encoded is the row less its mean, over its deviation.
        let dictionary = made(scratch.path(), ["blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"], [d; 2]);
        let [clean, _] = prepared(&model, &dictionary);
        let rows = twin.capture(&twin.primal(&CLEAN, &[]), Site::ResidMid(1));
        let normal = |row: &[f64]| -> Vec<f32> {
            let mean = row.iter().sum::<f64>() / d as f64;
            let square = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            row.iter().map(|x| ((x - mean) / (square + 1e-5).sqrt()) as f32).collect()
        };
        let want = dictionary.encode(&rows.chunks(d).flat_map(normal).collect::<Vec<f32>>()).expect("encodes");
        let factors = |codes: &[Code]| -> Vec<f64> {
            codes.iter().flat_map(|code| (0..40).map(|f| f64::from(code.factor(f)))).collect()
        };
        close(&factors(&dictionary.codes(&clean).expect("encodes")), &factors(&want), 1e-4, "codes");
    }
}

/// All features and the error together are the patch of the activation.
#[test]
fn all_features_are_the_patch() {
    let twin = twin();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = twin.on(&on);
    let j = Observable::logit_diff(4, 20, 4);
    let dictionary = opened("standard");
    let [clean, corrupted] = prepared(&model, &dictionary);
    let options = FeatureOptions { top: usize::MAX, exact: true, controls: 0 };
    let got = features(&corrupted, Some(&clean), &dictionary, &j, options).expect("computes");
    assert_eq!(array(&got, "features").len().to_string(), got.metadata["features_moved"]);
    let put: Vec<Edit> = clean
        .capture(Site::ResidPre(1))
        .expect("reads")
        .chunks(32)
        .enumerate()
        .map(|(t, row)| Edit::put(Site::ResidPre(1), t, row.to_vec()))
        .collect();
    let patched = truth(&twin, &CORRUPTED, &put, &j) - truth(&twin, &CORRUPTED, &[], &j);
    close(&array(&got, "whole_exact"), &[patched], 5e-5, "the patch");
    // The readers of the next block do not see the mean of the stream, and nothing else.
    let share = |id: f64| {
        let row = dictionary.direction(id as usize).expect("a feature");
        let [sum, square] = [1, 2].map(|k| row.iter().map(|x| f64::from(*x).powi(k)).sum::<f64>());
        sum.abs() / (32.0 * square).sqrt()
    };
    let shares: Vec<f64> = array(&got, "features").into_iter().map(share).collect();
    close(&array(&got, "kernel"), &shares, 1e-5, "kernels");
    // The random control is of the size of the effect at random directions: at most the norms allow.
    let (random, first) = (array(&got, "random"), array(&got, "first_order"));
    let d = 32.0f64;
    assert!(random.iter().zip(&first).all(|(r, f)| f.abs() <= r * (5.0 * d).sqrt() * 1.001));
}

#[test]
fn dictionaries_that_do_not_fit_are_refused() {
    let twin = Twin::small();
    let on = Subject::open(&resolvent_engine::Options::new(resolvent_engine::Choice::Host)).expect("opens");
    let model = twin.on(&on);
    let dictionary = opened("standard");
    let error = dictionary.sites(model.sizes()).expect_err("another width").to_string();
    assert!(error.contains("has width 32 at blocks.1.hook_resid_pre, where the model has 18"), "{error}");
    assert!(dictionary.direction(75).is_err() && dictionary.encode(&[0.0; 33]).is_err());
    let nowhere = Dictionary::open(Path::new("/nowhere")).expect_err("no folder").to_string();
    assert!(nowhere.contains("cfg.json") && nowhere.contains("cannot be read"), "{nowhere}");
    // A tensor of the wrong shape, and an element that is not finite.
    let scratch = tempfile::tempdir().expect("a folder");
    std::fs::copy(folder("jumprelu").join("cfg.json"), scratch.path().join("cfg.json")).expect("copies");
    std::fs::copy(folder("standard").join("sae_weights.safetensors"), scratch.path().join("sae_weights.safetensors"))
        .expect("copies");
    let error = Dictionary::open(scratch.path()).expect_err("no threshold").to_string();
    assert!(error.contains("has no array `threshold`"), "{error}");
    let wide = self::twin();
    let model = wide.on(&on);
    let [clean, _] = prepared(&model, &dictionary);
    let options =
        RunOptions { sites: dictionary.sites(model.sizes()).expect("fits").concat(), ..RunOptions::default() };
    let short = model.run_with(&CLEAN[..3], &options).expect("runs");
    let error = features(&clean, Some(&short), &dictionary, &Observable::logit(4, 4), FeatureOptions::default());
    assert!(error.expect_err("another length").to_string().contains("5 and 3 tokens"));
    let other = Twin::random(wide.config.clone(), 6, 0.3).on(&on);
    let [foreign, _] = prepared(&other, &dictionary);
    let error = features(&clean, Some(&foreign), &dictionary, &Observable::logit(4, 4), FeatureOptions::default());
    assert!(error.expect_err("another model").to_string().contains("different models"));
}
