//! Weights from a seed: models of any shape for tests, benches and first steps, without a download.

use std::ops::Range;

use crate::arch::{Activation, Config};
use crate::error::Result;
use crate::source::WeightSource;

/// GPT-2's initialisation from a seed, with standard deviation 0.02 unless changed.
///
/// Every element can be generated without those before it. Layer norms get gain 1 and bias 0 with a little noise, so
/// that every parameter has an effect.
#[derive(Clone, Copy, Debug)]
pub struct RandomWeights {
    /// The seed; the same seed and shape give the same model on every machine.
    seed: u64,
    /// Standard deviation of weights and embeddings.
    std: f32,
}

impl RandomWeights {
    /// Returns weights with GPT-2's standard deviation 0.02.
    pub fn new(seed: u64) -> Self {
        Self { seed, std: 0.02 }
    }

    /// Returns the seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Sets the standard deviation. With about 0.1, attention and GELU of a small model are clearly nonlinear.
    #[must_use]
    pub fn with_std(mut self, std: f32) -> Self {
        self.std = std;
        self
    }
}

impl WeightSource for RandomWeights {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let stream = stream(self.seed, name);
        let first = rows.start * (out.len() / rows.len().max(1));
        let is_norm = name.contains("ln_") || name.contains("norm");
        let centre = if is_norm && name.ends_with("weight") { 1.0 } else { 0.0 };
        for (i, out) in out.iter_mut().enumerate() {
            *out = centre + self.std * nearly_normal(stream, (first + i) as u64);
        }
        Ok(())
    }
}

/// Returns the stream of random numbers of the tensor `name`.
pub(crate) fn stream(seed: u64, name: &str) -> u64 {
    name.bytes().fold(seed ^ 0x9E37_79B9_7F4A_7C15, |h, b| mix(h ^ u64::from(b)))
}

/// Draws a number below `n` from a stream, and advances it.
pub(crate) fn below(state: &mut u64, n: usize) -> usize {
    *state = state.wrapping_add(1);
    ((u128::from(mix(*state)) * n as u128) >> 64) as usize
}

/// Applies one round of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Returns the `i`-th number of a stream with mean 0 and variance 1: a scaled sum of four uniform 16-bit numbers.
///
/// The sum is close to normal and twenty times cheaper, which matters for the 124 million elements of GPT-2.
pub(crate) fn nearly_normal(stream: u64, i: u64) -> f32 {
    const VARIANCE: f64 = 4.0 * 65_536.0 * 65_536.0 / 12.0;
    let bits = mix(stream.wrapping_add(i));
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xFFFF).sum();
    ((sum as f64 - 131_070.0) / VARIANCE.sqrt()) as f32
}

/// Returns a number above 0 and below 1 for 64 random bits.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Returns the `i`-th of the numbers above 0 and below 1 of a seed.
pub(crate) fn uniform(seed: u64, i: u64) -> f64 {
    unit(mix(mix(seed).wrapping_add(i)))
}

/// Returns the `i`-th number of a stream of N(0, 1), by Box and Muller.
fn normal(stream: u64, i: u64) -> f32 {
    let a = unit(mix(stream.wrapping_add(2 * i)));
    let b = unit(mix(stream.wrapping_add(2 * i + 1)));
    ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
}

/// Returns `n` samples of N(0, 1) from a seed, for random directions and probes.
pub fn gaussian(seed: u64, n: usize) -> Vec<f32> {
    (0..n as u64).map(|i| normal(mix(seed), i)).collect()
}

/// Returns the shape of GPT-2 small: 124 million parameters.
pub fn gpt2_small() -> Config {
    Config {
        n_layer: 12,
        n_embd: 768,
        n_head: 12,
        n_inner: None,
        vocab_size: 50_257,
        n_positions: 1024,
        layer_norm_epsilon: 1e-5,
        activation_function: Activation::GeluNew,
        scale_attn_weights: true,
        scale_attn_by_inverse_layer_idx: false,
        tie_word_embeddings: true,
        bos_token_id: Some(50_256),
        eos_token_id: Some(50_256),
    }
}

/// Returns a shape small enough for examples: 3 layers, 2 heads, about 4 000 parameters a layer, vocabulary 50.
pub fn tiny() -> Config {
    Config { n_layer: 3, n_embd: 32, n_head: 2, vocab_size: 50, n_positions: 64, ..gpt2_small() }
}
