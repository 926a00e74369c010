use proptest::prelude::*;

use super::*;

const TOKENS: usize = 12;

fn read(text: &str) -> Observable {
    Observable::parse(text, TOKENS, None).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn each_kind_is_written_and_read() {
    for (text, j) in [
        ("logit(#6342)@4", Observable::logit(6342, 4)),
        ("logit(#6342)@4 - logit(#5)@4", Observable::logit_diff(6342, 5, 4)),
        ("-0.5 * logit(#3)@0 + 2 * logit(#0)@0", Observable::Logits { position: 0, terms: vec![(3, -0.5), (0, 2.0)] }),
        ("logprob(#7)@11", Observable::log_prob(7, 11)),
        ("project(2, 4, [1, -0.25])", Observable::Field { level: 2, token: 4, direction: vec![1.0, -0.25] }),
    ] {
        assert_eq!((j.to_string().as_str(), read(text)), (text, j));
    }
}

#[test]
fn a_position_counts_from_the_end_too() {
    assert_eq!(read("logit(#1)@-3"), Observable::logit(1, 9));
    assert_eq!(read("logprob(#1)"), Observable::log_prob(1, 11));
    assert_eq!(read(" logit( #1 ) @ -1-1e-2*logit(#2) "), {
        Observable::Logits { position: 11, terms: vec![(1, 1.0), (2, -0.01)] }
    });
    assert_eq!(read("project(0,-1,[])"), Observable::Field { level: 0, token: 11, direction: Vec::new() });
}

#[test]
fn what_is_wrong_is_named() {
    for (text, part) in [
        ("", "expected logit(#ID), logprob(#ID), kl(base) or project(LEVEL, TOKEN, [..]) at its end"),
        ("logits(#1)", "at `logits(#1)`"),
        ("logit(#1) + ", "expected logit(#ID), since a weighted sum contains only logits, at its end"),
        ("logit(#1) - logprob(#2)", "a weighted sum contains only logits, at `logprob(#2)`"),
        ("2 * logprob(#2)", "a weighted sum contains only logits, at `logprob(#2)`"),
        ("logit(\" Paris\")", "a token as text needs a tokenizer; write its id, such as #1234"),
        ("logit(#-1)", "expected a token id at `-1)`"),
        ("logit(#99999999999)", "expected a token id at `99999999999)`"),
        ("logit(#1)@0 - logit(#2)@1", "logits at positions 0 and 1; write one position"),
        ("logit(#1)@12", "position 12 is out of range; there are 12, 0 to 11 or -1 to -12"),
        ("logit(#1)@", "expected a position at its end"),
        ("logit(#1) logit(#2)", "expected the end of the text at `logit(#2)`"),
        ("1e99 * logit(#1)", "expected a finite number at `1e99 * logit(#1)`"),
        ("3 logit(#1)", "expected `*` at `logit(#1)`"),
        ("kl(base)", "kl(base) needs the distribution of a base run"),
        ("project(1, 2, [0.5)", "expected `,` at `)`"),
        ("project(-1, 2, [0.5])", "expected a level at `-1, 2, [0.5])`"),
    ] {
        let error = Observable::parse(text, TOKENS, None).expect_err(text).to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
    }
}

#[test]
fn tokens_are_shown_as_ids_or_in_quotes() {
    for (argument, shown) in
        [("#17", "#17"), (" Paris", "\" Paris\""), ("a\n\"", "\"a\\n\\\"\""), ("🙂", "\"🙂\""), ("#", "\"#\"")]
    {
        assert_eq!(token_text(argument), shown);
    }
}

fn finite() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("a number", |x| x.is_finite())
}

fn observables() -> impl Strategy<Value = Observable> {
    let position = 0..TOKENS;
    let terms = prop::collection::vec((any::<u32>(), finite()), 1..6);
    let direction = prop::collection::vec(finite(), 0..6);
    prop_oneof![
        (position.clone(), terms).prop_map(|(position, terms)| Observable::Logits { position, terms }),
        (position.clone(), any::<u32>()).prop_map(|(position, target)| Observable::LogProb { position, target }),
        position.clone().prop_map(|position| Observable::Divergence { position, base: Distribution::of(&[1.0, 2.0]) }),
        (any::<usize>(), position, direction).prop_map(|(level, token, direction)| Observable::Field {
            level,
            token,
            direction
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_is_the_inverse_of_writing(j in observables()) {
        let base = Distribution::of(&[1.0, 2.0]);
        let text = j.to_string();
        prop_assert_eq!(Observable::parse(&text, TOKENS, Some(&base)).map_err(|e| e.to_string()), Ok(j), "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused_in_one_line(text in "(logit|logprob|kl|project|base|[-+*@#(),.\\[\\] \"\n0-9eé]){0,12}", tokens in 0..4usize) {
        match Observable::parse(&text, tokens, None) {
            Ok(j) => prop_assert_eq!(Observable::parse(&j.to_string(), tokens, None).ok(), Some(j)),
            Err(error) => prop_assert!(!error.to_string().contains('\n'), "{}", error),
        }
    }
}
