//! GPT-2 small with burn's modules, as a user of burn would write it.

use burn::module::Module;
use burn::nn::activation::Gelu;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Int, Tensor};

/// Number of blocks.
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

/// The model without the embedding of tokens.
#[derive(Module, Debug)]
pub struct Gpt2 {
    wpe: Embedding,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
}

/// Embedding and unembedding, on the CPU.
///
/// The table has 147 MiB. Many adapters bind at most 128 MiB, and burn does not split the table. So it stays on the
/// CPU, and only the rows that are read are copied to the device.
#[derive(Module, Debug)]
pub struct Vocabulary {
    wte: Embedding,
}

fn normal(std: f64) -> Initializer {
    Initializer::Normal { mean: 0.0, std }
}

fn linear(from: usize, to: usize, device: &Device) -> Linear {
    LinearConfig::new(from, to).with_initializer(normal(0.02)).init(device)
}

/// Creates a layer norm with random gain and shift: with 1 and 0, a mistake could remain unnoticed.
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

    /// Maps [B, T, d] to the same shape.
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

impl Vocabulary {
    /// Draws random weights.
    pub fn new(device: &Device) -> Self {
        Self { wte: embedding(VOCABULARY, device) }
    }

    /// Returns the embeddings [1, T, d] of the prompt.
    pub fn prompt(&self) -> Tensor<3> {
        let ids: Vec<i32> = (0..TOKENS).map(|i| ((i * 7919 + 104_729) % VOCABULARY) as i32).collect();
        let device = self.wte.weight.device();
        self.wte.forward(Tensor::<1, Int>::from_ints(ids.as_slice(), &device).unsqueeze())
    }

    /// Returns the two rows [2, d] of the unembedding.
    pub fn read(&self) -> Tensor<2> {
        let table = self.wte.weight.val();
        let rows = Tensor::from_ints(READ, &table.device());
        table.select(0, rows)
    }
}

impl Gpt2 {
    /// Draws random weights.
    pub fn new(device: &Device) -> Self {
        Self {
            wpe: embedding(POSITIONS, device),
            blocks: (0..LAYERS).map(|_| Block::new(device)).collect(),
            ln_f: layer_norm(device),
        }
    }

    /// Maps embedded tokens [1, T, d] and two rows of the unembedding [2, d] to two logits of the last token, [1, 2].
    pub fn two_logits(&self, embedded: Tensor<3>, read: Tensor<2>) -> Tensor<2> {
        let mut h = self.level_0(embedded);
        for block in &self.blocks {
            h = block.forward(h);
        }
        self.head(h, read)
    }

    /// Computes the difference of the logits, and its derivative by every level [1, T, d], bottom first.
    ///
    /// A zero tensor is added at each level, because burn stores the gradients of leaves only.
    pub fn sensitivity(&self, embedded: Tensor<3>, read: Tensor<2>) -> (Tensor<1>, Vec<Tensor<3>>) {
        let (shape, device) = (embedded.dims(), embedded.device());
        let added: Vec<Tensor<3>> =
            (0..=LAYERS).map(|_| Tensor::zeros(shape, &device).autodiff().require_grad()).collect();
        let mut h = self.level_0(embedded) + added[0].clone();
        for (block, added) in self.blocks.iter().zip(&added[1..]) {
            h = block.forward(h) + added.clone();
        }
        let sign = Tensor::from_floats([[1.0, -1.0]], &device);
        let value = (self.head(h, read) * sign).sum();
        let gradients = value.backward();
        let levels = added.iter().map(|leaf| leaf.grad(&gradients).expect("every level matters")).collect();
        (value.inner(), levels)
    }

    fn level_0(&self, embedded: Tensor<3>) -> Tensor<3> {
        let [_, count, _] = embedded.dims();
        let positions = Tensor::<1, Int>::arange(0..count as i64, &embedded.device()).unsqueeze();
        embedded + self.wpe.forward(positions)
    }

    fn head(&self, h: Tensor<3>, read: Tensor<2>) -> Tensor<2> {
        let [_, count, _] = h.dims();
        let last = self.ln_f.forward(h.slice([0..1, count - 1..count])).reshape([1, WIDTH]);
        last.matmul(read.transpose())
    }
}

fn embedding(rows: usize, device: &Device) -> Embedding {
    EmbeddingConfig::new(rows, WIDTH).with_initializer(normal(0.02)).init(device)
}
