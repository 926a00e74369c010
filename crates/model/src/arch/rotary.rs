//! Rotary embeddings: the frequencies of a head's pairs of columns.

use std::f64::consts::TAU;

use super::Fields;
use crate::error::Result;

/// A rotary embedding. It rotates the first `2 * frequencies.len()` columns of queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rotary {
    /// Angles, in radians a token.
    pub(crate) frequencies: Vec<f64>,
    /// Factor of sine and cosine.
    pub(crate) scale: f64,
}

/// The scalings that are supported.
pub(super) const KINDS: [&str; 5] = ["default", "dynamic", "linear", "llama3", "yarn"];

/// Columns of a head that rotate, and the base of their wavelengths.
#[derive(Clone, Copy)]
pub(crate) struct Pairs {
    pub(crate) columns: usize,
    pub(crate) base: f64,
}

impl Pairs {
    /// Returns the number of pairs. A last column without a partner is rotated with the next one.
    pub(crate) fn count(self) -> usize {
        self.columns.div_ceil(2)
    }

    /// Returns the unscaled frequencies `base^(-2i / columns)`.
    fn frequencies(self) -> impl Iterator<Item = f64> {
        (0..self.count()).map(move |i| self.base.powf(-2.0 * i as f64 / self.columns as f64))
    }

    /// Returns the real index of the pair that turns `turns` times in `length` tokens.
    fn pair_with(self, turns: f64, length: f64) -> f64 {
        self.columns as f64 * (length / (turns * TAU)).ln() / (2.0 * self.base.ln())
    }
}

impl Rotary {
    /// Reads a rotary embedding. `scaling` is the object that describes how its frequencies are scaled; without it they
    /// are not. `trained` is the length of the training prompts, if it is stated elsewhere. `n_ctx` is the longest
    /// prompt.
    ///
    /// The formulas are those of the models' papers: linear interpolation (arXiv 2306.15595), YaRN (arXiv 2309.00071)
    /// and Llama 3.1's rescaling by wavelength.
    pub(crate) fn read(pairs: Pairs, scaling: Option<&Fields<'_>>, trained: Option<f64>, n_ctx: usize) -> Result<Self> {
        let plain = Self { frequencies: pairs.frequencies().collect(), scale: 1.0 };
        let Some(scaling) = scaling else { return Ok(plain) };
        let kind = match scaling.text("rope_type")? {
            Some(kind) => kind,
            None => scaling.text("type")?.unwrap_or("default"),
        };
        let number = |name: &str| match scaling.number_or_none(name)? {
            Some(number) => scaling.positive(name, number),
            None => Err(scaling.error(format!("`{name}` of the rotary scaling `{kind}` is missing"))),
        };
        let length = || match trained {
            Some(length) => Ok(length),
            None => scaling.number("original_max_position_embeddings", n_ctx as f64),
        };
        match kind {
            // The base of `dynamic` grows with prompts that are longer than `n_ctx`, which are not accepted.
            "default" | "dynamic" => Ok(plain),
            "linear" => {
                let factor = number("factor")?;
                Ok(Self { frequencies: plain.frequencies.iter().map(|f| f / factor).collect(), scale: 1.0 })
            }
            "llama3" => {
                let (factor, low, high) = (number("factor")?, number("low_freq_factor")?, number("high_freq_factor")?);
                let length = scaling.positive("original_max_position_embeddings", length()?)?;
                if high <= low {
                    let message =
                        format!("`high_freq_factor` is {high}; it must exceed `low_freq_factor`, which is {low}");
                    return Err(scaling.error(message));
                }
                let rescale = |f: f64| {
                    // Turns in the length of the training prompts.
                    let turns = length * f / TAU;
                    let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - smooth) * f / factor + smooth * f
                };
                Ok(Self { frequencies: plain.frequencies.into_iter().map(rescale).collect(), scale: 1.0 })
            }
            "yarn" if pairs.columns.is_multiple_of(2) => Self::yarn(pairs, scaling, length()?, n_ctx),
            "yarn" => Err(scaling.error(format!("`yarn` rotates an even number of columns, not {}", pairs.columns))),
            _ => Err(scaling.error(format!(
                "the rotary scaling `{}` is not supported; supported are default, dynamic, linear, llama3 and yarn",
                crate::error::shown(kind)
            ))),
        }
    }

    fn yarn(pairs: Pairs, scaling: &Fields<'_>, length: f64, n_ctx: usize) -> Result<Self> {
        let length = scaling.positive("original_max_position_embeddings", length)?;
        let factor = scaling.positive("factor", scaling.number("factor", n_ctx as f64 / length)?)?;
        let mscale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
        let ratio = match [scaling.number("mscale", 0.0)?, scaling.number("mscale_all_dim", 0.0)?] {
            [a, b] if a != 0.0 && b != 0.0 => mscale(a) / mscale(b),
            _ => mscale(1.0),
        };
        let scale = scaling.number("attention_factor", ratio)?;
        // Pairs that turn often keep their frequency, pairs that turn seldom are interpolated, with a ramp between.
        let turns = |name: &str, default: f64| match scaling.number(name, default)? {
            0.0 => Ok(default),
            turns => scaling.positive(name, turns),
        };
        let mut low = pairs.pair_with(turns("beta_fast", 32.0)?, length);
        let mut high = pairs.pair_with(turns("beta_slow", 1.0)?, length);
        if scaling.flag("truncate", true)? {
            (low, high) = (low.floor(), high.ceil());
        }
        low = low.max(0.0);
        high = high.min(pairs.columns as f64 - 1.0);
        if low == high {
            high += 0.001;
        }
        let ramp = |i: usize| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
        let frequency = |(i, f): (usize, f64)| f / factor * ramp(i) + f * (1.0 - ramp(i));
        Ok(Self { frequencies: pairs.frequencies().enumerate().map(frequency).collect(), scale })
    }
}
