//! Options that commands share, and what they mean.

use clap::Args;
use resolvent::engine::{Choice, Device, Options};
use resolvent::model::{Model, Observable, check_prompt, parse_token, parse_tokens};

use crate::Failure;

/// Which model, on which device.
#[derive(Args)]
pub(crate) struct ModelArgs {
    /// Model: an embedded one (atlas-small), a directory, a name on the Hugging Face hub (gpt2, ORG/NAME, with
    /// @REVISION if you like), or `random[:SEED]` for a tiny one with random weights
    #[arg(short, long, value_name = "MODEL", default_value = resolvent::model::DEFAULT_MODEL)]
    pub(crate) model: String,
    /// Device: auto, gpu, host, an index of `resolvent devices`, or part of an adapter's name
    #[arg(short, long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: String,
}

/// The prompt, as text or as token ids.
#[derive(Args)]
pub(crate) struct PromptArgs {
    /// Prompt text
    #[arg(value_name = "PROMPT", required_unless_present = "tokens", conflicts_with = "tokens")]
    pub(crate) prompt: Option<String>,
    /// Prompt as token ids, such as 5,9,12
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    pub(crate) tokens: Option<String>,
}

/// The observable: a logit, or the difference of two.
#[derive(Args)]
pub(crate) struct ObservableArgs {
    /// Token whose logit is observed: text that is one token (" Paris"), or an id (#1234)
    #[arg(short, long, value_name = "TOKEN")]
    pub(crate) target: String,
    /// Token whose logit is subtracted
    #[arg(short, long, value_name = "TOKEN")]
    pub(crate) against: Option<String>,
    /// Position at which the logits are read; -1 is the last
    #[arg(short, long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) position: i64,
}

impl ModelArgs {
    /// Opens device and model.
    pub(crate) fn open(&self) -> Result<Model, Failure> {
        let Ok(choice) = self.device.parse::<Choice>();
        let device: Device = resolvent::open(&Options::new(choice))?;
        tracing::info!("device: {}", device.info());
        #[cfg(feature = "hub")]
        let model = Model::named_with(&device, &self.model, &crate::download::hub())?;
        #[cfg(not(feature = "hub"))]
        let model = Model::named(&device, &self.model)?;
        Ok(model)
    }
}

impl PromptArgs {
    /// The prompt's tokens.
    pub(crate) fn tokens(&self, model: &Model) -> Result<Vec<u32>, Failure> {
        tokens(model, self.prompt.as_deref(), self.tokens.as_deref())
    }
}

/// Tokens of a text or of a list of ids: a prompt that the model can run.
pub(crate) fn tokens(model: &Model, text: Option<&str>, ids: Option<&str>) -> Result<Vec<u32>, Failure> {
    let tokens = match (text, ids) {
        (_, Some(ids)) => parse_tokens(ids, model.config().vocab_size)?,
        (Some(text), None) => {
            let tokenizer = model.tokenizer().ok_or_else(|| {
                format!("{} has no tokenizer; give the prompt as ids: --tokens 5,9,12", model.name())
            })?;
            tokenizer.encode(text)?
        }
        (None, None) => return Err("no prompt was given".into()),
    };
    check_prompt(model.config(), &tokens)?;
    Ok(tokens)
}

/// One token of a model, as text or `#id`.
pub(crate) fn token(model: &Model, arg: &str) -> Result<u32, Failure> {
    Ok(parse_token(model.tokenizer(), model.config().vocab_size, arg)?)
}

/// A position or level that counts from 0, or backwards from -1, below `end`.
pub(crate) fn place(what: &str, at: i64, end: usize) -> Result<usize, Failure> {
    let from_start = if at < 0 { at + end as i64 } else { at };
    usize::try_from(from_start).ok().filter(|&p| p < end).ok_or_else(|| {
        format!("{what} {at} is out of range; there are {end}, 0 to {} or -1 to -{end}", end - 1).into()
    })
}

impl ObservableArgs {
    /// The observable of a prompt of `tokens` tokens.
    pub(crate) fn observable(&self, model: &Model, tokens: usize) -> Result<Observable, Failure> {
        let position = place("position", self.position, tokens)?;
        let target = token(model, &self.target)?;
        Ok(match &self.against {
            Some(against) => Observable::logit_diff(target, token(model, against)?, position),
            None => Observable::logit(target, position),
        })
    }

    /// As it is shown: `logit( Paris) - logit( Rome)`.
    pub(crate) fn title(&self) -> String {
        match &self.against {
            Some(against) => format!("logit({}) - logit({against})", self.target),
            None => format!("logit({})", self.target),
        }
    }
}
