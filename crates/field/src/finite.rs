//! Refuses NaN and infinity in results.
//!
//! The model refuses them in numbers from the device, so statistics and certificates never see one. Only the arithmetic
//! of the analyses themselves can still produce them. Every array of a result passes through [`check`], which knows
//! where NaN or infinity is a valid answer.

use crate::error::Error;

/// A number that is not finite, and its place.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    array: String,
    value: f32,
    place: String,
}

impl Broken {
    /// Returns the error that names the number and its place.
    pub(crate) fn error(&self) -> Error {
        Error::NotFinite { array: self.array.clone(), value: self.value, place: self.place.clone() }
    }
}

/// Why a level has no reading through averaged operators.
const NO_OPERATOR: &str = "NaN at levels without an averaged operator";

/// Why a response has no relative error.
const NO_RESPONSE: &str = "NaN at levels without a response, and where rounding hides the error";

/// Why a block has no relative error.
const NO_BLOCK: &str = "NaN where a block is zero, and where rounding hides the error";

/// Why a figure of interactions has no value.
const NO_INTERACTION: &str = "NaN without a pair whose interaction exceeds the noise";

/// Arrays in which NaN or infinity is a valid answer: analysis, array, and meaning.
const ANSWERS: [(&str, &str, &str); 37] = [
    ("regime", "radius", "infinite where J does not depend on the source, NaN where rounding hides the crossing"),
    ("regime", "jet_radius", "infinite without a second order, NaN without a first"),
    ("regime", "error", "NaN where rounding hides the error, infinite where first order is 0"),
    ("regime", "field_error", "NaN where rounding hides the error"),
    ("regime", "secant_error", "NaN where rounding hides the error, infinite where the secant is 0"),
    (
        "regime",
        "secant_radius",
        "infinite where J does not depend on the source, NaN where rounding hides the crossing",
    ),
    ("regime", "first_order", "NaN where the check of the place fails"),
    ("regime", "second", "NaN where the check of the place fails"),
    ("quadratic", "error_first", "NaN where rounding hides the error"),
    ("quadratic", "error_second", "NaN where rounding hides the error"),
    ("green", "first_error", NO_RESPONSE),
    ("green", "secant_error", NO_RESPONSE),
    ("green", "secant_bar", NO_RESPONSE),
    ("green", "velocity", "NaN with fewer than two levels above the source"),
    ("slice", "first_error", NO_BLOCK),
    ("slice", "secant_error", NO_BLOCK),
    ("slice", "secant_bar", NO_BLOCK),
    ("patch", "reliability", "infinite where first order is 0"),
    ("patch", "interaction_size", "NaN without a pair of patches that have effects"),
    ("patch", "superadditive", NO_INTERACTION),
    ("patch", "interaction_error", NO_INTERACTION),
    ("superposition", "error", "NaN where both effects are 0"),
    ("reconstruction", "error", "NaN where the field is 0"),
    ("reconstruction", "cosine", "NaN where the field is 0"),
    ("interactions", "error", "NaN where both effects are 0"),
    ("reduce", "error_low", "NaN below eight prompts"),
    ("reduce", "error_high", "NaN below eight prompts"),
    ("reduce", "dimension", "NaN if no rank is close to all directions"),
    ("reduce", "cross_validated", "NaN with fewer training prompts than parts"),
    ("reduce", "expected", "NaN with fewer training prompts than parts"),
    ("lens", "answer", NO_OPERATOR),
    ("lens", "rank", NO_OPERATOR),
    ("lens", "entropy", NO_OPERATOR),
    ("lens", "kl", NO_OPERATOR),
    ("lens", "top_tokens", NO_OPERATOR),
    ("lens", "top_probability", NO_OPERATOR),
    ("lens", "value", NO_OPERATOR),
];

/// Analyses whose arrays must be finite, except for [`ANSWERS`]. All other results combine arrays that these have
/// checked, such as steps of a study or comparisons of models. A statistic of them may be undefined.
const CHECKED: [&str; 17] = [
    "run",
    "sensitivity",
    "patch",
    "regime",
    "quadratic",
    "green",
    "transfer",
    "superposition",
    "interactions",
    "reconstruction",
    "slice",
    "locate",
    "reduce",
    "lens",
    "average",
    "reach",
    "growth",
];

/// Looks for NaN and infinity in an array of `analysis`.
///
/// Returns `None` if there are none. Otherwise returns how many there are and what they mean, as the metadata state it.
///
/// # Errors
/// A number that is not finite where that is not a valid answer.
pub(crate) fn check(
    analysis: &str,
    name: &str,
    axes: &[(&str, usize)],
    data: &[f32],
) -> Result<Option<String>, Broken> {
    let Some(first) = data.iter().position(|x| !x.is_finite()) else { return Ok(None) };
    // The arrays of another kind of site have its name behind a dot.
    let answer = ANSWERS.iter().find(|(of, array, _)| *of == analysis && name.split('.').next() == Some(array));
    let meaning = match answer {
        Some((.., meaning)) => meaning,
        None if !CHECKED.contains(&analysis) => "undefined",
        None => {
            return Err(Broken { array: name.to_owned(), value: data[first], place: place(axes, first) });
        }
    };
    let count = data.iter().filter(|x| !x.is_finite()).count();
    Ok(Some(format!("{count} of {}: {meaning}", data.len())))
}

/// Returns the index of element `at` on each axis, such as `level 2, token 0, d 17`.
fn place(axes: &[(&str, usize)], at: usize) -> String {
    let mut stride = axes.iter().map(|axis| axis.1).product::<usize>();
    let mut rest = at;
    let mut index = |&(name, length): &(&str, usize)| {
        stride /= length.max(1);
        let i = rest / stride.max(1);
        rest %= stride.max(1);
        format!("{name} {i}")
    };
    axes.iter().map(&mut index).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: [(&str, usize); 3] = [("level", 2), ("token", 3), ("d", 4)];

    #[test]
    fn a_broken_number_is_named() {
        let mut data = vec![0.0f32; 24];
        assert!(matches!(check("patch", "effect", &AXES, &data), Ok(None)));
        data[12 + 2 * 4 + 1] = f32::INFINITY;
        let line = check("patch", "effect", &AXES, &data).expect_err("refused").error().to_string();
        assert!(line.starts_with("`effect` is inf at level 1, token 2, d 1: "), "{line}");
    }

    #[test]
    fn valid_answers_are_counted() {
        let found = check("regime", "radius", &[("site", 3)], &[1.0, f32::NAN, f32::INFINITY]).expect("allowed");
        assert!(found.as_deref().is_some_and(|text| text.starts_with("2 of 3: infinite where J")), "{found:?}");
        assert!(check("sensitivity", "radius", &[("site", 1)], &[f32::NAN]).is_err());
        assert!(check("patch", "reliability.attn_out", &[("site", 1)], &[f32::INFINITY]).is_ok());
        assert!(check("patch", "effect.attn_out", &[("site", 1)], &[f32::INFINITY]).is_err());
    }
}
