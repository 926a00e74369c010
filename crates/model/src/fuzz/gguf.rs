//! Damages GGUF files: their bytes, their metadata and their lists of tensors.

use super::*;
use crate::gguf::Gguf;
use crate::gguf::writer::{Field, Writer, llama};

/// Name of the damaged file: it may be a part of a split model.
const NAME: &str = "m-00001-of-00002.gguf";

/// One change of a file under construction. `place` and `argument` are taken modulo the number of choices.
#[derive(Clone, Debug)]
struct Damage {
    kind: u8,
    place: u32,
    argument: u32,
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let one = (0..8u8, any::<u32>(), any::<u32>());
    prop::collection::vec(one.prop_map(|(kind, place, argument)| Damage { kind, place, argument }), 1..4)
}

/// Returns a number that a reader may not expect.
fn odd(argument: u32) -> u64 {
    let numbers = [0, 1, 2, 3, 5, 7, 11, 31, 32, 33, 64, 255, 256, 65536, 1 << 31, u64::from(u32::MAX), 1 << 40];
    let large = [u64::MAX, u64::MAX - 31, u64::MAX / 2, i64::MAX as u64, 1 << 61, 1 << 62];
    let all = [&numbers[..], &large[..]].concat();
    all[argument as usize % all.len()]
}

fn field(argument: u32) -> Field {
    let rest = argument / 16;
    let text = |text: &str| Field::Text(text.to_owned());
    let texts =
        ["", "gpt2", "llama", "gptneox", "gemma3", "qwen2", "olmo", "tekken", "yarn", "linear", "a\nb", "\u{1b}[31m"];
    match argument % 16 {
        0 => Field::U16(rest as u16),
        1 | 2 => Field::U32(odd(rest) as u32),
        3 => Field::I32(odd(rest) as i32),
        4 => Field::F32([0.0, -1.0, 1.0, 1e-6, f32::NAN, f32::INFINITY, 1e38, 8.0][rest as usize % 8]),
        5 => Field::Flag(rest % 2 == 1),
        6 | 7 => text(texts[rest as usize % texts.len()]),
        8 => Field::Texts(texts[..rest as usize % (texts.len() + 1)].iter().map(|&text| text.to_owned()).collect()),
        9 => Field::I32s(vec![odd(rest) as i32; rest as usize % 13]),
        10 => Field::F32s(vec![f32::from_bits(rest << 8); rest as usize % 13]),
        11 => Field::Raw(9, [&(rest % 14).to_le_bytes()[..], &odd(rest / 14).to_le_bytes()].concat()),
        12 => Field::Raw(rest % 14, odd(rest / 14).to_le_bytes().to_vec()),
        13 => Field::Raw(9, [&9u32.to_le_bytes()[..], &odd(rest).to_le_bytes()].concat().repeat(rest as usize % 40)),
        14 => Field::Raw(10, odd(rest).to_le_bytes().to_vec()),
        _ => Field::Raw(12, f64::from_bits(odd(rest)).to_le_bytes().to_vec()),
    }
}

/// Keys that a reader asks for.
const KEYS: [&str; 24] = [
    "general.architecture",
    "general.alignment",
    "split.count",
    "split.no",
    "split.tensors.count",
    "llama.block_count",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.sliding_window",
    "llama.rope.freq_base",
    "llama.rope.dimension_count",
    "llama.rope.scaling.type",
    "llama.rope.scaling.factor",
    "llama.vocab_size",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_space_prefix",
];

/// Architectures that have all tensors of a Llama.
const RELATIVES: [&str; 4] = ["gemma2", "gemma3", "qwen2", "qwen3"];

/// Gives the metadata of a Llama the names of another architecture.
fn renamed(mut writer: Writer, arch: &str) -> Writer {
    for (key, field) in &mut writer.fields {
        if let Some(rest) = key.strip_prefix("llama.") {
            *key = format!("{arch}.{rest}");
        }
        if key == "general.architecture" {
            *field = Field::Text(arch.to_owned());
        }
    }
    let more = ["rope.dimension_count", "rope.freq_base", "attention.sliding_window"];
    let more = &more[..if arch.starts_with("gemma") { 3 } else { 2 }];
    more.iter().fold(writer, |writer, key| writer.set(&format!("{arch}.{key}"), Field::U32(2)))
}

/// Returns the two parts of a split model.
fn parts() -> [Writer; 2] {
    let (mut first, mut second) = (llama(), Writer::new());
    second.tensors = first.tensors.split_off(6);
    let split = |writer: Writer, i| writer.set("split.no", Field::U16(i)).set("split.count", Field::U16(2));
    [split(first, 0), split(second, 1)]
}

fn damaged(mut writer: Writer, by: &[Damage]) -> Writer {
    for Damage { kind, place, argument } in by {
        let at = *place as usize;
        let tensor = at % writer.tensors.len().max(1);
        match kind {
            0..=2 => {
                let key = KEYS[at % KEYS.len()].to_owned();
                writer = writer.set(&key, field(*argument));
            }
            3 if !writer.fields.is_empty() => {
                let at = at % writer.fields.len();
                writer.fields[at].1 = field(*argument);
            }
            4 if !writer.fields.is_empty() => {
                writer.fields.remove(at % writer.fields.len());
            }
            5 => {
                writer = renamed(writer, RELATIVES[*argument as usize % RELATIVES.len()]);
            }
            _ => {
                let Some(tensor) = writer.tensors.get_mut(tensor) else { continue };
                match argument % 5 {
                    0 => tensor.dims = vec![odd(argument / 5), odd(argument / 7)],
                    1 => tensor.dims.push(odd(argument / 5)),
                    2 => tensor.kind = argument / 5 % 45,
                    3 => tensor.offset = Some(odd(argument / 5)),
                    _ => {
                        tensor.name = ["output.weight", "rope_freqs.weight", "blk.0.attn_qkv.weight", "\n"]
                            [(argument / 5) as usize % 4]
                            .to_owned();
                    }
                }
            }
        }
    }
    writer
}

/// Opens a file, reads all of its tensors, and uses its tokenizer.
fn open(dir: &Path) {
    let path = dir.join(NAME);
    let size = std::fs::metadata(&path).map_or(0, |file| file.len() as usize);
    let mut opened = None;
    let largest = memory::largest(|| opened = one_line(Gguf::open(&path)));
    assert!(largest < 16 * size + 65536, "a file of {size} bytes asks for {largest} at once");
    let Some(gguf) = opened else { return };
    for (name, shape, _) in gguf.tensors() {
        let mut out = vec![0.0; shape.iter().product()];
        one_line(gguf.read(name, 0..shape[0], &mut out));
        one_line(gguf.read(name, shape[0] - 1..shape[0], &mut out[..shape[1..].iter().product()]));
    }
    let Some(Some(tokenizer)) = one_line(gguf.tokenizer()) else { return };
    for text in TEXTS {
        let Some(ids) = one_line(tokenizer.prompt(text)) else { continue };
        one_line(tokenizer.decode(&ids));
    }
}

#[test]
fn seeds_of_gguf_open() {
    for writer in RELATIVES.map(|arch| renamed(llama(), arch)).into_iter().chain([llama()]) {
        run_on(&[(NAME, &writer.bytes())], |dir| {
            let gguf = Gguf::open(&dir.join(NAME)).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(gguf.tensors().count(), 11);
        });
    }
    let [first, second] = parts().map(|part| part.bytes());
    run_on(&[(NAME, &first), ("m-00002-of-00002.gguf", &second)], |dir| {
        assert_eq!(Gguf::open(&dir.join(NAME)).unwrap_or_else(|e| panic!("{e}")).tensors().count(), 11);
    });
}

proptest! {
    #![proptest_config(cases(800))]

    #[test]
    fn gguf_bytes(by in mutations()) {
        run_on(&[(NAME, &bytes(llama().bytes(), &by))], open);
    }

    #[test]
    fn gguf_fields(by in damages()) {
        run_on(&[(NAME, &damaged(llama(), &by).bytes())], open);
    }

    #[test]
    fn gguf_parts(by in damages(), other in damages(), which in 1..4u8) {
        let [first, second] = parts();
        let first = if which & 1 == 1 { damaged(first, &by) } else { first };
        let second = if which & 2 == 2 { damaged(second, &other) } else { second };
        run_on(&[(NAME, &first.bytes()), ("m-00002-of-00002.gguf", &second.bytes())], open);
    }

    /// Bytes of the header of a model with blocks of several formats.
    #[test]
    fn gguf_headers(which in 0..10usize, at in prop::collection::vec((any::<u32>(), any::<u8>()), 1..5)) {
        let name = [
            "llama", "gpt2", "gptneox", "gemma", "gemma2", "gemma3", "qwen2", "qwen3", "olmo2", "starcoder2",
        ][which];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/gguf");
        let mut bytes = std::fs::read(folder.join(format!("{name}.gguf"))).expect("a file");
        for (at, byte) in at {
            // The header has about 2000 bytes.
            bytes[at as usize % 2200] = byte;
        }
        run_on(&[(NAME, &bytes)], open);
    }
}
