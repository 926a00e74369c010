//! Models with exact theoretical results, up to rounding: one has linear blocks, the other has biases at sites only.

use std::ops::Range;

use resolvent_model::{Config, RandomWeights, Result, WeightSource, tiny};

/// Random weights with which GPT-2 is an affine map of its stream that mixes tokens and components:
///
/// - Layer norms have eps = 1e8 and gains of 1e4, so that they mainly subtract the mean: the variance of a stream of
///   order one changes their scale by less than a part in 1e7.
/// - Queries and keys are zero, so that attention averages the values of all tokens up to its own.
/// - The MLP's hidden layer is so small that GELU is x / 2 to a part in 1e5. Its projection is large to compensate.
#[derive(Clone, Copy, Debug)]
pub struct LinearWeights {
    random: RandomWeights,
    d: usize,
}

/// `sqrt(eps)`, for which the gains compensate.
const GAIN: f32 = 1e4;
/// Size of the hidden layer.
const HIDDEN: f32 = 1e-5;

impl LinearWeights {
    /// Returns the configuration: three blocks, odd sizes.
    pub fn config() -> Config {
        let eps = f64::from(GAIN).powi(2);
        Config {
            n_layer: 3,
            n_embd: 20,
            n_head: 2,
            n_inner: Some(33),
            vocab_size: 23,
            layer_norm_epsilon: eps,
            ..tiny()
        }
    }

    /// Returns weights for this configuration.
    pub fn new(seed: u64) -> Self {
        let config = Self::config();
        Self { random: RandomWeights::new(seed).with_std(0.3), d: config.n_embd }
    }
}

impl WeightSource for LinearWeights {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.random.read(name, rows.clone(), out)?;
        let (d, weight) = (self.d, name.ends_with("weight"));
        let first = if weight { rows.start * 3 * d } else { rows.start };
        for (i, x) in out.iter_mut().enumerate() {
            *x *= match name {
                _ if name.contains("ln_") && weight => GAIN,
                _ if name.contains("c_attn") && (first + i) % (3 * d) < 2 * d => 0.0,
                _ if name.contains("c_fc") => HIDDEN,
                _ if name.contains("mlp.c_proj") && weight => 1.0 / HIDDEN,
                _ => 1.0,
            };
        }
        Ok(())
    }
}

/// Random weights without the biases that no source can replace: those of ln_2 and of the hidden layer, which pass
/// through GELU, and that of the final norm. All other biases are random.
#[derive(Clone, Copy, Debug)]
pub struct AffineWeights(RandomWeights);

impl AffineWeights {
    /// Returns the configuration: two blocks, odd sizes.
    pub fn config() -> Config {
        Config { n_layer: 2, n_embd: 18, n_head: 3, n_inner: Some(29), vocab_size: 23, ..tiny() }
    }

    /// Returns weights for this configuration.
    pub fn new(seed: u64) -> Self {
        Self(RandomWeights::new(seed).with_std(0.3))
    }
}

impl WeightSource for AffineWeights {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.0.read(name, rows, out)?;
        if ["ln_2.bias", "c_fc.bias", "ln_f.bias"].iter().any(|bias| name.ends_with(bias)) {
            out.fill(0.0);
        }
        Ok(())
    }
}
