//! Predictions from a small model for a large one: a model predicts itself, and a random model predicts little.

use resolvent_field::{Labelled, PREDICTORS, QUANTITIES, ScaleOptions, scale};
use resolvent_model::{Config, Model, Observable, TokenPair};
use resolvent_tests::{Random, Subject, Twin, subjects};

use super::array;

fn prompts(vocab: usize) -> Vec<TokenPair> {
    let mut random = Random::new(8);
    let prompt = |i: usize| {
        let clean = random.ids(4 + i % 3, vocab);
        let mut corrupted = clean.clone();
        corrupted[1] = (corrupted[1] + 5) % vocab as u32;
        let observable = Observable::logit_diff(3, 8, clean.len() - 1);
        TokenPair { clean, corrupted, observable }
    };
    (0..8).map(prompt).collect()
}

fn options() -> ScaleOptions {
    ScaleOptions { train: 4, tokens: vec![1, 5, 9], seed: 2 }
}

fn of(small: &Model, large: &Model, on: &Subject) -> Labelled {
    scale(small, large, &prompts(23), &options()).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
}

fn at(result: &Labelled, name: &str, quantity: &str, predictor: &str) -> f64 {
    let row = QUANTITIES.iter().position(|q| *q == quantity).expect("a quantity");
    let column = PREDICTORS.iter().position(|p| *p == predictor).expect("a predictor");
    array(result, name)[row * PREDICTORS.len() + column]
}

#[test]
fn a_model_predicts_itself() {
    let twin = Twin::small();
    for on in subjects() {
        let got = of(&twin.on(on), &twin.on(on), on);
        for quantity in QUANTITIES {
            for predictor in ["affine", "identity"] {
                for name in ["correlation", "correlation_low", "explained"] {
                    let r = at(&got, name, quantity, predictor);
                    assert!((r - 1.0).abs() < 1e-4, "{}: {name} {quantity} {predictor}: {r}", on.name());
                }
            }
            assert!(at(&got, "correlation", quantity, "random_model") < 0.95, "{quantity}");
            assert!(at(&got, "explained", quantity, "level_mean") < 0.95, "{quantity}");
        }
        let (predicted, actual) = (array(&got, "predicted"), array(&got, "actual"));
        super::close(&predicted, &actual, 1e-4, "effects");
    }
}

/// With another depth and the same vocabulary, all correlations are finite, and each interval contains its estimate.
#[test]
fn another_depth() {
    let (small, on) = (Twin::small(), subjects()[0]);
    let large = Twin::random(Config { n_layer: 3, ..small.config.clone() }, 9, 0.3);
    let got = of(&small.on(on), &large.on(on), on);
    for quantity in QUANTITIES {
        for predictor in PREDICTORS {
            let [r, low, high] =
                ["correlation", "correlation_low", "correlation_high"].map(|name| at(&got, name, quantity, predictor));
            assert!(low <= r && r <= high && r.abs() <= 1.0, "{quantity} {predictor}: {low} {r} {high}");
        }
    }
    // Four held-out prompts of 4 to 6 tokens: all tokens at three levels, and at the last level only the token of J.
    let places: usize = prompts(23)[4..].iter().map(|p| 3 * p.clean.len() + 1).sum();
    assert_eq!(array(&got, "actual").len(), places);
    assert_eq!(got.metadata["quantities"], "effect,sensitivity,slice");
}

#[test]
fn incomparable_models_are_refused() {
    let (small, on) = (Twin::small(), subjects()[0]);
    let other = Twin::random(Config { vocab_size: 24, ..small.config.clone() }, 9, 0.3);
    let refused = |large: &Twin, prompts: &[TokenPair]| {
        scale(&small.on(on), &large.on(on), prompts, &options()).expect_err("refused").to_string()
    };
    assert!(refused(&other, &prompts(23)).contains("share a tokenizer"));
    assert!(refused(&small, &prompts(23)[..5]).contains("4 prompts to fit on and 1 to predict"));
}
