//! Writes GGUF files for tests.

use std::path::Path;

/// A metadata value.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    U16(u16),
    U32(u32),
    I32(i32),
    F32(f32),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    /// Any other value: its type and its bytes.
    Raw(u32, Vec<u8>),
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn list<T>(kind: u32, values: &[T], bytes: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
    let head = [&kind.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
    values.iter().fold(head, |all, value| [all, bytes(value)].concat())
}

impl Field {
    fn encoded(&self) -> (u32, Vec<u8>) {
        match self {
            Self::U16(n) => (2, n.to_le_bytes().to_vec()),
            Self::U32(n) => (4, n.to_le_bytes().to_vec()),
            Self::I32(n) => (5, n.to_le_bytes().to_vec()),
            Self::F32(x) => (6, x.to_le_bytes().to_vec()),
            Self::Flag(flag) => (7, vec![u8::from(*flag)]),
            Self::Text(value) => (8, text(value)),
            Self::Texts(values) => (9, list(8, values, |value| text(value))),
            Self::I32s(values) => (9, list(5, values, |n| n.to_le_bytes().to_vec())),
            Self::F32s(values) => (9, list(6, values, |x| x.to_le_bytes().to_vec())),
            Self::Raw(kind, bytes) => (*kind, bytes.clone()),
        }
    }
}

/// A tensor. `dims` has the size along a row first. Without an offset, tensors follow each other.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) name: String,
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) offset: Option<u64>,
    pub(crate) bytes: Vec<u8>,
}

/// A file under construction.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) version: u32,
    pub(crate) alignment: usize,
    pub(crate) fields: Vec<(String, Field)>,
    pub(crate) tensors: Vec<Raw>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { version: 3, alignment: 32, fields: Vec::new(), tensors: Vec::new() }
    }

    /// Sets a field, in place of an older one of this key.
    pub(crate) fn set(mut self, key: &str, field: Field) -> Self {
        self = self.without(key);
        self.fields.push((key.to_owned(), field));
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.fields.retain(|(name, _)| name != key);
        self
    }

    /// Adds an F32 tensor of zeros.
    pub(crate) fn zeros(mut self, name: &str, dims: &[u64]) -> Self {
        let bytes = vec![0; 4 * dims.iter().product::<u64>() as usize];
        self.tensors.push(Raw { name: name.to_owned(), dims: dims.to_vec(), kind: 0, offset: None, bytes });
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.fields.len() as u64).to_le_bytes());
        for (key, field) in &self.fields {
            let (kind, bytes) = field.encoded();
            out.extend(text(key));
            out.extend(kind.to_le_bytes());
            out.extend(bytes);
        }
        let mut at = 0u64;
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|n| n.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(at).to_le_bytes());
            at += (tensor.bytes.len().next_multiple_of(self.alignment)) as u64;
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(&tensor.bytes);
        }
        out
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).expect("writable");
    }
}

/// Returns a Llama of one block, with odd sizes and a byte-level tokenizer.
pub(crate) fn llama() -> Writer {
    let number = |n| Field::U32(n);
    let mut writer = Writer::new()
        .set("general.architecture", Field::Text("llama".to_owned()))
        .set("llama.block_count", number(1))
        .set("llama.context_length", number(7))
        .set("llama.embedding_length", number(6))
        .set("llama.feed_forward_length", number(5))
        .set("llama.attention.head_count", number(3))
        .set("llama.attention.head_count_kv", number(1))
        .set("llama.attention.layer_norm_rms_epsilon", Field::F32(1e-6));
    let texts = ["H", "i", "Ġ", "t", "h", "e", "Hi", "th", "the", "<s>", "<|user|>"];
    let kinds = [1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 4];
    let owned = |texts: &[&str]| Field::Texts(texts.iter().map(|&text| text.to_owned()).collect());
    writer = writer
        .set("tokenizer.ggml.model", Field::Text("gpt2".to_owned()))
        .set("tokenizer.ggml.pre", Field::Text("smollm".to_owned()))
        .set("tokenizer.ggml.tokens", owned(&texts))
        .set("tokenizer.ggml.token_type", Field::I32s(kinds.to_vec()))
        .set("tokenizer.ggml.merges", owned(&["H i", "t h", "th e"]))
        .set("tokenizer.ggml.scores", Field::F32s((0..11).map(|id| -(id as f32)).collect()))
        .set("tokenizer.ggml.bos_token_id", number(9))
        .set("tokenizer.ggml.add_bos_token", Field::Flag(true));
    let tensors: [(&str, &[u64]); 11] = [
        ("token_embd", &[6, 11]),
        ("output_norm", &[6]),
        ("blk.0.attn_norm", &[6]),
        ("blk.0.attn_q", &[6, 6]),
        ("blk.0.attn_k", &[6, 2]),
        ("blk.0.attn_v", &[6, 2]),
        ("blk.0.attn_output", &[6, 6]),
        ("blk.0.ffn_norm", &[6]),
        ("blk.0.ffn_gate", &[6, 5]),
        ("blk.0.ffn_up", &[6, 5]),
        ("blk.0.ffn_down", &[5, 6]),
    ];
    tensors.iter().fold(writer, |writer, (name, dims)| writer.zeros(&format!("{name}.weight"), dims))
}
