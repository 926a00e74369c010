//! `resolvent transfer`: how much of a donor's answer its `h[l,t]` transfers.

use resolvent::field::{TransferOptions, distinct, transfer_of_prompts};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::options::{DonorArgs, ModelArgs, PromptArgs, tokens};
use crate::output::{OutputArgs, checks, heatmaps};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    donor: DonorArgs,
    /// Factor of the displacement
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    scale: f32,
    /// Random directions of the displacement's length to compare with; 0 for none
    #[arg(long, value_name = "N", default_value_t = 8)]
    controls: usize,
    /// Seed of the random directions
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Another prompt of as many tokens whose displacement is a control; may be given several times
    #[arg(long, value_name = "TEXT", conflicts_with = "prompts")]
    other: Vec<String>,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    if !args.scale.is_finite() || args.scale == 0.0 {
        return Err(format!("invalid --scale {}: expected a finite number other than 0", args.scale).into());
    }
    let model = args.model.open()?;
    let options = TransferOptions { scale: args.scale, random: args.controls, seed: args.seed };
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        let result = cases.all(|model, cases, progress| transfer_of_prompts(model, cases, &options, progress))?;
        let arrays = [("fraction", "transfer fraction"), ("random", "transfer fraction of random directions")];
        return cases.finish(output, result, &arrays, &|_| String::new());
    }
    let (observable, prompt) = args.observable.of(&model, &args.prompt.tokens(&model)?)?;
    let run = args.edits.run(&model, &prompt)?;
    let donor = args.donor.tokens(&model)?.ok_or("no donor was given; write --donor TEXT or --donor-tokens IDS")?;
    let donor = args.edits.run(&model, &observable.extend(&donor))?;
    let other = |text: &String| tokens(&model, Some(text), None);
    let others = distinct(args.other.iter().map(other).collect::<Result<Vec<_>, Failure>>()?);
    let others = others
        .iter()
        .map(|tokens| args.edits.run(&model, &observable.extend(tokens)))
        .collect::<Result<Vec<_>, _>>()?;
    let result = resolvent::transfer(&run, &donor, &observable, &others, &options)?;
    output.naming(&run, Some(&args.observable)).finish(&result, || {
        let value = result.array("value").map_or([f32::NAN; 2], |a| [a.data[0], a.data[1]]);
        let title = format!(
            "transfer fraction of J = {}: prompt {:.4}, donor {:.4}",
            args.observable.title(),
            value[0],
            value[1]
        );
        let maps = [
            ("fraction", title.as_str()),
            ("random", "control: random directions of the same length"),
            ("shuffled", "control: displacements to the other prompts, at the same length"),
        ];
        format!("{}{}", heatmaps(&run, &result, &maps), checks(&result))
    })
}
