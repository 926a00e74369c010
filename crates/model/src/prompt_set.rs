//! Study prompts: pairs of texts by task, from a file or embedded, and their tokens for a model.

use std::collections::BTreeMap;
use std::path::Path;

use resolvent_engine::did_you_mean;
use serde::Deserialize;

use crate::error::{Error, Result, one_line};
use crate::files;
use crate::prompt_row::PromptRow;
use crate::prompt_rows;

/// Prompts by task.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct PromptSet {
    /// Tasks by name.
    pub tasks: BTreeMap<String, Task>,
    /// Rows of the file that cannot be read: the line, from 1, and the reason.
    #[serde(skip)]
    pub bad_rows: Vec<(usize, String)>,
}

/// The rows of one task.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Task {
    /// What decides the answer.
    #[serde(default)]
    pub about: String,
    /// The rows.
    pub prompts: Vec<PromptRow>,
}

#[derive(Deserialize)]
struct File {
    version: u32,
    #[serde(flatten)]
    set: PromptSet,
}

impl PromptSet {
    /// Reads a prompt file: JSON of version 1, JSON Lines, or CSV with a header.
    ///
    /// JSON is `{"version": 1, "tasks": {NAME: {"about": ..., "prompts": [{"clean": ..., "corrupted": ...,
    /// "target": ..., "against": ...}]}}}`. JSON Lines have one such row a line, and CSV one a row; `task` names its
    /// task. Only `clean` is required. `observable` takes the place of the answers, `label` names the row, and `roles`
    /// names tokens (in CSV, columns such as `role.subject`). Columns may also be called as in the files of EAP-IG and
    /// MIB: `correct_idx`, `incorrect_idx`, `prompt`, `counterfactual`. Other keys are ignored. A row that cannot be
    /// read is left out, and is in `bad_rows`.
    ///
    /// # Errors
    /// A file that cannot be read, has another form, or contains no prompts.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_bytes(path, &files::read(path)?)
    }

    /// Returns the prompts that ship with the embedded models, which were not trained on any of them.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    #[cfg(feature = "atlas")]
    pub fn embedded() -> Result<Self> {
        Self::from_bytes(Path::new("atlas/prompts.json"), include_bytes!("../atlas/prompts.json"))
    }

    fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let fail = |message: String| Error::PromptFile { path: path.to_owned(), message };
        let text = files::text(bytes).map_err(fail)?;
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        match ending.as_ref().and_then(|ending| ending.to_str()) {
            Some("csv") => return Self::from_rows(prompt_rows::csv(text).map_err(fail)?).map_err(fail),
            Some("jsonl") => return Self::from_rows(prompt_rows::json_lines(text)).map_err(fail),
            _ => {}
        }
        let json = |e| fail(format!("{} (a name that ends in neither .csv nor .jsonl is read as JSON)", one_line(&e)));
        let file: File = serde_json::from_str(text).map_err(json)?;
        if file.version != 1 {
            return Err(fail(format!("it has version {}, and this program reads version 1", file.version)));
        }
        if file.set.tasks.values().all(|task| task.prompts.is_empty()) {
            return Err(fail("it has no prompts".to_owned()));
        }
        Ok(file.set)
    }

    fn from_rows((tasks, bad_rows): prompt_rows::Rows) -> std::result::Result<Self, String> {
        if tasks.is_empty() {
            return Err(match bad_rows.first() {
                Some((line, reason)) => format!("it has no prompts; line {line}: {reason}"),
                None => "it has no prompts".to_owned(),
            });
        }
        let tasks = tasks.into_iter().map(|(name, prompts)| (name, Task { about: String::new(), prompts }));
        Ok(Self { tasks: tasks.collect(), bad_rows })
    }

    /// Returns the tasks with these names, in this order, or all if none is named. A task that is named twice counts
    /// once.
    ///
    /// # Errors
    /// As [`PromptSet::task`].
    pub fn named(&self, names: &[String]) -> Result<Vec<(&str, &Task)>> {
        if names.is_empty() {
            return Ok(self.tasks.iter().map(|(name, task)| (name.as_str(), task)).collect());
        }
        let first = names.iter().enumerate().filter(|(i, name)| !names[..*i].contains(name));
        first.map(|(_, name)| self.entry(name)).collect()
    }

    /// Returns the rows of the tasks of [`PromptSet::named`]: at most `limit` of each.
    ///
    /// # Errors
    /// As [`PromptSet::task`].
    pub fn rows(&self, tasks: &[String], limit: Option<usize>) -> Result<Vec<&PromptRow>> {
        let limit = limit.unwrap_or(usize::MAX);
        let tasks = self.named(tasks)?;
        Ok(tasks.into_iter().flat_map(|(_, task)| task.prompts.iter().take(limit)).collect())
    }

    /// Returns the task `name`.
    ///
    /// # Errors
    /// No task has this name; the message lists the tasks.
    pub fn task(&self, name: &str) -> Result<&Task> {
        Ok(self.entry(name)?.1)
    }

    fn entry(&self, name: &str) -> Result<(&str, &Task)> {
        self.tasks.get_key_value(name).map(|(name, task)| (name.as_str(), task)).ok_or_else(|| {
            let names = self.tasks.keys().cloned().collect::<Vec<_>>().join(", ");
            let meant = did_you_mean(name, self.tasks.keys().map(String::as_str));
            Error::Place(format!("no task `{name}` among the prompts; there are {names}{meant}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PromptSet> {
        PromptSet::from_bytes(Path::new("p.json"), text.as_bytes())
    }

    #[test]
    fn files_are_read() {
        let set = parse(
            r#"{"version": 1, "licence": "x", "tasks": {"a": {"prompts": [
                {"clean": "1", "corrupted": "2", "target": " b", "against": " c", "tokens": 1}]}}}"#,
        );
        let set = set.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(set.task("a").map(|t| t.prompts[0].target.clone()).ok(), Some(Some(" b".to_owned())));
        let missing = set.task("b").map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(missing, Err("no task `b` among the prompts; there are a".to_owned()));
    }

    #[test]
    fn tasks_keep_their_order_and_count_once() {
        let set = parse(
            r#"{"version": 1, "tasks": {"a": {"prompts": [{"clean": "1"}, {"clean": "2"}]},
                "b": {"prompts": [{"clean": "3"}, {"clean": "4"}]}}}"#,
        );
        let set = set.unwrap_or_else(|e| panic!("{e}"));
        let texts = |tasks: &[&str], limit| {
            let tasks: Vec<String> = tasks.iter().map(|&task| task.to_owned()).collect();
            let rows = set.rows(&tasks, limit).map_err(|e| e.to_string())?;
            Ok::<_, String>(rows.iter().map(|row| row.clean.to_string()).collect::<String>())
        };
        assert_eq!(texts(&["b", "a", "b"], None).as_deref(), Ok("3412"));
        assert_eq!(texts(&["b", "a"], Some(1)).as_deref(), Ok("31"));
        assert_eq!(texts(&[], None).as_deref(), Ok("1234"));
        assert_eq!(texts(&["a", "c"], None).unwrap_err(), "no task `c` among the prompts; there are a, b");
        let set = parse(r#"{"version": 1, "tasks": {"capitals": {"prompts": [{"clean": "1"}]}}}"#);
        let missing =
            set.and_then(|set| set.task("capitol").map(|_| ()).map_err(|e| e.to_string()).map_err(Error::Place));
        assert!(missing.expect_err("misspelt").to_string().ends_with("there are capitals; did you mean `capitals`?"));
    }

    /// The ending of the name selects the form.
    #[test]
    fn rows_are_read_and_bad_ones_left_out() {
        let csv = "clean,corrupted,target,against\n1,2, b, c\n,,,\n";
        let set = PromptSet::from_bytes(Path::new("p.csv"), csv.as_bytes()).expect("has a pair");
        assert_eq!((set.tasks["prompts"].prompts.len(), set.bad_rows.len(), set.bad_rows[0].0), (1, 1, 3));
        let lines = "{\"clean\": \"1\", \"corrupted\": \"2\", \"target\": \" b\", \"against\": 3, \"task\": \"t\"}";
        let set = PromptSet::from_bytes(Path::new("p.jsonl"), lines.as_bytes()).expect("has a pair");
        assert_eq!(set.tasks["t"].prompts[0].against.as_deref(), Some("#3"));
        for (name, text, message) in
            [("p.csv", "a,b\n", "no column `clean`"), ("p.jsonl", "{}\n", "line 1: it has no `clean`")]
        {
            let error = PromptSet::from_bytes(Path::new(name), text.as_bytes()).expect_err("has no pair").to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_utf_16_named() {
        let text = r#"{"version": 1, "tasks": {"a": {"prompts": [
            {"clean": "1", "corrupted": "2", "target": " b", "against": " c"}]}}}"#;
        assert_eq!(parse(&format!("\u{feff}{text}")).ok(), parse(text).ok());
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [&[0xFF, 0xFE], &utf16[..]].concat();
        let error = PromptSet::from_bytes(Path::new("p.json"), &marked).map(|_| ()).map_err(|e| e.to_string());
        assert!(error.as_ref().is_err_and(|e| e.contains("it is UTF-16 text, not UTF-8")), "{error:?}");
    }

    #[test]
    fn other_files_are_refused() {
        for (text, message) in [
            ("[]", "p.json: invalid prompt file"),
            ("clean,target", "is read as JSON); see the page on many prompts for its form"),
            (r#"{"version": 2, "tasks": {}}"#, "version 2"),
            (r#"{"version": 1, "tasks": {"a": {"prompts": []}}}"#, "no prompts"),
            (r#"{"version": 1, "tasks": {"a": {"prompts": [{"corrupted": "x"}]}}}"#, "missing field"),
        ] {
            let error = parse(text).map(|_| ()).map_err(|e| e.to_string());
            assert!(error.as_ref().is_err_and(|e| e.contains(message) && !e.contains('\n')), "{error:?}");
        }
    }

    #[cfg(feature = "atlas")]
    #[test]
    fn embedded_prompts_fit_the_embedded_model() {
        let device = resolvent_engine::Device::host();
        let model = crate::Model::named(&device, crate::DEFAULT_MODEL).unwrap_or_else(|e| panic!("{e}"));
        let set = PromptSet::embedded().unwrap_or_else(|e| panic!("{e}"));
        for (name, task) in &set.tasks {
            assert!(task.prompts.len() >= 50, "{name}");
            let fit = task.prompts.iter().filter(|p| p.pair(&model).is_ok()).count();
            assert_eq!(fit, task.prompts.len(), "{name}");
        }
    }
}
