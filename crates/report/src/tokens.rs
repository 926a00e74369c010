//! Names of tokens of one prompt, and of positions from the end in means over several.

use resolvent_field::Labelled;

use crate::scene::{label, token};

/// Returns whether the labels are positions from the end, as in means over prompts.
fn from_end(result: &Labelled) -> bool {
    result.metadata.contains_key("prompts")
}

/// Returns whether labels are the positions from the end, `-3`, `-2`, `-1`. They say where a column is, and positions
/// from the start would be those of the longest prompt alone.
pub(crate) fn are_from_end(labels: &[String]) -> bool {
    let places = (0..labels.len()).rev().map(|before| format!("-{}", before + 1));
    !labels.is_empty() && labels.iter().zip(places).all(|(label, place)| *label == place)
}

/// Names a token in a sentence: `9 " Mary"`, or `-5` in means over prompts.
pub(crate) fn token_of(result: &Labelled, labels: &[String], at: usize) -> String {
    match labels.get(at) {
        Some(text) if from_end(result) => text.clone(),
        Some(text) => token(at, text),
        None => at.to_string(),
    }
}

/// Names a token beside a row: `9 ·Mary`, or `-5` in means over prompts.
pub(crate) fn row_of(result: &Labelled, labels: &[String], at: usize) -> String {
    match labels.get(at) {
        Some(text) if from_end(result) => text.clone(),
        Some(text) => format!("{at} {}", label(text)),
        None => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_one_prompt_have_texts_and_those_of_many_positions() {
        let (one, many) = (Labelled::default(), Labelled::default().note("prompts", "3"));
        let texts = ["The", " cat"].map(str::to_owned);
        assert_eq!(
            (token_of(&one, &texts, 1), row_of(&one, &texts, 1)),
            ("1 \" cat\"".to_owned(), "1 ·cat".to_owned())
        );
        let ends = ["-2", "-1"].map(str::to_owned);
        assert!(are_from_end(&ends) && !are_from_end(&texts) && !are_from_end(&ends[..1]) && !are_from_end(&[]));
        assert_eq!((token_of(&many, &ends, 1), row_of(&many, &ends, 1)), ("-1".to_owned(), "-1".to_owned()));
        assert_eq!((token_of(&one, &[], 4), row_of(&one, &[], 4)), ("4".to_owned(), "4".to_owned()));
    }
}
