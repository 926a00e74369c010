//! Predictions from a small model for a large one: a model predicts itself, and a random model predicts little.

use resolvent_field::{
    Labelled, OperatorOptions, PREDICTORS, QUANTITIES, RESPONSE_PREDICTORS, ScaleOptions, scale, scale_operators,
};
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
    (0..16).map(prompt).collect()
}

fn options() -> ScaleOptions {
    ScaleOptions { train: 8, tokens: vec![1, 5, 9], seed: 2 }
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
    // Eight held-out prompts of 4 to 6 tokens: all tokens at three levels, and at the last level only the token of J.
    let places: usize = prompts(23)[8..].iter().map(|p| 3 * p.clean.len() + 1).sum();
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
    assert!(refused(&small, &prompts(23)[..9]).contains("8 prompts to fit on and 1 to predict"));
}

/// Returns the errors and cosines of each prediction at the one level.
fn operators(small: &Model, large: &Model, prompts: &[TokenPair]) -> Vec<(f64, f64)> {
    let options = OperatorOptions { train: prompts.len() - 8, levels: vec![1], seed: 2 };
    let got = scale_operators(small, large, prompts, &options).unwrap_or_else(|e| panic!("{e}"));
    assert!(got.certificates.iter().any(|check| check.name == "adjoint"));
    let (error, low, high) = (array(&got, "error"), array(&got, "error_low"), array(&got, "error_high"));
    assert_eq!(error.len(), RESPONSE_PREDICTORS.len());
    assert!(
        (0..RESPONSE_PREDICTORS.len()).all(|i| low[i] <= error[i] && error[i] <= high[i]),
        "{low:?} {error:?} {high:?}"
    );
    error.into_iter().zip(array(&got, "cosine")).collect()
}

/// With enough prompts for its maps, a model's operator predicts itself. What leaves out the operator does not, and
/// neither does another model's.
#[test]
fn an_operator_predicts_itself() {
    let twin = Twin::small();
    let many: Vec<TokenPair> = (0..6).flat_map(|i| prompts(23).into_iter().map(move |p| shifted(p, i))).collect();
    for on in subjects() {
        let model = twin.on(on);
        let found = operators(&model, &model, &many);
        let [(own, along), (transport, _), (map, _), (identity, _), (mean, _), (random, _)] = found[..] else {
            panic!("six predictions: {found:?}");
        };
        assert!(own < 0.02 && along > 0.999 && transport < 0.02, "{}: {own} {along} {transport}", on.name());
        assert!(
            [map, identity, mean, random].into_iter().all(|other| other > 10.0 * own),
            "{map} {identity} {mean} {random}"
        );
        let other = Twin::random(Config { n_layer: 3, ..twin.config.clone() }, 9, 0.3).on(on);
        assert!(operators(&other, &model, &many)[0].0 > 10.0 * own, "another model");
    }
}

/// Returns the pair with all tokens moved on in the vocabulary.
fn shifted(pair: TokenPair, by: u32) -> TokenPair {
    let moved = |tokens: Vec<u32>| tokens.into_iter().map(|t| (t + 3 * by) % 23).collect();
    TokenPair { clean: moved(pair.clean), corrupted: moved(pair.corrupted), ..pair }
}

#[test]
fn operators_that_cannot_be_compared_are_refused() {
    let (twin, on) = (Twin::small(), subjects()[0]);
    let model = twin.on(on);
    let fails = |prompts: &[TokenPair], levels: Vec<usize>| {
        let options = OperatorOptions { train: 8, levels, seed: 0 };
        scale_operators(&model, &model, prompts, &options).expect_err("refused").to_string()
    };
    let usual = OperatorOptions { train: 8, levels: Vec::new(), seed: 0 };
    let shallow = scale_operators(&model, &model, &prompts(23), &usual).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(array(&shallow, "levels"), [0.0, 1.0], "two blocks: a half and three quarters are one level");
    assert!(fails(&prompts(23), vec![99]).contains("level 99 of operators: expected a level below"));
    assert!(fails(&prompts(23)[..8], Vec::new()).contains("8 prompts to fit on and 0 to predict"));
}
