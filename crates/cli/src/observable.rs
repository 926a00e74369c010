//! The observable J: as text, or as the logit of a target.

use std::ops::Deref;
use std::path::Path;

use clap::Args;
use resolvent::field::read_direction;
use resolvent::model::{
    Distribution, Error, Model, Observable, ObservableContext, from_end, logits_text, token_text, tokens_of,
};

use crate::Failure;

/// The observable: a text in the grammar of observables, or a logit or difference of logits.
#[derive(Args)]
pub(crate) struct ObservableArgs {
    /// Observable as text: logit(" Paris"), logprob(..), prob(" A"|" B"), entropy(), kl(base), kl_from(base),
    /// continuation(" a b") or project(LEVEL, POSITION, "FILE"), each with @POSITION, in sums with weights such as
    /// `logit(" A") - 0.5 * logit(" B")`
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["target", "against"], allow_hyphen_values = true)]
    observe: Option<String>,
    /// Token whose logit is observed: text that is one token (" Paris"), or an id (#1234); the mean over several,
    /// A|B|..
    #[arg(short, long, value_name = "TOKEN")]
    target: Option<String>,
    /// Token whose logit is subtracted, or several as in --target
    #[arg(short, long, value_name = "TOKEN", requires = "target")]
    against: Option<String>,
    /// Position at which the logits are read; -1 is the last
    #[arg(short, long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) position: i64,
}

/// The observable of a command that needs one.
#[derive(Args)]
#[group(id = "J", required = true, multiple = true, args = ["observe", "target", "prompts"])]
pub(crate) struct RequiredObservable {
    #[command(flatten)]
    observable: ObservableArgs,
}

impl Deref for RequiredObservable {
    type Target = ObservableArgs;

    fn deref(&self) -> &ObservableArgs {
        &self.observable
    }
}

impl RequiredObservable {
    /// Returns the observable of a prompt, and the prompt: extended by a continuation, if the observable reads one.
    ///
    /// A divergence is from the prompt's own distribution.
    pub(crate) fn of(&self, model: &Model, tokens: &[u32]) -> Result<(Observable, Vec<u32>), Failure> {
        let observable = self
            .given(model, tokens)?
            .ok_or("no observable was given; name a token, such as --target \" Paris\", or write --observe TEXT")?;
        let tokens = observable.extend(tokens);
        Ok((observable, tokens))
    }
}

impl ObservableArgs {
    /// Returns the observable of a prompt, if one is given.
    pub(crate) fn given(&self, model: &Model, tokens: &[u32]) -> Result<Option<Observable>, Failure> {
        if let Some(text) = &self.observe {
            return Ok(Some(parse(text, model, tokens)?));
        }
        let Some(target) = &self.target else { return Ok(None) };
        let position = from_end("position", self.position, tokens.len())?;
        let targets = ids(model, target)?;
        let against = self.against.as_ref().map(|against| ids(model, against)).transpose()?;
        Ok(Some(Observable::mean_logit_diff(&targets, &against.unwrap_or_default(), position)))
    }

    /// Returns the observable as it was typed, in the grammar of observables: `logit(" Paris") - logit(" Rome")`.
    pub(crate) fn title(&self) -> String {
        if let Some(text) = &self.observe {
            return text.trim().to_owned();
        }
        let at = if self.position == -1 { String::new() } else { format!("@{}", self.position) };
        let mean = |tokens: &String| match tokens.matches('|').count() {
            0 => format!("logit({}){at}", token_text(tokens)),
            _ => format!("mean logit({}){at}", tokens.split('|').map(token_text).collect::<Vec<_>>().join("|")),
        };
        let terms: Vec<String> = self.target.iter().chain(&self.against).map(mean).collect();
        terms.join(" - ")
    }

    /// Returns the observable as text in the grammar of observables, if one is given: a set of targets is a weighted
    /// sum.
    pub(crate) fn text(&self, model: &Model) -> Option<String> {
        if let Some(text) = &self.observe {
            return Some(text.clone());
        }
        let at = if self.position == -1 { String::new() } else { format!("@{}", self.position) };
        Some(logits_text(model, self.target.as_deref()?, self.against.as_deref(), &at))
    }
}

/// Parses an observable of a prompt in the grammar of observables. A divergence is from the prompt's own distribution.
pub(crate) fn parse(text: &str, model: &Model, tokens: &[u32]) -> Result<Observable, Failure> {
    let base = |position: usize| Ok(Distribution::of(&model.run(tokens, &[])?.logits_at(position)?));
    let direction = |file: &str| {
        let read = read_direction(Path::new(file), model.sizes().d);
        read.map_err(|e| Error::Observable { text: text.to_owned(), reason: e.to_string() })
    };
    let context = ObservableContext {
        tokens: tokens.len(),
        tokenizer: model.tokenizer(),
        base: Some(&base),
        direction: Some(&direction),
    };
    Ok(Observable::parse(text, &context)?)
}

/// Looks up the tokens of an answer.
fn ids(model: &Model, answer: &str) -> Result<Vec<u32>, Failure> {
    Ok(tokens_of(model, answer).into_iter().map(|token| model.token(token)).collect::<Result<_, _>>()?)
}
