//! Prompt files of rows: JSON Lines, and CSV with a header.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::one_line;
use crate::prompt_row::{PromptRow, PromptText, Role, answer_of};

/// The names that a column may have, in our own files and in the published files of EAP-IG (those of its tasks ioi,
/// fact-retrieval, gender-bias and hypernymy) and MIB.
const CLEAN: &[&str] = &["clean", "prompt", "clean_prompt"];
const CORRUPTED: &[&str] = &["corrupted", "corrupted_prompt", "counterfactual"];
const TARGET: &[&str] =
    &["target", "answer", "correct", "correct_idx", "answers_idx", "country_idx", "clean_answer_idx"];
const AGAINST: &[&str] = &[
    "against",
    "wrong_answer",
    "incorrect",
    "incorrect_idx",
    "corrupted_answers_idx",
    "corrupted_country_idx",
    "corrupted_answer_idx",
];
/// A column that is a token id beside `incorrect_idx`, and a year without it.
const TOKEN_OR_YEAR: &str = "correct_idx";
const OBSERVABLE: &[&str] = &["observable"];
const LABEL: &[&str] = &["label"];
const TASK: &[&str] = &["task"];
/// Columns of prompts as token ids, which take the place of their texts. In JSON a text may also be a list of ids.
const CLEAN_IDS: &[&str] = &["clean_tokens", "clean"];
const CORRUPTED_IDS: &[&str] = &["corrupted_tokens", "corrupted"];
/// The most columns of a wrong header that a message names.
const NAMED: usize = 6;
/// A column of the tokens of a role begins with this.
const ROLE: &str = "role.";

/// What is wrong with a row, and its line, from 1.
pub(crate) type BadRow = (usize, String);

/// The rows of a file by task, and the rows that cannot be read. A row without a task belongs to the task `prompts`.
pub(crate) type Rows = (BTreeMap<String, Vec<PromptRow>>, Vec<BadRow>);

/// A row as it is in the file.
struct Raw<'a> {
    line: usize,
    /// Returns the text of the first column that has one of some names.
    column: &'a dyn Fn(&[&str]) -> Option<String>,
    /// Returns the token ids of the first such column that has any.
    ids: &'a dyn Fn(&[&str]) -> Option<String>,
    /// As `column`, and lists as JSON.
    answer: &'a dyn Fn(&[&str]) -> Option<String>,
    /// The roles, as text.
    roles: Vec<(String, String)>,
}

/// Reads rows of JSON, one object a line. Empty lines are skipped.
pub(crate) fn json_lines(text: &str) -> Rows {
    let mut rows = Rows::default();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<Value>(line) {
            Ok(row) => {
                let of_row = row.get("roles").and_then(Value::as_object).into_iter().flatten();
                let roles = of_row.filter_map(|(name, role)| Some((name.clone(), field(role)?))).collect();
                let column = |names: &[&str]| names.iter().find_map(|name| field(row.get(name)?));
                let ids = |names: &[&str]| names.iter().find_map(|name| list(row.get(name)?));
                let any = |value: &Value| value.is_array().then(|| value.to_string()).or_else(|| field(value));
                let answer = |names: &[&str]| names.iter().find_map(|name| any(row.get(name)?));
                add(&mut rows, &Raw { line: i + 1, column: &column, ids: &ids, answer: &answer, roles });
            }
            // The parser saw this line alone, so its line number says nothing.
            Err(error) => {
                rows.1.push((i + 1, format!("it is not JSON: {}", one_line(&error).replace("at line 1 ", "at "))));
            }
        }
    }
    rows
}

/// Reads CSV with a header.
///
/// # Errors
/// An empty text, or a header that cannot be read or lacks a column.
pub(crate) fn csv(text: &str) -> Result<Rows, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| one_line(&error))?.clone();
    let column = |names: &[&str]| names.iter().find_map(|name| header.iter().position(|h| h.trim() == *name));
    if column(CLEAN).or(column(&CLEAN_IDS[..1])).is_none() {
        let names = header.iter().take(NAMED).map(|name| format!("`{}`", name.trim())).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "its header has {names} and no column `clean`: expected names with commas between them, such as \
             clean,corrupted,target,against"
        ));
    }
    let mut rows = Rows::default();
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, |at| at.line() as usize);
                let read =
                    |names: &[&str]| Some(record.get(column(names)?)?.to_owned()).filter(|text| !text.is_empty());
                let roles = header.iter().zip(&record).filter(|(_, text)| !text.is_empty());
                let roles =
                    roles.filter_map(|(h, text)| Some((h.trim().strip_prefix(ROLE)?.to_owned(), text.to_owned())));
                let ids = |names: &[&str]| read(&names[..1]);
                add(&mut rows, &Raw { line, column: &read, ids: &ids, answer: &read, roles: roles.collect() });
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

/// Returns a list of token ids as text, with commas between them.
fn list(value: &Value) -> Option<String> {
    Some(value.as_array()?.iter().map(Value::to_string).collect::<Vec<_>>().join(","))
}

fn add((tasks, bad): &mut Rows, raw: &Raw<'_>) {
    let column = raw.column;
    match read(raw) {
        Ok(row) => tasks.entry(column(TASK).unwrap_or_else(|| "prompts".to_owned())).or_default().push(row),
        Err(reason) => bad.push((raw.line, reason)),
    }
}

fn read(Raw { line, column, ids, answer, roles }: &Raw<'_>) -> Result<PromptRow, String> {
    let prompt = |text: &[&str], listed: &[&str]| match (ids(listed), column(text)) {
        (Some(ids), _) => ids_of(&ids).map(Some),
        (None, Some(text)) => Ok(Some(PromptText::Text(text))),
        (None, None) => Ok(None),
    };
    let observable = column(OBSERVABLE);
    let [target, against] = [TARGET, AGAINST].map(|names| answer(names).map(|text| tokens(&text)));
    let column_of_target = TARGET.iter().find(|name| answer(&[name]).is_some());
    let may_be_year = column_of_target == Some(&TOKEN_OR_YEAR) && against.is_none();
    if may_be_year && observable.is_none() {
        return Err(format!(
            "it has `{TOKEN_OR_YEAR}` and no `incorrect_idx`, so the number may be a year; name the column `target` if \
             it is a token, or give an `observable`"
        ));
    }
    let role = |text: &String| text.parse().map_or_else(|_| Role::Text(text.clone()), Role::Position);
    Ok(PromptRow {
        clean: prompt(CLEAN, CLEAN_IDS)?.ok_or("it has no `clean`")?,
        corrupted: prompt(CORRUPTED, CORRUPTED_IDS)?,
        target,
        against,
        observable,
        label: column(LABEL),
        roles: roles.iter().map(|(name, text)| (name.clone(), role(text))).collect(),
        line: Some(*line),
    })
}

fn ids_of(text: &str) -> Result<PromptText, String> {
    let ids = text.split(',').map(|id| id.trim().parse()).collect::<Result<Vec<u32>, _>>();
    ids.map(PromptText::Ids)
        .map_err(|_| format!("invalid token ids `{text}`: expected numbers with commas between them"))
}

/// Returns an answer as the rest of the program reads it: the tokens of a list have `|` between them.
fn tokens(text: &str) -> String {
    let listed: Option<Value> = text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten();
    listed.and_then(|list| answer_of(&list, &token)).unwrap_or_else(|| token(text))
}

/// Returns a token as the rest of the program reads it: digits are an id.
fn token(text: &str) -> String {
    match !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        true => format!("#{text}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(target: &str, line: usize) -> PromptRow {
        let [clean, corrupted] = ["a, b", "a, c"].map(|text| PromptText::Text(text.to_owned()));
        let (target, against) = (Some(target.to_owned()), Some(" d".to_owned()));
        PromptRow { clean, corrupted: Some(corrupted), target, against, line: Some(line), ..PromptRow::default() }
    }

    #[test]
    fn csv_rows_are_read_and_bad_ones_named() {
        let text = "clean,corrupted,correct_idx,incorrect,task\n\"a, b\",\"a, c\",17, d,ioi\n,\"a, c\",17, d,ioi\n\"a, b\",\"a, c\", e, d,\n";
        let (tasks, bad) = csv(text).expect("has a header");
        assert_eq!(tasks["ioi"], [pair("#17", 2)]);
        assert_eq!(tasks["prompts"], [pair(" e", 4)]);
        assert_eq!(bad, [(3, "it has no `clean`".to_owned())]);
        let reason = |text| csv(text).expect_err("lacks a column");
        assert!(reason("corrupted,target\n").contains("has `corrupted`, `target` and no column `clean`: expected"));
        assert!(reason("clean;target\nx; y\n").contains("has `clean;target` and no column `clean`"));
        assert_eq!(reason(" \r\n"), "it is empty");
    }

    #[test]
    fn csv_rows_may_have_ids_roles_and_an_observable() {
        let text =
            "clean_tokens,observable,label,role.subject,role.end\n\"1,2, 3\",entropy(),x,the dog,-1\n\"1,a\",,,,\n";
        let (tasks, bad) = csv(text).expect("has a header");
        let row = &tasks["prompts"][0];
        assert_eq!((&row.clean, row.name()), (&PromptText::Ids(vec![1, 2, 3]), "x".to_owned()));
        assert_eq!(row.observable.as_deref(), Some("entropy()"));
        assert_eq!(row.roles["subject"], Role::Text("the dog".to_owned()));
        assert_eq!(row.roles["end"], Role::Position(-1));
        assert_eq!(bad[0].0, 3);
        assert!(bad[0].1.contains("invalid token ids `1,a`"), "{bad:?}");
    }

    /// The columns of the published tasks, one row of each: `dataset.py` of EAP-IG names them.
    #[test]
    fn published_columns_are_answers() {
        let answers = |text: &str| {
            let (tasks, bad) = csv(text).expect("has a header");
            let rows = tasks.into_values().flatten().map(|row| (row.target, row.against));
            (rows.collect::<Vec<_>>(), bad)
        };
        let pair = |a: &str, b: &str| vec![(Some(a.to_owned()), Some(b.to_owned()))];
        for (text, found) in [
            ("clean,corrupted,correct_idx,incorrect_idx\na,b,3,4\n", pair("#3", "#4")),
            ("clean,country_idx,corrupted,corrupted_country_idx\na,3,b,4\n", pair("#3", "#4")),
            ("clean,corrupted,clean_answer_idx,corrupted_answer_idx\na,b,3,4\n", pair("#3", "#4")),
            (
                "clean,answers,answers_idx,corrupted,corrupted_answers_idx\na,\"['x', 'y']\",\"[3, 5]\",b,\"[4]\"\n",
                pair("#3|#5", "#4"),
            ),
        ] {
            assert_eq!(answers(text), (found, Vec::new()), "{text}");
        }
        let (rows, bad) = answers("clean,corrupted,correct_idx\na,b,67\n");
        assert!(rows.is_empty() && bad[0].1.contains("may be a year"), "{bad:?}");
        let (rows, bad) = answers("clean,corrupted,correct_idx,observable\na,b,67,entropy()\n");
        assert_eq!((rows.len(), bad), (1, Vec::new()));
    }

    #[test]
    fn json_lists_are_sets_of_answers() {
        let text =
            "{\"clean\": \"a\", \"target\": [\" x\", 7], \"against\": []}\n{\"clean\": \"a\", \"target\": \"[\"}\n";
        let (tasks, bad) = json_lines(text);
        let row = |i: usize| (tasks["prompts"][i].target.as_deref(), tasks["prompts"][i].against.as_deref());
        assert_eq!([row(0), row(1)], [(Some(" x|#7"), Some("[]")), (Some("["), None)]);
        assert!(bad.is_empty(), "{bad:?}");
    }

    #[test]
    fn json_lines_are_read_and_bad_ones_named() {
        let text = "{\"clean\": \"a, b\", \"corrupted\": \"a, c\", \"target\": 17, \"against\": \" d\"}\n\n[]\n{\n\
                    {\"clean_tokens\": [4, 5], \"roles\": {\"subject\": 0}}\n{\"clean\": [6]}\n";
        let (tasks, bad) = json_lines(text);
        assert_eq!(tasks["prompts"][0], pair("#17", 1));
        let row = &tasks["prompts"][1];
        assert_eq!((&row.clean, &row.roles["subject"]), (&PromptText::Ids(vec![4, 5]), &Role::Position(0)));
        assert_eq!(tasks["prompts"][2].clean, PromptText::Ids(vec![6]));
        assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(bad[0].1, "it has no `clean`");
        assert_eq!(bad[1].1, "it is not JSON: EOF while parsing an object at column 1");
    }
}
