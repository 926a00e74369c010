use proptest::prelude::*;

use super::*;

const TOKENS: usize = 12;

/// The distribution that `base` denotes at any position.
fn base(_: usize) -> Result<Distribution> {
    Ok(Distribution::of(&[1.0, 2.0]))
}

fn parse(text: &str) -> Result<Observable> {
    let tokenizer = crate::tokenizer::tests::tiny();
    let direction = |file: &str| Ok(vec![file.len() as f32]);
    let context = ObservableContext {
        tokens: TOKENS,
        tokenizer: Some(&tokenizer),
        base: Some(&base),
        direction: Some(&direction),
    };
    Observable::parse(text, &context)
}

fn read(text: &str) -> Observable {
    parse(text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn each_kind_is_written_and_read() {
    let base = || base(0).expect("a distribution");
    for (text, j) in [
        ("logit(#6342)@4", Observable::logit(6342, 4)),
        ("logit(#6342)@4 - logit(#5)@4", Observable::logit_diff(6342, 5, 4)),
        ("-0.5 * logit(#3)@0 + 2 * logit(#0)@0", -0.5 * Observable::logit(3, 0) + 2.0 * Observable::logit(0, 0)),
        ("logprob(#7)@11", Observable::log_prob(7, 11)),
        ("logit(#1)@0 - logprob(#2)@1", Observable::logit(1, 0) - Observable::log_prob(2, 1)),
        ("prob(#7|#9)@11", Observable::prob(&[7, 9], 11)),
        ("-entropy()@3", -Observable::entropy(3)),
        ("kl(base)@3 + kl_from(base)@4", Observable::kl(base(), 3) + Observable::kl_from(base(), 4)),
        ("continuation(#7, #9)@11", Observable::continuation(&[7, 9], 11)),
        ("project(2, 4, [1, -0.25])", Observable::projection(2, 4, vec![1.0, -0.25])),
        ("0.5 * project(0, 1, [])", 0.5 * Observable::projection(0, 1, Vec::new())),
        ("0", Observable::default()),
    ] {
        assert_eq!((j.to_string().as_str(), read(text)), (text, j));
    }
}

#[test]
fn a_position_counts_from_the_end_too() {
    assert_eq!(read("logit(#1)@-3"), Observable::logit(1, 9));
    assert_eq!(read("logprob(#1)"), Observable::log_prob(1, 11));
    assert_eq!(read(" logit( #1 ) @ -1-1e-2*logit(#2) "), Observable::logit(1, 11) - 0.01 * Observable::logit(2, 11));
    assert_eq!(read("project(0,-1,[])"), Observable::projection(0, 11, Vec::new()));
}

/// The tokenizer of the tests has the tokens `a` #0, `b` #1 and `ab` #4.
#[test]
fn tokens_may_be_text() {
    assert_eq!(read("logit(\"ab\") - logit('b')"), Observable::logit_diff(4, 1, 11));
    assert_eq!(read("prob(\"a\" | \"b\" | #2)@3"), Observable::prob(&[0, 1, 2], 3));
    assert_eq!(read("continuation(\"abb\")"), Observable::continuation(&[4, 1], 11));
    assert_eq!(read("continuation(\"a\", \"b\")"), Observable::continuation(&[0, 1], 11));
    assert_eq!(read("project(1, 2, \"four\")"), Observable::projection(1, 2, vec![4.0]));
    assert!(parse("logit(\"abb\")").expect_err("two tokens").to_string().contains("is 2 tokens"));
}

#[test]
fn what_is_wrong_is_named() {
    for (text, part) in [
        ("", "expected logit(TOKEN), logprob(TOKEN), prob(TOKEN|TOKEN), entropy(), kl(base), kl_from(base), "),
        ("logits(#1)", "at `logits(#1)`"),
        ("logit(#1) + ", "continuation(TEXT) or project(LEVEL, POSITION, [..]) at its end"),
        ("logit(#-1)", "expected a token id at `-1)`"),
        ("logit(1)", "expected a token, #ID or \"text\", at `1)`"),
        ("logit(#99999999999)", "expected a token id at `99999999999)`"),
        ("logit(\"a)", "expected `\"` after the text that begins at `\"a)`"),
        ("logit(#1)@12", "position 12 is out of range; there are 12, 0 to 11 or -1 to -12"),
        ("logit(#1)@", "expected a position at its end"),
        ("logit(#1) logit(#2)", "expected `+`, `-` or the end of the text at `logit(#2)`"),
        ("1e99 * logit(#1)", "expected a finite number at `1e99 * logit(#1)`"),
        ("3 logit(#1)", "expected `*` at `logit(#1)`"),
        ("entropy(#1)", "expected `)` at `#1)`"),
        ("prob(#1, #2)", "expected `)` at `, #2)`"),
        ("continuation(\"\")", "at least one token"),
        ("project(1, 2, [0.5)", "expected `,` at `)`"),
        ("project(-1, 2, [0.5])", "expected a level at `-1, 2, [0.5])`"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
    }
    let alone = ObservableContext { tokens: TOKENS, ..Default::default() };
    for (text, part) in [
        ("kl_from(base)", "kl_from(base) requires a base run"),
        ("logit(\" Paris\")", "a token given as text requires a tokenizer; write its id, such as #1234"),
        ("project(1, 2, \"file\")", "a direction in a file is not read here"),
    ] {
        let error = Observable::parse(text, &alone).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
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

fn quantities() -> impl Strategy<Value = Quantity> {
    let ids = || prop::collection::vec(any::<u32>(), 1..4);
    let base = Distribution::of(&[1.0, 2.0]);
    prop_oneof![
        any::<u32>().prop_map(Quantity::Logit),
        any::<u32>().prop_map(Quantity::LogProb),
        ids().prop_map(Quantity::Prob),
        Just(Quantity::Entropy),
        Just(Quantity::Kl(base.clone())),
        Just(Quantity::KlFrom(base)),
        (any::<usize>(), prop::collection::vec(finite(), 0..6))
            .prop_map(|(level, direction)| Quantity::Project { level, direction }),
        ids().prop_map(Quantity::Continuation),
    ]
}

fn observables() -> impl Strategy<Value = Observable> {
    let term = (finite(), quantities(), 0..TOKENS);
    let term = term.prop_map(|(weight, quantity, position)| Term { weight, quantity, position });
    prop::collection::vec(term, 0..5).prop_map(Observable::new)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_is_the_inverse_of_writing(j in observables()) {
        let text = j.to_string();
        prop_assert_eq!(parse(&text).map_err(|e| e.to_string()), Ok(j), "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused_in_one_line(
        text in "(logit|logprob|prob|entropy|kl|kl_from|project|continuation|base|[-+*@#|(),.\\[\\] \"'\\\\\n0-9eé]){0,12}",
        tokens in 0..4usize,
    ) {
        let context = ObservableContext { tokens, base: Some(&base), ..Default::default() };
        match Observable::parse(&text, &context) {
            Ok(j) => prop_assert_eq!(Observable::parse(&j.to_string(), &context).ok(), Some(j)),
            Err(error) => prop_assert!(!error.to_string().contains('\n'), "{}", error),
        }
    }
}
