//! Prompt files of rows: JSON Lines, and CSV with a header.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::one_line;
use crate::prompt_set::PromptPair;

/// The names that a column may have, in our own files and in the published files of EAP-IG and MIB.
const CLEAN: &[&str] = &["clean", "prompt", "clean_prompt"];
const CORRUPTED: &[&str] = &["corrupted", "corrupted_prompt", "counterfactual"];
const TARGET: &[&str] = &["target", "answer", "correct", "correct_idx"];
const AGAINST: &[&str] = &["against", "wrong_answer", "incorrect", "incorrect_idx"];
const TASK: &[&str] = &["task"];

/// What is wrong with a row, and its line, from 1.
pub(crate) type BadRow = (usize, String);

/// The pairs of a file by task, and the rows that are not pairs. A row without a task belongs to the task `prompts`.
pub(crate) type Rows = (BTreeMap<String, Vec<PromptPair>>, Vec<BadRow>);

/// One row: a lookup of the first column that has one of some names.
type Lookup<'a> = &'a dyn Fn(&[&str]) -> Option<String>;

/// Reads rows of JSON, one object a line. Empty lines are skipped.
pub(crate) fn json_lines(text: &str) -> Rows {
    let mut rows = Rows::default();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<Value>(line) {
            Ok(row) => add(&mut rows, i + 1, &|names| names.iter().find_map(|name| field(row.get(name)?))),
            Err(error) => rows.1.push((i + 1, one_line(&error))),
        }
    }
    rows
}

/// Reads CSV with a header.
///
/// # Errors
/// A header that cannot be read, or that lacks a column.
pub(crate) fn csv(text: &str) -> Result<Rows, String> {
    let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| one_line(&error))?.clone();
    let column = |names: &[&str]| names.iter().find_map(|name| header.iter().position(|h| h.trim() == *name));
    for names in [CLEAN, CORRUPTED, TARGET, AGAINST] {
        if column(names).is_none() {
            return Err(format!(
                "its header has no column `{}`: expected clean, corrupted, target and against",
                names[0]
            ));
        }
    }
    let mut rows = Rows::default();
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, |at| at.line() as usize);
                let read =
                    |names: &[&str]| Some(record.get(column(names)?)?.to_owned()).filter(|text| !text.is_empty());
                add(&mut rows, line, &read);
            }
            Err(error) => {
                let line = error.position().map_or(0, |at| at.line() as usize);
                rows.1.push((line, one_line(&error)));
            }
        }
    }
    Ok(rows)
}

/// Returns a field as text: a number is a token id.
fn field(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

fn add((tasks, bad): &mut Rows, line: usize, column: Lookup<'_>) {
    let needed = |names: &[&str]| column(names).ok_or_else(|| format!("it has no `{}`", names[0]));
    let pair = || -> Result<PromptPair, String> {
        Ok(PromptPair {
            clean: needed(CLEAN)?,
            corrupted: needed(CORRUPTED)?,
            target: token(needed(TARGET)?),
            against: token(needed(AGAINST)?),
        })
    };
    match pair() {
        Ok(pair) => tasks.entry(column(TASK).unwrap_or_else(|| "prompts".to_owned())).or_default().push(pair),
        Err(reason) => bad.push((line, reason)),
    }
}

/// Returns a token as the rest of the program reads it: digits are an id.
fn token(text: String) -> String {
    match !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        true => format!("#{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(target: &str) -> PromptPair {
        let [clean, corrupted, against] = ["a, b", "a, c", " d"].map(str::to_owned);
        PromptPair { clean, corrupted, target: target.to_owned(), against }
    }

    #[test]
    fn csv_rows_are_read_and_bad_ones_named() {
        let text = "clean,corrupted,correct_idx,incorrect,task\n\"a, b\",\"a, c\",17, d,ioi\n\"a, b\",,17, d,ioi\n\"a, b\",\"a, c\", e, d,\n";
        let (tasks, bad) = csv(text).expect("has a header");
        assert_eq!(tasks["ioi"], [pair("#17")]);
        assert_eq!(tasks["prompts"], [pair(" e")]);
        assert_eq!(bad, [(3, "it has no `corrupted`".to_owned())]);
        assert!(csv("clean,target,against\n").expect_err("lacks a column").contains("no column `corrupted`"));
    }

    #[test]
    fn json_lines_are_read_and_bad_ones_named() {
        let text = "{\"clean\": \"a, b\", \"corrupted\": \"a, c\", \"target\": 17, \"against\": \" d\"}\n\n[]\n{\n";
        let (tasks, bad) = json_lines(text);
        assert_eq!(tasks["prompts"], [pair("#17")]);
        assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(bad[0].1, "it has no `clean`");
    }
}
