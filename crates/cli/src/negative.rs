//! Negative numbers as values of options, which the parser would take for options of their own.

use std::ffi::{OsStr, OsString};

/// Joins each negative number or place to the option before it: `--to -1,-1` becomes `--to=-1,-1`.
///
/// No option of this program begins with a digit, so nothing else can be meant. An option with several values is
/// repeated: `--sites 0,3 -1,-1` becomes `--sites 0,3 --sites=-1,-1`. Words after `--` stay as they are.
pub(crate) fn joined(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter();
    let (mut all, mut option) = (Vec::new(), None::<OsString>);
    for word in words.by_ref() {
        match (&option, word.to_str()) {
            (_, Some("--")) => {
                all.push(word);
                break;
            }
            (Some(name), Some(text)) if is_negative(text) => {
                if all.last() == Some(name) {
                    all.pop();
                }
                all.push([name, OsStr::new("="), &word].into_iter().collect());
            }
            (_, text) => {
                let name = text.and_then(|text| text.split('=').next()).filter(|name| name.starts_with('-'));
                option = name.map(OsString::from).or(option);
                all.push(word);
            }
        }
    }
    all.extend(words);
    all
}

/// Returns whether a word is a negative number, or a list or place that begins with one.
fn is_negative(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next() == Some('-')
        && letters.next().is_some_and(|c| c.is_ascii_digit() || c == '.')
        && letters.all(|c| c.is_ascii_digit() || "+-.,:eE".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_values_follow_their_option() {
        for (typed, meant) in [
            ("slice --to -1,-1", "slice --to=-1,-1"),
            ("regime x --sites 0,3 -1,-1 -2,0 --unit", "regime x --sites 0,3 --sites=-1,-1 --sites=-2,0 --unit"),
            ("x --from=2 -1,-1", "x --from=2 --from=-1,-1"),
            ("x -p -1", "x -p=-1"),
            ("x --goal -2.5e-3", "x --goal=-2.5e-3"),
            ("x --field-goal -1,3:0.5", "x --field-goal=-1,3:0.5"),
            // What is no number stays: a typing error is named as one.
            ("x --to -a", "x --to -a"),
            ("x --to -", "x --to -"),
            ("-1 x", "-1 x"),
            ("x --top 3 -- -5 degrees -1", "x --top 3 -- -5 degrees -1"),
        ] {
            let words = joined(typed.split(' ').map(OsString::from));
            assert_eq!(words.join(OsStr::new(" ")), meant, "{typed}");
        }
    }
}
