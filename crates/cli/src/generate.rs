//! `resolvent generate`: continues a prompt token by token.

use resolvent::model::{Model, Sampling};
use resolvent_report::terminal::visible;
use serde_json::json;

use crate::Failure;
use crate::options::{ModelArgs, token, tokens};
use crate::terminal::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Prompt text
    #[arg(value_name = "PROMPT", required_unless_present = "tokens", conflicts_with = "tokens")]
    prompt: Option<String>,
    /// Prompt as token ids, such as 5,9,12
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    tokens: Option<String>,
    /// How many new tokens at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    new: usize,
    /// Divides the logits before a token is sampled; 0 takes the most likely token
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    temperature: f64,
    /// Sample among so many most likely tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Sample among the fewest most likely tokens that together have this probability
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Seed of the samples
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// End after this token: text that is one token, or #id; may be given several times
    #[arg(long, value_name = "TOKEN")]
    stop: Vec<String>,
    /// Print tokens and text as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let Args { new, temperature, top_k, top_p, seed, .. } = *args;
    if temperature == 0.0 && (top_k.is_some() || top_p.is_some()) {
        return Err("--top-k and --top-p have no effect at --temperature 0: give a temperature, such as 1".into());
    }
    let model = args.model.open()?;
    let prompt = tokens(&model, args.prompt.as_deref(), args.tokens.as_deref())?;
    let stop = args.stop.iter().map(|one| token(&model, one)).collect::<Result<Vec<u32>, Failure>>()?;
    let sampling = Sampling { temperature, top_k, top_p, seed };
    let found = model.generate(&prompt, &[], (new, &stop), &sampling)?;
    if args.json {
        let text = match model.tokenizer() {
            Some(_) => Some(text_of(&model, &found)?),
            None => None,
        };
        return print(&format!("{:#}", json!({ "prompt_tokens": prompt, "tokens": found, "text": text })));
    }
    let all = text_of(&model, &[prompt, found].concat())?;
    print(&all.split('\n').map(visible).collect::<Vec<_>>().join("\n"))
}

/// Returns the text of tokens, or their ids if the model has no tokenizer.
fn text_of(model: &Model, ids: &[u32]) -> Result<String, Failure> {
    match model.tokenizer() {
        Some(tokenizer) => Ok(tokenizer.decode(ids)?),
        None => Ok(ids.iter().map(|id| format!("#{id}")).collect::<Vec<_>>().join(" ")),
    }
}
