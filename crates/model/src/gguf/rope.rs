//! The rescaling of rotary positions, as the `rope_scaling` of a `config.json`.

use std::f32::consts::PI;

use serde_json::{Value, json};

use super::fields::Fields;

/// What Llama 3.1 and later rescale by: waves of up to 8192 / 4 positions not at all, of 8192 / 1 and more by the
/// factor. llama.cpp's converter always takes these three, and stores only the result.
const LOW: f32 = 1.0;
const HIGH: f32 = 4.0;
const POSITIONS: f32 = 8192.0;

/// Returns the value of `rope_scaling` that the metadata describe.
pub(super) fn scaling(fields: &Fields<'_>) -> Result<Value, String> {
    for key in ["rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_ext_factor"] {
        fields.neutral(key, 1.0)?;
    }
    fields.neutral("rope.scaling.yarn_log_multiplier", 0.0)?;
    fields.ignore("rope.scaling.finetuned");
    let factor = fields.number("rope.scaling.factor")?;
    // An older key, which means `linear`.
    let linear = fields.number("rope.scale_linear")?;
    let positions = fields.size_or_none("rope.scaling.original_context_length")?;
    let betas = ["rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"].map(|key| fields.number(key));
    let kind = fields.text("rope.scaling.type")?.unwrap_or(if linear.is_some() { "linear" } else { "none" });
    let needed = |what: Option<f64>| {
        let key = fields.key("rope.scaling.factor");
        let what = what.ok_or_else(|| fields.missing("rope.scaling.factor"))?;
        (what > 0.0)
            .then_some(what)
            .ok_or_else(|| format!("`{key}` is {what}, and must be positive; convert the model again"))
    };
    match kind {
        "none" => Ok(Value::Null),
        "linear" => match needed(factor.or(linear))? {
            1.0 => Ok(Value::Null),
            factor => Ok(json!({"rope_type": "linear", "factor": factor})),
        },
        "yarn" => {
            let mut yarn = json!({"rope_type": "yarn", "factor": needed(factor)?});
            if let Some(positions) = positions {
                yarn["original_max_position_embeddings"] = json!(positions);
            }
            for (name, beta) in ["beta_fast", "beta_slow"].into_iter().zip(betas) {
                if let Some(beta) = beta? {
                    yarn[name] = json!(beta);
                }
            }
            Ok(yarn)
        }
        other => {
            let (key, other) = (fields.key("rope.scaling.type"), crate::error::shown(other));
            Err(format!("`{key}` is `{other}`; none, linear and yarn are supported: use another model"))
        }
    }
}

/// Returns the value of `rope_scaling` that leads to the stored divisors of the frequencies, which Llama 3.1 and later
/// have as a tensor. `base` is the base of the frequencies.
pub(super) fn llama3(divisors: &[f32], base: f64) -> Result<Value, String> {
    let n = divisors.len();
    let frequencies: Vec<f32> = (0..n).map(|i| (1.0 / base.powf(i as f64 / n as f64)) as f32).collect();
    let (Some(&last), Some(&slowest)) = (divisors.last(), frequencies.last()) else {
        return Ok(Value::Null);
    };
    if divisors.iter().all(|&x| x == 1.0) {
        return Ok(Value::Null);
    }
    // The last divisor is the factor, or a mean of the factor and 1 if even the slowest wave is short.
    let share = share(slowest);
    let factor = if share <= 0.0 { last } else { (1.0 - share) / (1.0 / last - share) };
    // Between the two, f32 leaves an error. Factors are whole numbers.
    let rounded = factor.round();
    let factor = if (factor - rounded).abs() < 1e-2 * rounded { rounded } else { factor };
    let close = |(&x, &f): (&f32, &f32)| (divisor(f, factor) - x).abs() <= 1e-4 * x.abs();
    if !(factor > 1.0 && factor.is_finite() && divisors.iter().zip(&frequencies).all(close)) {
        return Err(
            "`rope_freqs.weight` rescales rotary positions in another way than Llama 3; use another model".into()
        );
    }
    Ok(json!({
        "rope_type": "llama3", "factor": f64::from(factor), "low_freq_factor": LOW, "high_freq_factor": HIGH,
        "original_max_position_embeddings": POSITIONS as u64,
    }))
}

/// Returns which share of a frequency is not rescaled: 1 or more for short waves, 0 or less for long ones.
fn share(frequency: f32) -> f32 {
    (POSITIONS * frequency / (2.0 * PI) - LOW) / (HIGH - LOW)
}

fn divisor(frequency: f32, factor: f32) -> f32 {
    let share = share(frequency).clamp(0.0, 1.0);
    1.0 / ((1.0 - share) / factor + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama 3.2: head width 64, base 500000, factor 32.
    #[test]
    fn the_factor_of_llama_3_is_found() {
        for (width, base, factor) in [(64, 5e5, 32.0), (128, 5e5, 8.0), (8, 1e4, 8.0)] {
            let n = width / 2;
            let stored: Vec<f32> =
                (0..n).map(|i| divisor(1.0 / (base as f32).powf(i as f32 / n as f32), factor)).collect();
            let found = llama3(&stored, base).expect("is that of Llama 3");
            assert_eq!(found["factor"], json!(f64::from(factor)), "{width}");
            assert_eq!(found["original_max_position_embeddings"], json!(8192));
        }
        assert_eq!(llama3(&[1.0; 8], 1e4), Ok(Value::Null));
        for wrong in [vec![1.0, 2.0, 3.0, 4.0], vec![1.0, f32::NAN], vec![0.0; 4], vec![1.0, -8.0]] {
            assert!(llama3(&wrong, 1e4).is_err_and(|e| e.contains("another way")), "{wrong:?}");
        }
    }
}
