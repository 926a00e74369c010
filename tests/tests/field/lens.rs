//! The logit lens: rows of every level in the place of the last, in the reference.

use resolvent_field::{LensOptions, lens};
use resolvent_model::{Edit, Model, Observable, Site};
use resolvent_tests::{Golden, Twin, subjects};

use super::{array, close, run};

const TOKENS: [u32; 5] = [3, 14, 15, 9, 2];

/// Returns the softmax of the reference's logits.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - most).exp()).sum();
    logits.iter().map(|x| (x - most).exp() / sum).collect()
}

#[test]
fn every_level_is_read_as_the_last() {
    let twin = Twin::small();
    let (levels, tokens, top) = (twin.config.n_layer + 1, TOKENS.len(), 3);
    let vocab = twin.config.vocab_size;
    let at = twin.primal(&TOKENS, &[]);
    let last = Site::ResidPost(levels - 2);
    let p: Vec<Vec<f64>> = (0..levels)
        .flat_map(|level| {
            let rows = twin.capture(&at, if level == 0 { Site::ResidPre(0) } else { Site::ResidPost(level - 1) });
            let put = |(t, row): (usize, &[f64])| Edit::put(last, t, row.iter().map(|&x| x as f32).collect());
            let edits: Vec<Edit> = rows.chunks(twin.config.n_embd).enumerate().map(put).collect();
            let trace = twin.primal(&TOKENS, &edits);
            (0..tokens).map(|t| softmax(trace.logits_at(t))).collect::<Vec<_>>()
        })
        .collect();
    let own = &p[(levels - 1) * tokens..];
    let most = |p: &[f64]| (0..vocab).fold(0, |best, i| if p[i] > p[best] { i } else { best });
    let want = |of: &dyn Fn(usize, &[f64]) -> f64| -> Vec<f64> {
        p.iter().enumerate().map(|(place, p)| of(place % tokens, p)).collect()
    };
    let answer = want(&|t, p| p[most(&own[t])]);
    let entropy = want(&|_, p| -p.iter().map(|x| x * x.ln()).sum::<f64>());
    let kl = want(&|t, p| own[t].iter().zip(p).map(|(a, b)| a * (a / b).ln()).sum());
    let rank = want(&|t, p| p.iter().filter(|x| **x > p[most(&own[t])]).count() as f64);
    let j = Observable::logit_diff(4, 20, 4);
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let got =
            lens(&run, Some(&j), LensOptions { top, averaged: None }).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        for (name, want) in [("answer", &answer), ("entropy", &entropy), ("kl", &kl)] {
            close(&array(&got, name), want, 2e-5, &format!("{} {name}", on.name()));
        }
        assert_eq!(array(&got, "rank"), rank, "{}", on.name());
        let (ids, probability) = (array(&got, "top_tokens"), array(&got, "top_probability"));
        for (place, p) in p.iter().enumerate() {
            let (ids, got) = (&ids[place * top..][..top], &probability[place * top..][..top]);
            let mut sorted = p.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            close(got, &sorted[..top], 2e-5, on.name());
            close(got, &ids.iter().map(|&id| p[id as usize]).collect::<Vec<_>>(), 2e-5, on.name());
        }
        let j = |p: &[f64]| p[4].ln() - p[20].ln();
        let values: Vec<f64> = p.chunks(tokens).map(|level| j(&level[4])).collect();
        close(&array(&got, "value"), &values, 2e-5, "J over levels");
        assert!(got.certificates.iter().any(|c| c.name == "last_level"));
    }
}

/// Every family has a lens, whose last level is its answer.
#[test]
fn every_family_has_a_lens() {
    for golden in Golden::all().into_iter().chain(Golden::forms()) {
        for on in subjects() {
            let model = Model::open(on.device(), &Golden::directory(golden.name)).expect("opens");
            let run = model.run(&golden.tokens, &[]).expect("runs");
            let got = lens(&run, None, LensOptions::default()).unwrap_or_else(|e| panic!("{}: {e}", golden.name));
            let (kl, tokens) = (array(&got, "kl"), golden.tokens.len());
            let (below, last) = kl.split_at(kl.len() - tokens);
            assert!(last.iter().all(|x| *x < 1e-6) && below.iter().any(|x| *x > 1e-3), "{}: {kl:?}", golden.name);
            assert!(got.array("value").is_none());
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let twin = Twin::small();
    for on in subjects() {
        let run = run(&twin, on, &TOKENS);
        let top = twin.config.vocab_size + 1;
        let error = lens(&run, None, LensOptions { top, averaged: None }).expect_err("more than there are").to_string();
        assert!(error.contains("the vocabulary has"), "{error}");
        assert_eq!(lens(&run, None, LensOptions { top: 0, averaged: None }).expect("fits").arrays.len(), 4);
        let below = Observable::projection(1, 2, vec![1.0; twin.config.n_embd]);
        assert!(lens(&run, Some(&below), LensOptions::default()).is_err());
    }
}
