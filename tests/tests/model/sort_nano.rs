//! A trained model of three blocks that sorts six digits of {0, 1, 2}.
//!
//! It is outside the repository, in `../shared/models/sort-nano` or below `RESOLVENT_SHARED`. If it is missing, its
//! tests print that they are left out.

use std::io::Write;
use std::path::{Path, PathBuf};

use resolvent_field::{patch, sensitivity};
use resolvent_model::{Model, Observable};
use resolvent_tests::{Random, Subject, subjects};

fn directory() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("RESOLVENT_SHARED").map_or_else(beside, PathBuf::from);
    let directory = shared.join("models/sort-nano");
    if !directory.join("model.safetensors").is_file() {
        let _closed = writeln!(std::io::stderr(), "no models/sort-nano: ITS TESTS ARE LEFT OUT");
        return None;
    }
    Some(directory)
}

fn open(directory: &Path, on: &Subject) -> Model {
    Model::open(on.device(), directory).unwrap_or_else(|e| panic!("{}: {e}", on.name()))
}

fn best(logits: &[f32]) -> u32 {
    logits.iter().enumerate().fold(0, |best, (i, x)| if *x > logits[best] { i } else { best }) as u32
}

fn sorted(digits: &[u32]) -> Vec<u32> {
    let mut sorted = digits.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Decodes six answers, each appended to the prompt of the next.
fn decode(model: &Model, digits: &[u32]) -> Vec<u32> {
    let mut tokens = digits.to_vec();
    while tokens.len() < 12 {
        let run = model.run(&tokens, &[]).expect("digits are its tokens");
        tokens.push(best(&run.logits_at(tokens.len() - 1).expect("the last position")));
    }
    tokens.split_off(6)
}

/// The model sorts: twenty prompts are decoded step by step, and all are run once with the correct answer appended.
///
/// A row does not depend on later rows. So greedy decoding sorts if and only if each row of that run predicts the next
/// digit.
#[test]
fn it_sorts() {
    let Some(directory) = directory() else { return };
    for on in subjects() {
        let model = open(&directory, on);
        let mut random = Random::new(1);
        let mut right = 0;
        for i in 0..200 {
            let digits = random.ids(6, 3);
            let want = sorted(&digits);
            let run = model.run(&[&digits[..], &want[..5]].concat(), &[]).expect("digits are its tokens");
            let logits = run.logits().expect("runs");
            let answers: Vec<u32> = logits.chunks(3).skip(5).map(best).collect();
            right += usize::from(answers == want);
            if i < 20 {
                assert_eq!(decode(&model, &digits), want, "{}: {digits:?}", on.name());
            }
        }
        assert_eq!(right, 200, "{}", on.name());
    }
}

/// The logits match the figures that were published with the model.
#[test]
fn its_logits_match_the_published_ones() {
    let Some(directory) = directory() else { return };
    let known = [
        (vec![2, 0, 1, 1, 2, 0], [8.2410, -4.1917, -2.6106]),
        (vec![2, 0, 1, 1, 2, 0, 0, 0, 1, 1, 2], [-3.2230, -3.1398, 7.6845]),
    ];
    for on in subjects() {
        let model = open(&directory, on);
        for (tokens, want) in &known {
            let got = model.run(tokens, &[]).and_then(|run| run.logits_at(tokens.len() - 1)).expect("runs");
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-4, "{}: {got} for {want}", on.name());
            }
        }
    }
}

/// The certificates of the analyses pass on trained weights, and a patch of the clean digit restores the answer.
#[test]
fn analyses_pass_their_checks_on_it() {
    let Some(directory) = directory() else { return };
    let (clean, corrupted) = ([2, 0, 1, 1, 2, 0], [2, 1, 1, 1, 2, 1]);
    for on in subjects() {
        let model = open(&directory, on);
        let run = |tokens: &[u32]| model.run(tokens, &[]).expect("digits are its tokens");
        let (clean, corrupted) = (run(&clean), run(&corrupted));
        let j = Observable::logit_diff(0, 1, 5);
        sensitivity(&corrupted, &j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let result = patch(&clean, &corrupted, &j).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        let value = |name: &str, i: usize| result.array(name).expect("an array").data[i];
        let (from, to) = (value("corrupted_value", 0), value("clean_value", 0));
        assert!(from < -5.0 && to > 5.0, "the answers are 1 and 0: {from} {to}");
        assert!((value("effect", 3 * 6 + 5) - (to - from)).abs() < 1e-3, "the answer depends on the last row only");
        assert_eq!(value("effect", 0), 0.0, "the first digits are the same");
    }
}
