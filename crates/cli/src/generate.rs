//! `resolvent generate`: continues prompts token by token, under edits.

use std::path::PathBuf;

use resolvent::model::{Model, Sampling};
use resolvent_report::terminal::visible;
use serde_json::json;

use crate::Failure;
use crate::edits::EditArgs;
use crate::left_out::name_left_out;
use crate::options::{ModelArgs, token, tokens};
use crate::prompts;
use crate::terminal::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Prompt text
    #[arg(value_name = "PROMPT", required_unless_present_any = ["tokens", "prompts"], conflicts_with = "tokens")]
    prompt: Option<String>,
    /// Prompt as token ids, such as 5,9,12
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    tokens: Option<String>,
    /// Continue the clean prompt of each row of a prompt file (.json, .jsonl, .csv), or `embedded` for the prompts that
    /// ship with the embedded models
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "tokens"])]
    prompts: Option<PathBuf>,
    /// Task of the prompt file; may be given several times, without it all are continued
    #[arg(long, value_name = "NAME", requires = "prompts", conflicts_with_all = ["prompt", "tokens"])]
    task: Vec<String>,
    /// The most rows that are taken of a task
    #[arg(long, value_name = "N", requires = "prompts", conflicts_with_all = ["prompt", "tokens"])]
    rows: Option<usize>,
    #[command(flatten)]
    edits: EditArgs,
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
    let prompts = args.prompts(&model)?;
    let stop = args.stop.iter().map(|one| token(&model, one)).collect::<Result<Vec<u32>, Failure>>()?;
    let sampling = Sampling { temperature, top_k, top_p, seed };
    let (mut texts, mut objects) = (Vec::with_capacity(prompts.len()), Vec::new());
    for (name, prompt) in &prompts {
        let of_row = |e: resolvent::model::Error| match name {
            Some(name) => Failure::from(format!("{name}: {e}")),
            None => e.into(),
        };
        let edits = args.edits.of(&model, prompt.len()).map_err(of_row)?;
        let found = model.generate(prompt, &edits, (new, &stop), &sampling).map_err(of_row)?;
        if args.json {
            let text = model.tokenizer().is_some().then(|| text_of(&model, &found)).transpose()?;
            let mut object = json!({ "prompt_tokens": prompt, "tokens": found, "text": text });
            if let Some(name) = name {
                object["name"] = json!(name);
            }
            objects.push(object);
        } else {
            let all = text_of(&model, &[&prompt[..], &found].concat())?;
            texts.push(all.split('\n').map(visible).collect::<Vec<_>>().join("\n"));
        }
    }
    match (args.json, args.prompts.is_some()) {
        (true, true) => print(&format!("{:#}", json!(objects))),
        (true, false) => objects.first().map_or(Ok(()), |object| print(&format!("{object:#}"))),
        (false, _) => print(&texts.join("\n\n")),
    }
}

/// A prompt as tokens, with the name of its row if it is one of a file.
type Named = (Option<String>, Vec<u32>);

impl Args {
    /// Returns the prompts as tokens; those of a file with the names of their rows.
    fn prompts(&self, model: &Model) -> Result<Vec<Named>, Failure> {
        let Some(path) = &self.prompts else {
            return Ok(vec![(None, tokens(model, self.prompt.as_deref(), self.tokens.as_deref())?)]);
        };
        let set = prompts::read(path)?;
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        left_out.extend(set.bad_rows.iter().map(|(line, reason)| (format!("line {line}"), reason.clone())));
        for row in set.rows(&self.task, self.rows)? {
            match row.clean.tokens(model) {
                Ok(tokens) => found.push((Some(row.name()), tokens)),
                Err(error) => left_out.push((row.name(), error.to_string())),
            }
        }
        name_left_out(path, left_out.iter().map(|(name, reason)| (name.clone(), reason.as_str())));
        match found.is_empty() {
            true => Err(format!("{}: no row fits the model; give prompts that it takes", path.display()).into()),
            false => Ok(found),
        }
    }
}

/// Returns the text of tokens, or their ids if the model has no tokenizer.
fn text_of(model: &Model, ids: &[u32]) -> Result<String, Failure> {
    match model.tokenizer() {
        Some(tokenizer) => Ok(tokenizer.decode(ids)?),
        None => Ok(ids.iter().map(|id| format!("#{id}")).collect::<Vec<_>>().join(" ")),
    }
}
