//! GPT-2 small in burn's own modules, as a user of burn would write it.

use burn::module::Module;
use burn::nn::activation::Gelu;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Int, Tensor};

/// Blocks.
pub const LAYERS: usize = 12;
/// Tokens of the prompt.
pub const TOKENS: usize = 16;
const WIDTH: usize = 768;
const HEADS: usize = 12;
const VOCABULARY: usize = 50_257;
const POSITIONS: usize = 1024;
/// The two tokens whose logits are read.
const READ: [i32; 2] = [1, 2];

/// A block: attention and MLP, each after a layer norm and added to the stream.
#[derive(Module, Debug)]
pub struct Block {
    ln_1: LayerNorm,
    qkv: Linear,
    out: Linear,
    ln_2: LayerNorm,
    up: Linear,
    gelu: Gelu,
    down: Linear,
}

/// The model; the unembedding is the embedding.
#[derive(Module, Debug)]
pub struct Gpt2 {
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
}

fn normal(std: f64) -> Initializer {
    Initializer::Normal { mean: 0.0, std }
}

fn linear(from: usize, to: usize, device: &Device) -> Linear {
    LinearConfig::new(from, to).with_initializer(normal(0.02)).init(device)
}

/// A layer norm whose gain and shift are not 1 and 0: weights that do nothing would hide a mistake.
fn layer_norm(device: &Device) -> LayerNorm {
    let mut norm = LayerNormConfig::new(WIDTH).with_epsilon(1e-5).init(device);
    let drawn = |mean: f64| Initializer::Normal { mean, std: 0.1 }.init::<1, _>([WIDTH], device);
    norm.gamma = drawn(1.0);
    norm.beta = norm.beta.map(|_| drawn(0.0));
    norm
}

impl Block {
    fn new(device: &Device) -> Self {
        Self {
            ln_1: layer_norm(device),
            qkv: linear(WIDTH, 3 * WIDTH, device),
            out: linear(WIDTH, WIDTH, device),
            ln_2: layer_norm(device),
            up: linear(WIDTH, 4 * WIDTH, device),
            gelu: Gelu::new_approximate(),
            down: linear(4 * WIDTH, WIDTH, device),
        }
    }

    /// [B, T, d] to the same.
    fn forward(&self, h: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, _] = h.dims();
        let qkv = self.qkv.forward(self.ln_1.forward(h.clone()));
        let heads = |part: Tensor<3>| part.reshape([batch, tokens, HEADS, WIDTH / HEADS]).swap_dims(1, 2);
        let [q, k, v] = qkv.chunk(3, 2).try_into().expect("three chunks");
        let causal = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let z = attention(heads(q), heads(k), heads(v), None, None, causal);
        let h = h + self.out.forward(z.swap_dims(1, 2).reshape([batch, tokens, WIDTH]));
        let inner = self.gelu.forward(self.up.forward(self.ln_2.forward(h.clone())));
        h + self.down.forward(inner)
    }
}

impl Gpt2 {
    /// Random weights.
    pub fn new(device: &Device) -> Self {
        let embedding =
            |rows| EmbeddingConfig::new(rows, WIDTH).with_initializer(normal(0.02)).init(device);
        Self {
            wte: embedding(VOCABULARY),
            wpe: embedding(POSITIONS),
            blocks: (0..LAYERS).map(|_| Block::new(device)).collect(),
            ln_f: layer_norm(device),
        }
    }

    /// Tokens [1, T] to the two logits of the last one, [1, 2].
    pub fn two_logits(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let device = tokens.device();
        let [_, count] = tokens.dims();
        let positions = Tensor::<1, Int>::arange(0..count as i64, &device).unsqueeze();
        let mut h = self.wte.forward(tokens) + self.wpe.forward(positions);
        for block in &self.blocks {
            h = block.forward(h);
        }
        let last = self.ln_f.forward(h.slice([0..1, count - 1..count])).reshape([1, WIDTH]);
        let rows = self.wte.weight.val().select(0, Tensor::from_ints(READ, &device));
        last.matmul(rows.transpose())
    }
}

/// The prompt of every bench, [1, T].
pub fn prompt(device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = (0..TOKENS).map(|i| ((i * 7919 + 104_729) % VOCABULARY) as i32).collect();
    Tensor::<1, Int>::from_ints(ids.as_slice(), device).unsqueeze()
}
