//! Mutations of JSON values and of bytes.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// One mutation. `place` and `argument` are taken modulo the number of choices.
#[derive(Clone, Debug)]
pub(super) struct Mutation {
    kind: u8,
    place: u32,
    argument: u32,
}

impl Mutation {
    /// Returns a mutation that was found to matter.
    pub(super) fn found(kind: u8, place: u32, argument: u32) -> Self {
        Self { kind, place, argument }
    }
}

/// Generates one to four mutations.
pub(super) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let one = (0..16u8, any::<u32>(), any::<u32>());
    let one = one.prop_map(|(kind, place, argument)| Mutation { kind, place, argument });
    prop::collection::vec(one, 1..5)
}

/// Mutations of a kind below this change JSON values, the others bytes.
const VALUES: u8 = 12;

/// Applies the mutations of JSON values.
pub(super) fn json(mut value: Value, by: &[Mutation]) -> Value {
    for Mutation { kind, place, argument } in by.iter().filter(|m| m.kind < VALUES) {
        let mut left = *place as usize % count(&value);
        let other = { pick(&value, *argument as usize % count(&value)).clone() };
        change(&mut value, &mut left, &mut |value| match kind {
            0..=5 => *value = odd(*argument),
            6 => *value = other.clone(),
            7 => remove(value, *argument),
            8 => insert(value, *argument),
            9 => *value = nested(*argument % 300),
            10 => near(value, *argument),
            _ => repeat(value, *argument),
        });
    }
    value
}

/// Applies the mutations of bytes.
pub(super) fn bytes(mut bytes: Vec<u8>, by: &[Mutation]) -> Vec<u8> {
    for Mutation { kind, place, argument } in by.iter().filter(|m| m.kind >= VALUES) {
        let at = *place as usize % (bytes.len() + 1);
        match kind {
            12 if at < bytes.len() => bytes[at] = *argument as u8,
            13 => bytes.truncate(at),
            14 => drop(bytes.splice(0..0, [0xEF, 0xBB, 0xBF])),
            _ => drop(bytes.splice(at..at, argument.to_le_bytes())),
        }
    }
    bytes
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

fn pick(value: &Value, mut at: usize) -> &Value {
    if at == 0 {
        return value;
    }
    at -= 1;
    let inner: Vec<&Value> = match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    for inner in inner {
        match count(inner) {
            n if at < n => return pick(inner, at),
            n => at -= n,
        }
    }
    value
}

/// Calls `with` on the value number `left`, counted from `value` in the order of the text. Then sets `left` to
/// `usize::MAX`.
fn change(value: &mut Value, left: &mut usize, with: &mut dyn FnMut(&mut Value)) {
    if *left == 0 {
        with(value);
        *left = usize::MAX;
        return;
    }
    *left -= 1;
    let inner: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => Vec::new(),
    };
    for inner in inner {
        if *left == usize::MAX {
            return;
        }
        change(inner, left, with);
    }
}

/// Returns a value that a reader may not expect.
fn odd(argument: u32) -> Value {
    let odd = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(2),
        json!(0.5),
        json!(1e308),
        json!(u32::MAX),
        json!(i32::MAX),
        json!(u64::MAX),
        json!(u64::MAX / 4),
        json!(1_u64 << 40),
        json!(""),
        json!(" "),
        json!("a"),
        json!("\u{0}\n\r\u{1b}[31m"),
        json!("x".repeat(5000)),
        json!("日本\u{301}🦀"),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"": ""}),
        json!("<|endoftext|>"),
        json!("(a*)*b"),
        json!("[\\s\\S]"),
        json!("("),
        json!("\\p{L}+(?!x)"),
        json!({"String": ""}),
        json!({"Regex": ".*?"}),
        json!("Sequence"),
        json!("ByteLevel"),
        json!("Unigram"),
        json!("BPE"),
        json!("WordPiece"),
        json!("WordLevel"),
        json!("Strip"),
        json!("FixedLength"),
        json!("Metaspace"),
        json!("../x"),
        json!({"type": "Strip", "content": "a", "start": 9, "stop": 9}),
        json!({"type": "FixedLength", "length": 0}),
        json!({"type": "Precompiled", "precompiled_charsmap": "////fw=="}),
        json!({"type": "Digits", "individual_digits": true}),
        json!({"type": "Replace", "pattern": {"String": ""}, "content": "y"}),
        json!({"type": "Nmt"}),
        json!({"type": "NFKD"}),
        json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false}),
        json!({"type": "Replace", "pattern": {"Regex": "a*"}, "content": ""}),
        json!({"type": "StripAccents"}),
        json!({"type": "CTC", "pad_token": "a", "word_delimiter_token": "", "cleanup": true}),
        json!({"type": "Fuse"}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "ByteFallback"}),
        json!({"type": "BPEDecoder", "suffix": ""}),
        json!({"type": "Lowercase"}),
        json!({"type": "Prepend", "prepend": ""}),
        json!({"type": "BertProcessing", "sep": ["a", 5_000_000], "cls": ["", 1]}),
        json!({"type": "Punctuation", "behavior": "Removed"}),
        json!({"type": "CharDelimiterSplit", "delimiter": "a"}),
        json!({"type": "UnicodeScripts"}),
        json!({"type": "RobertaProcessing", "sep": ["", 1], "cls": ["", 2], "trim_offsets": true, "add_prefix_space": true}),
    ];
    odd[argument as usize % odd.len()].clone()
}

fn remove(value: &mut Value, argument: u32) {
    match value {
        Value::Array(list) if !list.is_empty() => drop(list.remove(argument as usize % list.len())),
        Value::Object(map) => {
            let key = map.keys().nth(argument as usize % map.len().max(1)).cloned();
            key.and_then(|key| map.remove(&key));
        }
        _ => *value = Value::Null,
    }
}

fn insert(value: &mut Value, argument: u32) {
    match value {
        Value::Array(list) => list.insert(argument as usize % (list.len() + 1), odd(argument)),
        Value::Object(map) => drop(map.insert(format!("k{}", argument % 7), odd(argument / 7))),
        other => *other = json!([other.clone(), odd(argument)]),
    }
}

fn nested(depth: u32) -> Value {
    (0..depth).fold(json!(1), |inner, at| match at % 2 {
        0 => json!([inner]),
        _ => Value::Object(Map::from_iter([("normalizers".to_owned(), inner)])),
    })
}

/// Changes a number or a text slightly, or inverts a flag.
fn near(value: &mut Value, argument: u32) {
    match value {
        Value::Number(n) => *value = json!(n.as_i64().unwrap_or(0).wrapping_add(i64::from(argument % 7) - 3)),
        Value::String(text) => {
            let keep = argument as usize % (text.chars().count() + 1);
            *text = text
                .chars()
                .take(keep)
                .chain(['Ġ', 'a', '\u{301}', '\n'].get(argument as usize % 5).copied())
                .collect();
        }
        Value::Bool(flag) => *flag = !*flag,
        _ => {}
    }
}

/// Repeats an element of a list, or an entry of an object under another name.
fn repeat(value: &mut Value, argument: u32) {
    match value {
        Value::Array(list) => {
            if let Some(again) = list.get(argument as usize % list.len().max(1)).cloned() {
                list.push(again);
            }
        }
        Value::Object(map) => {
            if let Some((key, again)) = map.iter().nth(argument as usize % map.len().max(1)) {
                let (key, again) = (format!("{key}{}", argument % 3), again.clone());
                map.insert(key, again);
            }
        }
        _ => {}
    }
}
