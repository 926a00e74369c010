//! `resolvent average`: the Green operator to the last level, averaged over prompts and positions.

use std::fmt::Write;
use std::path::PathBuf;

use resolvent::Labelled;
use resolvent::field::{AverageOptions, AveragedOperator, average};

use crate::Failure;
use crate::options::{ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks};
use crate::terminal::counted;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// First positions of each prompt that are left out
    #[arg(long, value_name = "N", default_value_t = AverageOptions::default().skip_first)]
    skip_first: usize,
    /// Last positions of each prompt that are left out
    #[arg(long, value_name = "N", default_value_t = AverageOptions::default().skip_last)]
    skip_last: usize,
    /// Write the operators as a lens file that TransformerLens reads (.pt)
    #[arg(long, value_name = "FILE")]
    lens: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    args.lens.as_deref().map_or(Ok(()), AveragedOperator::check_path)?;
    let model = args.model.open()?;
    let options = AverageOptions { skip_first: args.skip_first, skip_last: args.skip_last };
    let result = args.prompt.together(&model, |model, cases, progress| average(model, cases, options, progress))?;
    if let Some(path) = &args.lens {
        AveragedOperator::of(&result)?.write_lens(path)?;
        crate::terminal::say(format_args!("wrote {}", path.display()));
    }
    output.finish(&result, || format!("{}{}", levels(&result), checks(&result)))
}

/// Lists gain, distance from the identity, and spread of each level.
fn levels(result: &Labelled) -> String {
    let data = |name: &str| result.array(name).map_or(&[][..], |array| &array.data);
    let fact = |name: &str| result.fact(name);
    let (spread, error) = (data("spread"), data("error"));
    let mut text = format!("{}, {} positions\n", counted(fact("prompts")), fact("positions"));
    let more = if spread.is_empty() { "" } else { "  spread  error of the mean" };
    let _infallible = writeln!(text, "level    gain  from identity{more}");
    for (level, (gain, apart)) in data("gain").iter().zip(data("from_identity")).enumerate().rev() {
        let _infallible = write!(text, "{level:>5}  {gain:>6.3}  {apart:>13.3}");
        if let (Some(spread), Some(error)) = (spread.get(level), error.get(level)) {
            let _infallible = write!(text, "  {spread:>6.3}  {error:>17.3}");
        }
        text.push('\n');
    }
    text
}
