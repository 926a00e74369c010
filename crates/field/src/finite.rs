//! Refuses NaN and infinity in results.
//!
//! The model refuses them where numbers come from the device, so statistics and certificates never see one. What is left
//! is arithmetic of the analyses themselves. Every array of a result passes through [`check`], which knows where NaN or
//! infinity is an answer.

use crate::error::Error;

/// A number that is not finite, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    array: String,
    value: f32,
    place: String,
}

impl Broken {
    /// The error that names it.
    pub(crate) fn error(&self) -> Error {
        Error::NotFinite { array: self.array.clone(), value: self.value, place: self.place.clone() }
    }
}

/// Arrays in which NaN or infinity is an answer: analysis, array, and what it means.
const ANSWERS: [(&str, &str, &str); 12] = [
    ("regime", "radius", "infinite where J does not depend on the source, NaN where rounding hides the crossing"),
    ("regime", "jet_radius", "infinite without a second order, NaN without a first"),
    ("regime", "error", "NaN where rounding hides the error, infinite where first order is 0"),
    ("regime", "field_error", "NaN where rounding hides the error"),
    ("regime", "first_order", "NaN where the check of the place fails"),
    ("regime", "second", "NaN where the check of the place fails"),
    ("green", "velocity", "NaN with fewer than two levels above the source"),
    ("patch", "reliability", "infinite where first order is 0"),
    ("superposition", "error", "NaN where both effects are 0"),
    ("reconstruction", "error", "NaN where the field is 0"),
    ("reconstruction", "cosine", "NaN where the field is 0"),
    ("interactions", "error", "NaN where both effects are 0"),
];

/// Analyses whose arrays are finite but for [`ANSWERS`]. The others put together what these have checked: steps of a study,
/// comparisons of models, where a statistic may be undefined.
const CHECKED: [&str; 10] = [
    "run",
    "sensitivity",
    "patch",
    "regime",
    "green",
    "transfer",
    "superposition",
    "interactions",
    "reconstruction",
    "slice",
];

/// Looks for NaN and infinity in an array of `analysis`. `None` where there are none; otherwise how many there are, with
/// their meaning, as the metadata state it.
///
/// # Errors
/// A number that is not finite where that is no answer.
pub(crate) fn check(
    analysis: &str,
    name: &str,
    axes: &[(&str, usize)],
    data: &[f32],
) -> Result<Option<String>, Broken> {
    let Some(first) = data.iter().position(|x| !x.is_finite()) else { return Ok(None) };
    let answer = ANSWERS.iter().find(|(of, array, _)| *of == analysis && *array == name);
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

/// The index of number `at` on each axis: `level 2, token 0, d 17`.
fn place(axes: &[(&str, usize)], at: usize) -> String {
    let mut left = axes.iter().map(|axis| axis.1).product::<usize>();
    let mut rest = at;
    let mut index = |&(name, length): &(&str, usize)| {
        left /= length.max(1);
        let i = rest / left.max(1);
        rest %= left.max(1);
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
    fn a_gap_that_means_something_is_counted() {
        let found = check("regime", "radius", &[("site", 3)], &[1.0, f32::NAN, f32::INFINITY]).expect("allowed");
        assert!(found.as_deref().is_some_and(|text| text.starts_with("2 of 3: infinite where J")), "{found:?}");
        assert!(check("sensitivity", "radius", &[("site", 1)], &[f32::NAN]).is_err());
    }
}
