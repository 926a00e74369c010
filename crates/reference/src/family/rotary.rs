//! The frequencies of the rotation, `base^(-2 i / n)` for the pair `i` of `n / 2`, and their rescaling.
//!
//! With the wavelength `w = 2 pi / f` in tokens and `original`, the length of the first training:
//!
//! ```text
//! linear   f / factor
//! llama3   f                    if w < original / high_freq_factor
//!          f / factor           if w > original / low_freq_factor
//!          blended              between, linear in original / w
//! yarn     blended between f and f / factor, linear in the index i between the indices at which `original` tokens
//!          make `beta_fast` and `beta_slow` turns; cosine and sine times 0.1 ln(factor) + 1, or `attention_factor`
//! ```

use std::f64::consts::TAU;

use serde_json::Value;

/// The rotation of queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Angle per token of each pair of columns.
    pub frequencies: Vec<f64>,
    /// Factor of cosine and sine.
    pub scale: f64,
}

/// Returns the rotation of a block; `windowed`: whether the block has a window, which chooses the base in Gemma 3
/// and whether it is scaled in OLMo 3.
pub(super) fn rotary(config: &Value, head_width: usize, windowed: bool) -> Rotary {
    let none = Value::Null;
    let all = if config["rope_parameters"].is_object() { &config["rope_parameters"] } else { &config["rope_scaling"] };
    let by_kind = if windowed { "sliding_attention" } else { "full_attention" };
    let local = match config["model_type"].as_str() {
        Some("olmo3") => number(config, "rope_theta"),
        _ => number(config, "rope_local_base_freq"),
    };
    let local = local.filter(|_| windowed);
    let scaling = if all[by_kind].is_object() {
        &all[by_kind]
    } else if local.is_some() {
        &none
    } else {
        all
    };
    let base = number(scaling, "rope_theta")
        .or(local)
        .or_else(|| number(config, "rope_theta"))
        .or_else(|| number(config, "rotary_emb_base"))
        .unwrap_or(10_000.0);
    let share = ["partial_rotary_factor", "rotary_pct"].into_iter().find_map(|name| number(config, name));
    let share = number(scaling, "partial_rotary_factor").or(share).unwrap_or(1.0);
    let n = (head_width as f64 * share) as usize;
    assert_eq!(n % 2, 0, "rotary: {n} columns are not pairs");
    let plain: Vec<f64> = (0..n / 2).map(|i| libm::pow(base, -2.0 * i as f64 / n as f64)).collect();

    let kind = scaling["rope_type"].as_str().or_else(|| scaling["type"].as_str()).unwrap_or("default");
    let key = |key: &str| number(scaling, key).unwrap_or_else(|| panic!("rotary scaling `{kind}` without `{key}`"));
    match kind {
        "default" => Rotary { frequencies: plain, scale: 1.0 },
        "linear" => Rotary { frequencies: plain.iter().map(|f| f / key("factor")).collect(), scale: 1.0 },
        "llama3" => {
            let (original, factor) = (key("original_max_position_embeddings"), key("factor"));
            let (low, high) = (key("low_freq_factor"), key("high_freq_factor"));
            let rescaled = |&f: &f64| {
                let wavelength = TAU / f;
                if wavelength < original / high {
                    f
                } else if wavelength > original / low {
                    f / factor
                } else {
                    blend(f / factor, f, (original / wavelength - low) / (high - low))
                }
            };
            Rotary { frequencies: plain.iter().map(rescaled).collect(), scale: 1.0 }
        }
        "yarn" => {
            let (original, factor) = (key("original_max_position_embeddings"), key("factor"));
            let index = |key: &str, turns: f64| {
                let turns = number(scaling, key).unwrap_or(turns);
                n as f64 * libm::log(original / (turns * TAU)) / (2.0 * libm::log(base))
            };
            let low = index("beta_fast", 32.0).floor().max(0.0);
            let high = index("beta_slow", 1.0).ceil().min(n as f64 - 1.0);
            let rescaled = |(i, &f): (usize, &f64)| {
                let place = ((i as f64 - low) / (high - low).max(1e-3)).clamp(0.0, 1.0);
                blend(f, f / factor, place)
            };
            let frequencies = plain.iter().enumerate().map(rescaled).collect();
            let scale = number(scaling, "attention_factor").unwrap_or_else(|| 0.1 * libm::log(factor) + 1.0);
            Rotary { frequencies, scale }
        }
        other => panic!("rotary scaling `{other}`: expected default, linear, llama3 or yarn"),
    }
}

/// Returns `a` at 0 and `b` at 1.
fn blend(a: f64, b: f64, place: f64) -> f64 {
    (1.0 - place) * a + place * b
}

/// Returns a number of a JSON object.
pub(super) fn number(config: &Value, key: &str) -> Option<f64> {
    config[key].as_f64()
}
