//! `resolvent green`

use resolvent::Context;
use resolvent::model::{Observable, Run};

use crate::Failure;
use crate::options::{DirectionArgs, DonorArgs, ModelArgs, ObservableArgs, PromptArgs, parse_place};
use crate::output::{OutputArgs, checks, heatmap};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Place of the source: LEVEL,TOKEN; -1 is the last
    #[arg(short, long, value_name = "L,T", allow_hyphen_values = true)]
    source: String,
    #[command(flatten)]
    direction: DirectionArgs,
    /// For `sensitivity`: token whose logit is observed
    #[arg(short, long, value_name = "TOKEN")]
    target: Option<String>,
    /// For `sensitivity`: token whose logit is subtracted
    #[arg(short, long, value_name = "TOKEN")]
    against: Option<String>,
    /// For `sensitivity`: position at which the logits are read; -1 is the last
    #[arg(short, long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    position: i64,
    #[command(flatten)]
    donor: DonorArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let run = model.run(&args.prompt.tokens(&model)?, &[])?;
    let (level, at) = parse_place(&args.source, &run)?;
    let observable = args.observable(&run)?;
    let other = args.donor.run(&model)?;
    let context =
        Context { observable: observable.as_ref(), other: other.as_ref(), unit: args.direction.unit };
    let source = args.direction.parse(&model)?.resolve(&run, (level, at), context)?;
    let result = resolvent::green(&run, level, at, &source)?
        .note("direction", &args.direction.direction)
        .note("unit", args.direction.unit.to_string());
    output.naming(&run, None).finish(&result, || {
        let title = format!("|response| to {} at h[{level},{at}]", args.direction.direction);
        format!("{}{}", heatmap(&run, &result, "norm", &title), checks(&result))
    })
}

impl Args {
    fn observable(&self, run: &Run) -> Result<Option<Observable>, Failure> {
        let Some(target) = self.target.clone() else { return Ok(None) };
        let args = ObservableArgs { target, against: self.against.clone(), position: self.position };
        Ok(Some(args.observable(run.model(), run.tokens().len())?))
    }
}
