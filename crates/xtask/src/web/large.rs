//! Large model files, which the test of the page makes and nothing else needs.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::Value;

use crate::process::{Result, root};

/// The number formats of GGUF that are written here: number and bytes of a block, elements of a block.
#[derive(Clone, Copy)]
pub(super) enum Format {
    /// 16-bit floats.
    F16,
    /// Blocks of 32 elements of four bits with a scale. Their bytes are zeros, which take no room on the disk.
    Zeros,
}

/// Sizes of a model of the Llama family.
pub(super) struct Shape {
    pub(super) blocks: u64,
    pub(super) d: u64,
    pub(super) inner: u64,
}

/// Elements of the pattern that the weights repeat. No width of a matrix divides it.
const PATTERN: usize = 1_000_003;
const ALIGNMENT: u64 = 32;
const F32: u32 = 0;

/// Writes a GGUF file with seeded random weights and the tokenizer of the embedded models.
pub(super) fn write(path: &Path, shape: &Shape, format: Format) -> Result {
    written(path, shape, format).map_err(|e| format!("{}: {e}", path.display()))
}

fn written(path: &Path, &Shape { blocks, d, inner }: &Shape, format: Format) -> std::io::Result<()> {
    let tokenizer = std::fs::read(root().join("crates/model/atlas/tokenizer.json"))?;
    let tokenizer: Value = serde_json::from_slice(&tokenizer)?;
    let (tokens, merges) = (tokens(&tokenizer["model"]["vocab"]), merges(&tokenizer["model"]["merges"]));
    let mut header = Header::default();
    header.text("general.architecture", "llama");
    for (key, n) in [
        ("block_count", blocks),
        ("context_length", 128),
        ("embedding_length", d),
        ("feed_forward_length", inner),
        ("attention.head_count", d / 64),
    ] {
        header.number(&format!("llama.{key}"), n as u32);
    }
    header.key("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes());
    header.text("tokenizer.ggml.model", "gpt2");
    header.text("tokenizer.ggml.pre", "gpt-2");
    header.texts("tokenizer.ggml.tokens", &tokens);
    // The first token is a special one.
    header.kinds("tokenizer.ggml.token_type", (0..tokens.len()).map(|id| if id == 0 { 3 } else { 1 }));
    header.texts("tokenizer.ggml.merges", &merges);
    let block = |l: u64| {
        let name = move |part: &str| format!("blk.{l}.{part}.weight");
        let square = ["attn_q", "attn_k", "attn_v", "attn_output"].map(|part| (name(part), vec![d, d]));
        let wide = ["ffn_gate", "ffn_up"].map(|part| (name(part), vec![d, inner]));
        let norms = ["attn_norm", "ffn_norm"].map(|part| (name(part), vec![d]));
        square.into_iter().chain(wide).chain(norms).chain([(name("ffn_down"), vec![inner, d])])
    };
    let outer =
        [("token_embd.weight".to_owned(), vec![d, tokens.len() as u64]), ("output_norm.weight".to_owned(), vec![d])];
    let tensors: Vec<(String, Vec<u64>)> = outer.into_iter().chain((0..blocks).flat_map(block)).collect();
    let mut at = 0;
    for (name, dims) in &tensors {
        header.tensor(name, dims, if dims.len() == 1 { F32 } else { format.number() }, at);
        at += bytes(dims, format).next_multiple_of(ALIGNMENT);
    }
    let mut out = BufWriter::new(File::create(path)?);
    let head = header.finish(tensors.len() as u64);
    out.write_all(&head)?;
    match format {
        Format::Zeros => out.into_inner()?.set_len(head.len() as u64 + at),
        Format::F16 => {
            let pattern: Vec<u8> = pattern().into_iter().flat_map(u16::to_le_bytes).collect();
            let mut rest: &[u8] = &[];
            for (_, dims) in &tensors {
                let mut left = bytes(dims, format) as usize;
                let padding = left.next_multiple_of(ALIGNMENT as usize) - left;
                if dims.len() == 1 {
                    out.write_all(&1f32.to_le_bytes().repeat(left / 4))?;
                    left = 0;
                }
                while left > 0 {
                    rest = if rest.is_empty() { &pattern } else { rest };
                    let (now, later) = rest.split_at(left.min(rest.len()));
                    out.write_all(now)?;
                    (rest, left) = (later, left - now.len());
                }
                out.write_all(&vec![0; padding])?;
            }
            out.flush()
        }
    }
}

impl Format {
    fn number(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Zeros => 2,
        }
    }
}

fn bytes(dims: &[u64], format: Format) -> u64 {
    let elements: u64 = dims.iter().product();
    match format {
        _ if dims.len() == 1 => 4 * elements,
        Format::F16 => 2 * elements,
        Format::Zeros => elements / 32 * 18,
    }
}

/// Random 16-bit floats of either sign between 1/64 and 1/32.
fn pattern() -> Vec<u16> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let bits = (state >> 16) as u16;
        (bits & 0x8000) | (9 << 10) | (bits & 0x03FF)
    };
    (0..PATTERN).map(|_| next()).collect()
}

fn tokens(vocab: &Value) -> Vec<String> {
    let mut all: Vec<(&String, u64)> =
        vocab.as_object().into_iter().flatten().map(|(text, id)| (text, id.as_u64().unwrap_or(u64::MAX))).collect();
    all.sort_by_key(|(_, id)| *id);
    all.into_iter().map(|(text, _)| text.clone()).collect()
}

fn merges(merges: &Value) -> Vec<String> {
    let pair = |merge: &Value| Some(format!("{} {}", merge[0].as_str()?, merge[1].as_str()?));
    merges.as_array().into_iter().flatten().filter_map(pair).collect()
}

/// The header of a GGUF file.
#[derive(Default)]
struct Header {
    keys: u64,
    fields: Vec<u8>,
    tensors: Vec<u8>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Header {
    fn key(&mut self, name: &str, kind: u32, value: &[u8]) {
        self.keys += 1;
        self.fields.extend([&text(name), &kind.to_le_bytes()[..], value].concat());
    }

    fn number(&mut self, name: &str, value: u32) {
        self.key(name, 4, &value.to_le_bytes());
    }

    fn text(&mut self, name: &str, value: &str) {
        self.key(name, 8, &text(value));
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        let mut list = [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        list.extend(values.iter().flat_map(|value| text(value)));
        self.key(name, 9, &list);
    }

    fn kinds(&mut self, name: &str, values: impl ExactSizeIterator<Item = u32>) {
        let mut list = [&5u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        list.extend(values.flat_map(u32::to_le_bytes));
        self.key(name, 9, &list);
    }

    fn tensor(&mut self, name: &str, dims: &[u64], kind: u32, offset: u64) {
        self.tensors.extend([&text(name), &(dims.len() as u32).to_le_bytes()[..]].concat());
        self.tensors.extend(dims.iter().flat_map(|n| n.to_le_bytes()));
        self.tensors.extend([&kind.to_le_bytes()[..], &offset.to_le_bytes()].concat());
    }

    fn finish(self, tensors: u64) -> Vec<u8> {
        let counts = [tensors.to_le_bytes(), self.keys.to_le_bytes()].concat();
        let mut all = [b"GGUF", &3u32.to_le_bytes()[..], &counts, &self.fields, &self.tensors].concat();
        all.resize(all.len().next_multiple_of(ALIGNMENT as usize), 0);
        all
    }
}
