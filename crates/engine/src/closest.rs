//! Suggestions for mistyped names.

/// Returns the candidate that a mistyped name most likely means: the nearest one, if few letters differ.
///
/// Letters that are missing, too many, wrong or swapped count one each; upper and lower case are the same.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.trim().to_lowercase();
    let letters = name.chars().count();
    // A third of the letters may be wrong. Of a name of one letter, nothing is left to be recognised.
    let most = match letters {
        0 | 1 => return None,
        2..=5 => 1,
        _ => letters / 3,
    };
    let near = candidates.into_iter().filter_map(|candidate| {
        let differs = candidate.chars().count().abs_diff(letters);
        // Names whose lengths differ by more cannot be near, and the measure is slow.
        let distance = (differs <= most).then(|| strsim::osa_distance(&name, &candidate.to_lowercase()))?;
        (distance <= most).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Returns `; did you mean NAME?` with the [closest] candidate in backticks, or nothing.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(name, candidates).map_or_else(String::new, |candidate| format!("; did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["resid", "attn_out", "mlp_out", "atlas-small", "q"];

    #[test]
    fn near_names_are_found() {
        for (typed, meant) in [
            ("redis", None),
            ("resd", Some("resid")),
            ("RESID", Some("resid")),
            ("rseid", Some("resid")),
            ("attn-out", Some("attn_out")),
            ("mlpout", Some("mlp_out")),
            ("atlas-smal", Some("atlas-small")),
            ("x", None),
            ("", None),
            ("sensitivity", None),
        ] {
            assert_eq!(closest(typed, NAMES), meant, "{typed}");
        }
        assert_eq!(did_you_mean("resd", NAMES), "; did you mean `resid`?");
        assert_eq!(did_you_mean("zzz", NAMES), "");
    }

    #[test]
    fn the_nearest_of_several_is_taken() {
        assert_eq!(closest("capitols", ["capital", "capitals", "capitalss"]), Some("capitals"));
    }
}
