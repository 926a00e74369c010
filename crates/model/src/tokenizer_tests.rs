use std::path::PathBuf;

use super::*;

/// Returns a path in the folder of shared test data. Prints a note and returns `None` if it does not exist.
pub(crate) fn shared(part: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let root = std::env::var_os("RESOLVENT_SHARED").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let path = root.join(part);
    if path.exists() {
        return Some(path);
    }
    eprintln!("left out: there is no {}; RESOLVENT_SHARED names the folder", path.display());
    None
}

pub(crate) fn gpt2() -> Option<Tokenizer> {
    let dir = shared("tokenizers/gpt2")?;
    Some(Tokenizer::open(&dir).unwrap().unwrap())
}

/// Returns a tokenizer of the letters of `abc`, a space, two merges, two more bytes and the special token.
pub(crate) fn tiny() -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    write_tiny(dir.path());
    Tokenizer::open(dir.path()).unwrap().unwrap()
}

fn write_tiny(dir: &Path) {
    let vocab = r#"{"a":0,"b":1,"c":2,"Ġ":3,"ab":4,"Ġab":5,"<|endoftext|>":6,"â":7,"Ċ":8}"#;
    std::fs::write(dir.join("vocab.json"), vocab).unwrap();
    std::fs::write(dir.join("merges.txt"), "#version: 0.2\na b\nĠ ab\n").unwrap();
}

fn open_error(files: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    write_tiny(dir.path());
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Tokenizer::open(dir.path()).map(|t| t.map(|t| t.len())).expect_err("bad file").to_string()
}

#[test]
fn gpt2_ids_are_those_of_the_release() {
    let Some(gpt2) = gpt2() else { return };
    assert_eq!(gpt2.len(), 50257);
    let text = "Data visualization empowers users to";
    let ids = gpt2.encode(text).unwrap();
    assert_eq!(ids, [6601, 32704, 795, 30132, 2985, 284]);
    assert_eq!(gpt2.decode(&ids).unwrap(), text);
    assert_eq!(gpt2.token(32704), " visualization");
    assert_eq!(gpt2.encode("a<|endoftext|>").unwrap(), [64, 50256]);
    assert_eq!(gpt2.token(50256), "<|endoftext|>");
    assert_eq!(gpt2.token(50300), "#50300");
}

#[test]
fn gpt2_round_trips() {
    let Some(gpt2) = gpt2() else { return };
    let texts = [
        "",
        " ",
        "\n\n\t x  y ",
        "I'll they're",
        "12345 67",
        "naïve café – “quotes”",
        "日本語のテキスト",
        "🦀👩‍👩‍👧 ok",
        "\u{0}\u{7f}\u{ad}\u{a0}",
        "ŠĠċ",
        "fn main() { let x = 1; }",
    ];
    for text in texts {
        let ids = gpt2.encode(text).unwrap();
        assert_eq!(gpt2.decode(&ids).unwrap(), text);
    }
}

#[test]
fn pieces_that_are_no_text_show_their_bytes() {
    let Some(gpt2) = gpt2() else { return };
    let shown: String = gpt2.encode("–🦀").unwrap().iter().map(|&id| gpt2.token(id)).collect();
    assert!(shown.starts_with('–') && shown.contains("<0xF0>"), "{shown}");
    assert_eq!(tiny().token(7), "<0xE2>");
}

#[test]
fn single_tokens() {
    let Some(gpt2) = gpt2() else { return };
    assert_eq!(gpt2.single(" Paris").unwrap(), 6342);
    assert_eq!(gpt2.single("#6342").unwrap(), 6342);
    assert_eq!(gpt2.single("#").unwrap(), 2, "a lone # is text");
    let text = gpt2.single("Paris!").unwrap_err().to_string();
    assert_eq!(text, "`Paris!` is 2 tokens: `Paris` #40313, `!` #0; it must be one token; did you mean ` Paris`?");
    let text = gpt2.single("Berlin").unwrap_err().to_string();
    assert!(text.ends_with("did you mean ` Berlin`?"), "{text}");
    let text = gpt2.single("xq zv kj wq jx vv zz").unwrap_err().to_string();
    assert!(text.contains(", …; it must be one token") && text.ends_with("write one of them as #id"), "{text}");
    let text = gpt2.single("").unwrap_err().to_string();
    assert!(text.contains("and it is empty"), "{text}");
    for id in ["#50257", "#4294967296", "#99999999999999999999999"] {
        let text = gpt2.single(id).unwrap_err().to_string();
        assert_eq!(text, format!("token {id} is not in the tokenizer, which has 50257"));
    }
}

#[test]
fn vocab_and_merges() {
    let tiny = tiny();
    assert_eq!(tiny.encode("ab abc").unwrap(), [4, 5, 2]);
    assert_eq!(tiny.decode(&[4, 5, 2]).unwrap(), "ab abc");
    assert_eq!(tiny.single(" ab").unwrap(), 5);
    let text = tiny.single("a\n").unwrap_err().to_string();
    assert!(text.starts_with("`a\\n` is 2 tokens: `a` #0, `\\n` #8;"), "{text}");
}

#[test]
fn text_without_tokens_is_refused() {
    for text in ["q", "aq", "ab q"] {
        let message = tiny().encode(text).unwrap_err().to_string();
        assert_eq!(message, format!("`{text}` has characters that this tokenizer has no token for"));
        assert!(matches!(tiny().single(text), Err(Error::Token { .. })));
    }
    let message = tiny().decode(&[0, 99]).unwrap_err().to_string();
    assert_eq!(message, "token #99 is not in the tokenizer, which has 9");
}

/// Only the model can lose text. Text that added tokens strip, or a normalizer replaces, is not lost.
#[test]
fn stripped_and_normalized_text_is_not_lost() {
    let mut tiny = tiny();
    let strip = tokenizers::AddedToken::from("<m>", true).lstrip(true).rstrip(true);
    tiny.inner.add_tokens([strip]).unwrap();
    assert_eq!(tiny.encode("a  <m> b").unwrap(), [0, 9, 1]);
    assert!(tiny.encode("q <m> b").unwrap_err().to_string().contains("no token for"));
    tiny.inner.with_normalizer(Some(tokenizers::normalizers::utils::Lowercase)).unwrap();
    assert_eq!(tiny.encode("AB <m> C").unwrap(), [4, 9, 2]);
    assert!(tiny.encode("Q").unwrap_err().to_string().contains("no token for"));
    tiny.inner.with_normalizer(Some(tokenizers::normalizers::Strip::new(true, true))).unwrap();
    assert_eq!(tiny.encode("  a ").unwrap(), [0]);
}

#[test]
fn no_blank_is_suggested_for_an_emoji() {
    let vocab = r#"{"a":0,"Ġ":1,"ð":2,"Ł":3,"¦":4,"Ģ":5}"#;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vocab.json"), vocab).unwrap();
    std::fs::write(dir.path().join("merges.txt"), "#version: 0.2\n").unwrap();
    let tokenizer = Tokenizer::open(dir.path()).unwrap().unwrap();
    let text = tokenizer.single("🦀").unwrap_err().to_string();
    assert!(text.starts_with("`🦀` is 4 tokens: ") && text.ends_with("write one of them as #id"), "{text}");
    assert!(tokenizer.single("a!").unwrap_err().to_string().contains("no token for"));
}

#[test]
fn files_may_begin_with_a_byte_order_mark() {
    let dir = tempfile::tempdir().unwrap();
    write_tiny(dir.path());
    for name in ["vocab.json", "merges.txt"] {
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name), format!("\u{feff}{text}")).unwrap();
    }
    std::fs::write(dir.path().join("tokenizer_config.json"), "\u{feff}{\"add_prefix_space\": true}").unwrap();
    let tokenizer = Tokenizer::open(dir.path()).unwrap().unwrap();
    assert_eq!(tokenizer.encode("ab").unwrap(), [5]);
    let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for name in ["tokenizer_config.json", "vocab.json", "tokenizer.json"] {
        std::fs::write(dir.path().join(name), &utf16).unwrap();
        let text = Tokenizer::open(dir.path()).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("it is UTF-16 text, not UTF-8"), "{text}");
    }
}

#[test]
fn a_saved_tokenizer_json_gives_the_same() {
    let tiny = tiny();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    tiny.inner.save(&path, false).unwrap();
    let again = Tokenizer::open(dir.path()).unwrap().unwrap();
    for text in ["ab abc", "<|endoftext|>a", "b\n"] {
        assert_eq!(again.encode(text).unwrap(), tiny.encode(text).unwrap());
    }
    assert_eq!(again.token(5), " ab");
}

#[test]
fn padding_and_truncation_of_the_file_are_not_applied() {
    let dir = tempfile::tempdir().unwrap();
    let mut inner = tiny().inner;
    inner.with_truncation(Some(tokenizers::TruncationParams { max_length: 1, ..Default::default() })).unwrap();
    inner.save(dir.path().join("tokenizer.json"), false).unwrap();
    assert_eq!(Tokenizer::open(dir.path()).unwrap().unwrap().encode("abc").unwrap(), [4, 2]);
}

#[test]
fn a_directory_without_tokenizer_has_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Tokenizer::open(dir.path()).unwrap().is_none());
    std::fs::write(dir.path().join("vocab.json"), "{}").unwrap();
    let text = Tokenizer::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("merges.txt"), "{text}");
}

#[test]
fn damaged_files_are_named() {
    let model =
        |vocab: &str, merges: &str| format!(r#"{{"model": {{"type": "BPE", "vocab": {vocab}, "merges": {merges}}}}}"#);
    let cases = [
        ("vocab.json", "{".to_owned(), "vocab.json: not a JSON object of pieces and ids"),
        ("vocab.json", r#"{"a": -1}"#.to_owned(), "not a JSON object of pieces and ids"),
        ("vocab.json", r#"{"a": 1, "b": 1}"#.to_owned(), "id 1 is given twice"),
        ("merges.txt", "ab\n".to_owned(), "merges.txt: line 1: `ab` is not a pair"),
        // The tokenizers crate panics if the result of a merge is longer than every piece.
        ("merges.txt", "Ġab ab\n".to_owned(), "line 1: the merge `Ġab ab` needs `Ġabab`, which the vocabulary lacks"),
        ("tokenizer.json", model(r#"{"a": 0}"#, r#"["a a"]"#), "the merge `a a` needs `aa`"),
        ("tokenizer.json", model(r#"{"a": 0}"#, r#"[["a", "a"]]"#), "the merge `a a` needs `aa`"),
        ("tokenizer.json", model(r#"{"a": 0}"#, "[7]"), "the merge 7 is not a pair"),
        ("tokenizer.json", model("[]", "[]"), "must be an object"),
        ("tokenizer.json", "{}".to_owned(), "`model` is missing"),
        ("tokenizer.json", "nonsense".to_owned(), "tokenizer.json: not a JSON object"),
        (
            "tokenizer.json",
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_owned(),
            "tokenizer.json: it is a Git LFS pointer, not the file itself: run `git lfs pull`",
        ),
        ("tokenizer_config.json", "[]".to_owned(), "tokenizer_config.json: not a JSON object"),
        ("tokenizer_config.json", r#"{"bos_token": 3}"#.to_owned(), "`bos_token` must be a token"),
        ("tokenizer_config.json", r#"{"add_prefix_space": "yes"}"#.to_owned(), "must be true or false"),
        ("tokenizer_config.json", r#"{"tokenizer_class": "T5Tokenizer"}"#.to_owned(), "is not supported"),
        ("tokenizer_config.json", r#"{"auto_map": {"AutoTokenizer": ["x"]}}"#.to_owned(), "Python code"),
        ("added_tokens.json", r#"{"<x>": "9"}"#.to_owned(), "the id of `<x>` must be a whole number"),
        ("added_tokens.json", r#"{"<x>": 11}"#.to_owned(), "declared to have id 11, and Hugging Face gives it 9"),
        ("special_tokens_map.json", r#"{"bos_token": {}}"#.to_owned(), "has no `content`"),
    ];
    for (name, text, expected) in cases {
        let found = open_error(&[(name, &text)]);
        assert!(found.contains(expected), "{name} {text}: {found}");
        assert!(found.ends_with("download the tokenizer again, or use token ids"), "{found}");
    }
}
