//! Rows of prompt files as tokens of a model, with their observables.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::observable::{Distribution, Observable};
use crate::observable_text::{ObservableContext, ReadDirection, token_text};
use crate::prompt::{check_prompt, from_end};
use crate::prompt_row::{PromptRow, PromptText, Role};
use crate::tokenizer::Tokenizer;

/// A prompt as tokens of a model, or a pair of prompts, and the observable to read: one row of a prompt file.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptCase {
    /// The label of the row, or else its number or its line.
    pub name: String,
    /// The clean prompt, extended by a continuation if the observable reads one.
    pub clean: Vec<u32>,
    /// The corrupted prompt, as long as the clean one, if the row has one.
    pub corrupted: Option<Vec<u32>>,
    /// The observable, if the row or the caller gives one.
    pub observable: Option<Observable>,
    /// Tokens of the clean prompt by the names of their roles.
    pub roles: BTreeMap<String, Range<usize>>,
    /// Edits under which both prompts run.
    pub edits: Vec<Edit>,
}

/// A pair of prompts as tokens of a model: they have the same length and differ.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenPair {
    /// The clean prompt.
    pub clean: Vec<u32>,
    /// The corrupted prompt, of the same length.
    pub corrupted: Vec<u32>,
    /// What is observed in both runs.
    pub observable: Observable,
}

impl PromptRow {
    /// Returns the row as tokens of `model`.
    ///
    /// `observable` is a text in the grammar of [`Observable::parse`], and takes the place of the row's own observable.
    /// `base` in it is the clean prompt's own distribution. `direction` reads the files that it names.
    ///
    /// # Errors
    /// Text and a model without a tokenizer, a prompt or an answer that does not fit the model, prompts of different
    /// lengths, or a role that the prompt lacks.
    pub fn case(
        &self,
        model: &Model,
        observable: Option<&str>,
        direction: Option<ReadDirection<'_>>,
    ) -> Result<PromptCase> {
        let clean = self.clean.tokens(model)?;
        let corrupted = self.corrupted.as_ref().map(|text| text.tokens(model)).transpose()?;
        if let Some(corrupted) = corrupted.as_ref().filter(|corrupted| corrupted.len() != clean.len()) {
            return Err(Error::Place(format!(
                "the clean prompt has {} tokens and the corrupted one {}; give prompts of the same length",
                clean.len(),
                corrupted.len()
            )));
        }
        let base = |position: usize| Ok(Distribution::of(&model.run(&clean, &[])?.logits_at(position)?));
        let context =
            ObservableContext { tokens: clean.len(), tokenizer: model.tokenizer(), base: Some(&base), direction };
        let own = self.observable_text(model);
        let observable = observable.or(own.as_deref()).map(|text| Observable::parse(text, &context)).transpose()?;
        let roles = self.roles.iter().map(|(name, role)| Ok((name.clone(), role_of(model, name, role, &clean)?)));
        let roles = roles.collect::<Result<_>>()?;
        let extended = |tokens: &[u32]| observable.as_ref().map_or_else(|| tokens.to_vec(), |j| j.extend(tokens));
        let (clean, corrupted) = (extended(&clean), corrupted.map(|corrupted| extended(&corrupted)));
        check_prompt(model.sizes(), &clean)?;
        if let Some(observable) = &observable {
            observable.check(model.sizes(), &clean)?;
        }
        Ok(PromptCase { name: self.name(), clean, corrupted, observable, roles, edits: Vec::new() })
    }

    /// Returns the row as a pair of prompts that differ, as tokens of `model`.
    ///
    /// # Errors
    /// As [`PromptRow::case`] and [`PromptCase::pair`].
    pub fn pair(&self, model: &Model) -> Result<TokenPair> {
        self.case(model, None, None)?.pair()
    }

    /// Returns the row's own observable as text: as given, or the logit of its answer, less that of the other answer.
    fn observable_text(&self, model: &Model) -> Option<String> {
        let of_target = || Some(logits_text(model, self.target.as_deref()?, self.against.as_deref(), ""));
        self.observable.clone().or_else(of_target)
    }
}

/// Returns the logit of an answer at `at` (`@POSITION`, or nothing for the last), less that of another answer, in the
/// grammar of observables. An answer `A|B|..` is the mean over its tokens.
pub fn logits_text(model: &Model, target: &str, against: Option<&str>, at: &str) -> String {
    let terms = |answer: &str, sign: &str| {
        let tokens = tokens_of(model, answer);
        let weight = if tokens.len() == 1 { String::new() } else { format!("{} * ", 1.0 / tokens.len() as f64) };
        tokens.iter().map(|t| format!("{sign} {weight}logit({}){at}", token_text(t))).collect::<String>()
    };
    let [target, against] = [terms(target, " +"), against.map_or_else(String::new, |against| terms(against, " -"))];
    format!("{target}{against}").trim_start_matches([' ', '+']).to_owned()
}

/// Returns the tokens of an answer, which have `|` between them. A text that is one token is that token, whatever
/// characters it has.
pub fn tokens_of<'t>(model: &Model, answer: &'t str) -> Vec<&'t str> {
    if model.token(answer).is_ok() { vec![answer] } else { answer.split('|').collect() }
}

impl PromptCase {
    /// Returns the case as a pair of prompts that differ.
    ///
    /// # Errors
    /// A row without a corrupted prompt or an observable, or equal prompts.
    pub fn pair(self) -> Result<TokenPair> {
        let lacks = |what: &str| Error::Place(format!("the row has no {what}"));
        let corrupted = self.corrupted.ok_or_else(|| lacks("corrupted prompt"))?;
        let observable = self.observable.ok_or_else(|| lacks("observable: it needs `target` or `observable`"))?;
        if corrupted == self.clean {
            return Err(Error::Place("its two prompts are the same tokens".to_owned()));
        }
        if observable.terms().iter().all(|term| term.weight == 0.0) {
            return Err(Error::Place("its two answers are the same token".to_owned()));
        }
        Ok(TokenPair { clean: self.clean, corrupted, observable })
    }
}

impl PromptText {
    /// Returns the prompt as tokens of a model.
    ///
    /// # Errors
    /// Text for a model without a tokenizer, or a prompt that the model does not take.
    pub fn tokens(&self, model: &Model) -> Result<Vec<u32>> {
        let tokens = match self {
            Self::Ids(ids) => ids.clone(),
            Self::Text(text) => match model.text_tokenizer()? {
                Some(tokenizer) => tokenizer.prompt(text)?,
                None => {
                    return Err(Error::Place(format!(
                        "{} has no tokenizer, and this prompt is text; give token ids, or use a model with a tokenizer",
                        model.name()
                    )));
                }
            },
        };
        check_prompt(model.sizes(), &tokens)?;
        Ok(tokens)
    }
}

/// Returns the tokens of a role: one position, or the tokens that the first occurrence of a text overlaps.
fn role_of(model: &Model, name: &str, role: &Role, tokens: &[u32]) -> Result<Range<usize>> {
    match role {
        Role::Position(at) => {
            let at = from_end(&format!("the position of role `{name}`"), *at, tokens.len())?;
            Ok(at..at + 1)
        }
        Role::Text(text) => {
            let found = model.tokenizer().and_then(|tokenizer| span_of(tokenizer, text, tokens));
            found.ok_or_else(|| Error::Place(format!("the prompt has no text `{text}`, which is its role `{name}`")))
        }
    }
}

/// Returns the tokens that the first occurrence of `text` overlaps.
fn span_of(tokenizer: &Tokenizer, text: &str, tokens: &[u32]) -> Option<Range<usize>> {
    let end_of = |count: usize| tokenizer.decode(&tokens[..count]).map_or(0, |text| text.len());
    let from = tokenizer.decode(tokens).ok()?.find(text.trim()).filter(|_| !text.trim().is_empty())?;
    let to = from + text.trim().len();
    let first = (0..tokens.len()).rev().find(|&i| end_of(i) <= from)?;
    let last = (first + 1..=tokens.len()).find(|&i| end_of(i) >= to)?;
    Some(first..last)
}

#[cfg(all(test, feature = "atlas"))]
mod tests {
    use resolvent_engine::Device;

    use super::*;
    use crate::named::DEFAULT_MODEL;

    fn row(clean: &str) -> PromptRow {
        PromptRow { clean: PromptText::Text(clean.to_owned()), ..PromptRow::default() }
    }

    #[test]
    fn observables_roles_and_names() {
        let model = Model::named(&Device::host(), DEFAULT_MODEL).unwrap_or_else(|e| panic!("{e}"));
        let mut france = row("The capital of France is");
        france.roles =
            [("country".to_owned(), Role::Text("France".to_owned())), ("end".to_owned(), Role::Position(-1))].into();
        let case = france.case(&model, None, None).unwrap_or_else(|e| panic!("{e}"));
        let n = case.clean.len();
        let text = model.tokenizer().and_then(|t| t.decode(&case.clean[case.roles["country"].clone()]).ok());
        assert_eq!((case.roles["end"].clone(), text.as_deref()), (n - 1..n, Some(" France")));
        assert!(case.observable.is_none() && case.clone().pair().is_err());
        france.target = Some(" Paris".to_owned());
        france.against = Some(" Rome".to_owned());
        let case = france.case(&model, None, None).unwrap_or_else(|e| panic!("{e}"));
        let [paris, rome] = [" Paris", " Rome"].map(|t| model.token(t).unwrap_or_else(|e| panic!("{e}")));
        assert_eq!(case.observable, Some(Observable::logit_diff(paris, rome, n - 1)));
        let case = france.case(&model, Some("entropy()@0"), None).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(case.observable, Some(Observable::entropy(0)));
        let continued = france.case(&model, Some("continuation(\" Paris\")"), None).unwrap_or_else(|e| panic!("{e}"));
        assert!(continued.clean.len() >= n, "a continuation of one token reads the last position");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let model = Model::named(&Device::host(), DEFAULT_MODEL).unwrap_or_else(|e| panic!("{e}"));
        let error = |row: &PromptRow| row.case(&model, None, None).map(|_| ()).expect_err("refused").to_string();
        let mut france = row("The capital of France is");
        france.corrupted = Some(PromptText::Text("The capital".to_owned()));
        assert!(error(&france).contains("give prompts of the same length"), "{}", error(&france));
        france.corrupted = Some(france.clean.clone());
        france.target = Some(" Paris".to_owned());
        let pair = france.case(&model, None, None).and_then(PromptCase::pair).map(|_| ()).map_err(|e| e.to_string());
        assert!(pair.is_err_and(|e| e.contains("its two prompts are the same tokens")));
        france.roles = [("place".to_owned(), Role::Text("Peru".to_owned()))].into();
        assert!(error(&france).contains("has no text `Peru`, which is its role `place`"), "{}", error(&france));
        france.roles = [("place".to_owned(), Role::Position(99))].into();
        assert!(error(&france).contains("the position of role `place`"), "{}", error(&france));
    }
}
