//! `resolvent sensitivity`

use crate::Failure;
use crate::options::{ModelArgs, ObservableArgs, PromptArgs};
use crate::output::{OutputArgs, checks, heatmap};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
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
    let tokens = args.prompt.tokens(&model)?;
    let observable = args.observable.observable(&model, tokens.len())?;
    let run = model.run(&tokens, &[])?;
    let result = resolvent::sensitivity(&run, &observable)?;
    output.naming(&run, Some(&args.observable)).finish(&result, || {
        let value = result.array("value").map_or(f32::NAN, |a| a.data[0]);
        let title = format!("|dJ/dh[l,t]|, J = {} = {value:.4}", args.observable.title());
        format!("{}{}", heatmap(&run, &result, "norm", &title), checks(&result))
    })
}
