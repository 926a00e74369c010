//! Metadata of results, read as what they are: words, numbers, places, and lists in their three forms.
//!
//! Whatever reads an entry again reads it here, so that no reader knows how the entry is written.

use resolvent_model::Site;

use crate::labelled::Labelled;
use crate::place::Place;

impl Labelled {
    /// Returns an entry of the metadata; empty if the result lacks it.
    pub fn fact(&self, key: &str) -> &str {
        self.metadata.get(key).map_or("", String::as_str)
    }

    /// Returns whether an entry of the metadata is `value`.
    pub fn says(&self, key: &str, value: &str) -> bool {
        self.metadata.get(key).is_some_and(|entry| entry == value)
    }

    /// Returns an entry of the metadata as a number, if it is one.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.metadata.get(key)?.parse().ok()
    }

    /// Returns an entry of the metadata as a count, if it is a whole number.
    pub fn count(&self, key: &str) -> Option<usize> {
        self.metadata.get(key)?.parse().ok()
    }

    /// Returns an entry of the metadata as a place, `level,token`, if it is one.
    pub fn place(&self, key: &str) -> Option<Place> {
        let (level, token) = self.metadata.get(key)?.split_once(',')?;
        Some((level.parse().ok()?, token.parse().ok()?))
    }

    /// Returns an entry of the metadata as a list, if the result has it. The entries of such a list have commas between
    /// them and contain none.
    pub fn list(&self, key: &str) -> Option<Vec<&str>> {
        Some(self.metadata.get(key)?.split(',').collect())
    }

    /// Returns an entry of the metadata as a list of any texts, which JSON quotes; empty if the result lacks it.
    pub fn texts(&self, key: &str) -> Vec<String> {
        let list = self.metadata.get(key).and_then(|texts| serde_json::from_str(texts).ok());
        list.unwrap_or_default()
    }

    /// Returns an entry of the metadata as sites with their tokens, `SITE@TOKEN` with blanks between them; empty if the
    /// result lacks it.
    pub fn sites(&self, key: &str) -> Vec<(Site, usize)> {
        let one = |text: &str| {
            let (site, token) = text.rsplit_once('@')?;
            Some((site.parse().ok()?, token.parse().ok()?))
        };
        self.fact(key).split(' ').filter_map(one).collect()
    }

    /// Returns an entry that describes an [`Agreement`](crate::stats::Agreement) without the share of equal signs: the
    /// number of pairs, both correlations, slope and relative error. `None` if the result lacks it.
    pub fn correlations(&self, key: &str) -> Option<String> {
        let parts = self.metadata.get(key)?.split(", ").filter(|part| !part.starts_with("same sign"));
        Some(parts.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_what_they_are() {
        let result = Labelled::default()
            .note("number", "2.5e-3")
            .note("count", "12")
            .note("place", "3,7")
            .note("list", "a0.h1,m2")
            .note("texts", r#"["first, or","second"]"#)
            .note("sites", "blocks.0.attn.hook_pattern[1,2]@4 blocks.1.hook_mlp_out@0")
            .note(
                "agreement",
                "n 9 (1 tied at 0), Pearson 0.9, Spearman 0.8, same sign 100.0 %, slope 1.1, relative error 0.3",
            )
            .note("joint", "add");
        assert_eq!((result.fact("joint"), result.fact("none")), ("add", ""));
        assert!(result.says("joint", "add") && !result.says("joint", "put") && !result.says("none", ""));
        assert_eq!((result.number("number"), result.number("joint")), (Some(2.5e-3), None));
        assert_eq!((result.count("count"), result.count("number"), result.count("none")), (Some(12), None, None));
        assert_eq!((result.place("place"), result.place("count"), result.place("list")), (Some((3, 7)), None, None));
        assert_eq!(result.list("list"), Some(vec!["a0.h1", "m2"]));
        assert_eq!(result.texts("texts"), ["first, or", "second"]);
        assert!(result.texts("list").is_empty() && result.texts("none").is_empty());
        assert_eq!(result.sites("sites"), [(Site::Pattern(0, 1, 2), 4), (Site::MlpOut(1), 0)]);
        assert!(result.sites("none").is_empty());
        let correlations = result.correlations("agreement");
        assert_eq!(
            correlations.as_deref(),
            Some("n 9 (1 tied at 0), Pearson 0.9, Spearman 0.8, slope 1.1, relative error 0.3")
        );
        assert_eq!(result.correlations("none"), None);
    }
}
