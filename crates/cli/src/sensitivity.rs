//! `resolvent sensitivity`: `dJ/dh` at every level and token.

use resolvent::Direction;
use resolvent::field::{sensitivity_along, sensitivity_of_prompts};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::options::{DonorArgs, ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks, heatmap};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Also write <dJ/dh[l,t], D> at every place, for a direction D: token:TOKEN, random[:SEED], displacement (with
    /// --donor), or a file
    #[arg(long, value_name = "D", conflicts_with = "prompts")]
    direction: Option<String>,
    #[command(flatten)]
    donor: DonorArgs,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    if let Some(cases) = args.prompt.set.edited(&model, Some(&args.observable), &args.edits)? {
        let result = cases.all(sensitivity_of_prompts)?;
        return cases.finish(output, result, &[("norm", "|dJ/dh[l,t]|")], &|_| String::new());
    }
    let tokens = args.prompt.tokens(&model)?;
    let (observable, tokens) = args.observable.of(&model, &tokens)?;
    let run = args.edits.run(&model, &tokens)?;
    let result = match &args.direction {
        None => resolvent::sensitivity(&run, &observable)?,
        Some(text) => {
            let direction = Direction::parse(text, &model)?;
            let donor = args.donor.run(&model, &args.edits)?;
            sensitivity_along(&run, &observable, &direction, donor.as_ref())?.note("direction", text)
        }
    };
    output.naming(&run, Some(&args.observable)).finish(&result, || {
        let value = result.array("value").map_or(f32::NAN, |a| a.data[0]);
        let title = format!("|dJ/dh[l,t]|, J = {} = {value:.4}", args.observable.title());
        let mut text = heatmap(&run, &result, "norm", &title);
        if let Some(direction) = &args.direction {
            let title = format!("<dJ/dh[l,t], {direction}>");
            text.push('\n');
            text.push_str(&heatmap(&run, &result, "directional", &title));
        }
        format!("{text}{}", checks(&result))
    })
}
