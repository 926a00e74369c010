//! Predictions from a small model for a large one: a model predicts itself, and a random model predicts little.

use std::path::Path;

use resolvent_field::{
    AlignedPair, Labelled, OperatorOptions, OperatorPairs, PREDICTORS, QUANTITIES, RESPONSE_PREDICTORS, ScaleOptions,
    operator_pairs, scale, scale_operators,
};
use resolvent_model::{Config, Model, Observable, PromptSet, TokenPair};
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
    let got = scale_operators(small, large, &shared(prompts), &options).unwrap_or_else(|e| panic!("{e}"));
    errors(&got)
}

/// Returns pairs of models that share a tokenizer.
fn shared(prompts: &[TokenPair]) -> Vec<AlignedPair> {
    prompts.iter().cloned().map(AlignedPair::shared).collect()
}

/// Returns the error and the cosine of each prediction of a result at one level.
fn errors(got: &Labelled) -> Vec<(f64, f64)> {
    assert!(got.certificates.iter().any(|check| check.name == "adjoint"));
    let (error, low, high) = (array(got, "error"), array(got, "error_low"), array(got, "error_high"));
    assert_eq!(error.len(), RESPONSE_PREDICTORS.len());
    assert!(
        (0..RESPONSE_PREDICTORS.len()).all(|i| low[i] <= error[i] && error[i] <= high[i]),
        "{low:?} {error:?} {high:?}"
    );
    error.into_iter().zip(array(got, "cosine")).collect()
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
        scale_operators(&model, &model, &shared(prompts), &options).expect_err("refused").to_string()
    };
    let usual = OperatorOptions { train: 8, levels: Vec::new(), seed: 0 };
    let shallow = scale_operators(&model, &model, &shared(&prompts(23)), &usual).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(array(&shallow, "levels"), [0.0, 1.0], "two blocks: a half and three quarters are one level");
    assert!(fails(&prompts(23), vec![99]).contains("level 99 of operators: expected a level below"));
    assert!(fails(&prompts(23)[..8], Vec::new()).contains("8 prompts to fit on and 0 to predict"));
    let with = |change: fn(&mut AlignedPair)| {
        let mut pairs = shared(&prompts(23));
        change(&mut pairs[3]);
        scale_operators(&model, &model, &pairs, &usual).expect_err("refused").to_string()
    };
    let expected = "pair 3: expected one or more aligned tokens, in ascending order, of 4 and 4 tokens";
    assert_eq!(with(|pair| pair.tokens.clear()), expected);
    assert_eq!(with(|pair| pair.tokens[3] = [3, 4]), expected);
    assert_eq!(with(|pair| pair.tokens.swap(1, 2)), expected);
    let other = Twin::random(Config { vocab_size: 24, ..twin.config.clone() }, 9, 0.3).on(on);
    let error = scale_operators(&other, &model, &shared(&prompts(23)), &usual).expect_err("refused").to_string();
    assert!(error.contains("24 and 23 vocabulary entries, and the pairs are the same tokens in both"), "{error}");
}

/// Where only some tokens are aligned, a model's operator still predicts itself there; and it does not if the tokens
/// are aligned wrongly.
#[test]
fn operators_are_compared_at_aligned_tokens() {
    let twin = Twin::small();
    let many: Vec<TokenPair> = (0..6).flat_map(|i| prompts(23).into_iter().map(move |p| shifted(p, i))).collect();
    for on in subjects() {
        let model = twin.on(on);
        let found = |tokens: &dyn Fn(usize) -> Vec<[usize; 2]>| {
            let pairs =
                shared(&many).into_iter().map(|pair| AlignedPair { tokens: tokens(pair.large.clean.len()), ..pair });
            let options = OperatorOptions { train: many.len() - 8, levels: vec![1], seed: 2 };
            let pairs: Vec<AlignedPair> = pairs.collect();
            let got = scale_operators(&model, &model, &pairs, &options).unwrap_or_else(|e| panic!("{e}"));
            let aligned: usize = pairs.iter().map(|pair| pair.tokens.len()).sum();
            assert_eq!(got.metadata["aligned"], aligned.to_string());
            errors(&got)[0]
        };
        // All but the second one, at which the prompts differ: the source is where they are next compared.
        let (some, along) = found(&|n| (0..n).filter(|t| *t != 1).map(|t| [t, t]).collect());
        assert!(some < 0.05 && along > 0.99, "{}: {some} {along}", on.name());
        let (wrong, _) = found(&|n| (2..n).map(|t| [t - 1, t]).collect());
        assert!(wrong > 10.0 * some, "{}: {wrong}", on.name());
    }
}

/// Two tokenizers of one text: a tenth of the merges make more tokens of it. Aligned tokens are those up to which both
/// have read the same text; tasks that fit the maps are not those that are predicted.
#[test]
fn tokens_of_two_tokenizers_are_aligned() {
    let atlas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/model/atlas");
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(atlas.join("nano").join(name), folder.path().join(name)).expect("copies");
    }
    let text = std::fs::read_to_string(atlas.join("tokenizer.json")).expect("a file");
    let mut tokenizer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let merges = tokenizer["model"]["merges"].as_array_mut().expect("merges");
    merges.truncate(merges.len() / 10);
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).expect("writes");
    let on = subjects()[0];
    let large = Model::named(on.device(), "atlas-nano").expect("opens");
    let small = Model::open(on.device(), folder.path()).expect("opens");
    let row = |clean: &str, corrupted: &str| {
        format!(r##"{{"clean": "{clean}", "corrupted": "{corrupted}", "target": "#3", "against": "#11"}}"##)
    };
    let named = |a: &str| {
        let places = ["store", "market", "garden", "office"];
        let rows = places.map(|place| {
            let text = |[a_name, other]: [&str; 2]| {
                format!("When {a_name} and {other} went to the {place}, John gave a {a} to")
            };
            row(&text(["Mary", "John"]), &text(["John", "Mary"]))
        });
        format!(r#"{{"about": "names", "prompts": [{}]}}"#, rows.join(","))
    };
    let file = folder.path().join("rows.json");
    let tasks = format!(r#"{{"version": 1, "tasks": {{"drinks": {}, "books": {}}}}}"#, named("drink"), named("book"));
    std::fs::write(&file, tasks).expect("writes");
    let set = PromptSet::open(&file).expect("a prompt file");
    let of = |fit_on: &[&str], tasks: &[&str]| {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        operator_pairs(&set, [&names(fit_on), &names(tasks)], 8, [&small, &large])
    };
    let OperatorPairs { pairs, train } = of(&[], &[]).expect("aligns");
    assert_eq!((pairs.len(), train), (8, 4));
    let tokenizers = [&small, &large].map(|model| model.tokenizer().expect("is there"));
    let mut more = 0;
    for AlignedPair { small, large, tokens } in &pairs {
        more += usize::from(small.clean.len() > large.clean.len());
        assert!(tokens.len() > 5 && tokens.len() < small.clean.len(), "{tokens:?}");
        for [ours, theirs] in tokens {
            for [a, b] in [[&small.clean, &large.clean], [&small.corrupted, &large.corrupted]] {
                let read = [tokenizers[0].decode(&a[..=*ours]), tokenizers[1].decode(&b[..=*theirs])];
                assert_eq!(read[0].as_ref().expect("text"), read[1].as_ref().expect("text"));
            }
        }
        assert_eq!(tokens.last(), Some(&[small.clean.len() - 1, large.clean.len() - 1]));
    }
    assert!(more > 0, "the tokenizers agree");
    let options = OperatorOptions { train, levels: vec![1], seed: 0 };
    let got = scale_operators(&small, &large, &pairs, &options).unwrap_or_else(|e| panic!("{e}"));
    let count = |name: &str| got.metadata[name].parse::<usize>().expect("a number");
    assert!(0 < count("aligned") && count("aligned") < pairs.iter().map(|pair| pair.small.clean.len()).sum());
    assert_eq!(got.array("error").expect("errors").data.len(), RESPONSE_PREDICTORS.len());

    let fitted = of(&["books"], &[]).expect("aligns");
    assert_eq!((fitted.pairs.len(), fitted.train), (8, 4));
    assert!(fitted.pairs[..4] != pairs[..4], "one task after the other, not alternating");
    assert!(
        of(&["books"], &["books"]).expect_err("both").to_string().contains("task `books`, so it cannot be predicted")
    );
    assert!(of(&["books", "drinks"], &[]).expect_err("all").to_string().contains("so none is left to predict"));
}
