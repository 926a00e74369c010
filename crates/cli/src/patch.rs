//! `resolvent patch`

use crate::Failure;
use crate::options::{ModelArgs, ObservableArgs, PromptArgs, tokens};
use crate::output::{OutputArgs, checks, heatmap};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Corrupted prompt, of as many tokens
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "corrupted_tokens",
        conflicts_with = "corrupted_tokens"
    )]
    corrupted: Option<String>,
    /// Corrupted prompt as token ids
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    corrupted_tokens: Option<String>,
    #[command(flatten)]
    observable: ObservableArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let clean = args.prompt.tokens(&model)?;
    let corrupted = tokens(&model, args.corrupted.as_deref(), args.corrupted_tokens.as_deref())?;
    if clean.len() != corrupted.len() {
        let (clean, corrupted) = (clean.len(), corrupted.len());
        return Err(format!(
            "the prompt has {clean} tokens and the corrupted one {corrupted}; patching pairs them"
        )
        .into());
    }
    let observable = args.observable.observable(&model, clean.len())?;
    let (clean, corrupted) = (model.run(&clean, &[])?, model.run(&corrupted, &[])?);
    let result = resolvent::patch(&clean, &corrupted, &observable)?;
    output.naming(&corrupted, Some(&args.observable)).finish(&result, || {
        let value = |name| result.array(name).map_or(f32::NAN, |a| a.data[0]);
        let (from, to) = (value("corrupted_value"), value("clean_value"));
        let title =
            format!("patch effect on J = {}: corrupted {from:.4}, clean {to:.4}", args.observable.title());
        let effect = heatmap(&corrupted, &result, "effect", &title);
        let predicted = heatmap(&corrupted, &result, "first_order", "first-order prediction");
        format!("{effect}\n{predicted}{}", checks(&result))
    })
}
