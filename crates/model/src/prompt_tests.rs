use super::*;
use crate::tokenizer::tests::tiny;

fn sizes() -> Sizes {
    let json = r#"{"model_type": "gpt2", "n_layer": 1, "n_embd": 4, "n_head": 1, "vocab_size": 9, "n_positions": 3}"#;
    *crate::arch::Architecture::from_json(json).unwrap().sizes()
}

#[test]
fn a_token_is_text_or_an_id() {
    let tokenizer = tiny();
    assert_eq!(parse_token(Some(&tokenizer), 9, " ab").unwrap(), 5);
    assert_eq!(parse_token(Some(&tokenizer), 9, "#5").unwrap(), 5);
    assert_eq!(parse_token(None, 9, "#8").unwrap(), 8);
    // A model may have more ids than its tokenizer has pieces.
    assert_eq!(parse_token(Some(&tokenizer), 64, "#60").unwrap(), 60);
}

#[test]
fn errors_name_the_invalid_token() {
    let tokenizer = tiny();
    let error = |tokenizer, arg| parse_token(tokenizer, 4, arg).expect_err(arg).to_string();
    assert_eq!(
        error(None, " Paris"),
        "` Paris` is text, and this model has no tokenizer; write the token as an id: #123"
    );
    for arg in ["#4", "#99999999999999"] {
        let expected = format!("token `{arg}` is outside the vocabulary; this model's ids are 0 to 3");
        assert_eq!(error(None, arg), expected);
        assert_eq!(error(Some(&tokenizer), arg), expected);
    }
    assert_eq!(error(Some(&tokenizer), "ab"), "token `ab` is outside the vocabulary; this model's ids are 0 to 3");
    assert!(error(Some(&tokenizer), "aa").starts_with("`aa` is 2 tokens: `a` #0, `a` #0; it must be one token"));
}

#[test]
fn lists_of_ids() {
    assert_eq!(parse_tokens("5,9,12", 13).unwrap(), [5, 9, 12]);
    assert_eq!(parse_tokens(" 5 , #9 ", 13).unwrap(), [5, 9]);
}

#[test]
fn errors_name_the_invalid_entry_of_a_list() {
    let cases = [
        ("", "the list of tokens is empty; write ids with commas between them: 5,9,12"),
        ("  ", "the list of tokens is empty; write ids with commas between them: 5,9,12"),
        ("5,,9", "invalid token id `` at position 1: expected ids such as 5,9,12"),
        ("5,9,", "invalid token id `` at position 2: expected ids such as 5,9,12"),
        ("5,x", "invalid token id `x` at position 1: expected ids such as 5,9,12"),
        ("-1", "invalid token id `-1` at position 0: expected ids such as 5,9,12"),
        ("5 9", "invalid token id `5 9` at position 0: expected ids such as 5,9,12"),
        ("1,13", "token 13 at position 1 is outside the vocabulary; this model's ids are 0 to 12"),
        ("4294967296", "token 4294967296 at position 0 is outside the vocabulary; this model's ids are 0 to 12"),
    ];
    for (arg, expected) in cases {
        assert_eq!(parse_tokens(arg, 13).expect_err(arg).to_string(), expected);
    }
}

#[test]
fn prompts_are_checked() {
    let sizes = sizes();
    check_prompt(&sizes, &[0, 8, 3]).unwrap();
    let error = |tokens: &[u32]| check_prompt(&sizes, tokens).unwrap_err().to_string();
    assert_eq!(error(&[]), "the prompt is empty; at least one token is needed");
    assert_eq!(error(&[0; 4]), "the prompt has 4 tokens; the model has positions for 3: shorten it");
    assert_eq!(
        error(&[0, 9]),
        "token 9 at position 1 of the prompt is outside the vocabulary; this model's ids are 0 to 8 \
         (does the tokenizer belong to this model?)"
    );
}
