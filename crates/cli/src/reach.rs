//! `resolvent reach`: how strongly sources act at each depth and distance in tokens.

use std::fmt::Write;

use resolvent::Labelled;
use resolvent::field::{Probes, reach};

use crate::Failure;
use crate::options::{ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks};
use crate::terminal::counted;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Random directions at each place; 0 takes all d unit directions, which is exact
    #[arg(long, value_name = "N", default_value_t = 4)]
    directions: usize,
    /// Seed of the directions
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let probes = match args.directions {
        0 => Probes::Exact,
        count => Probes::Hutchinson(count, args.seed),
    };
    let result = args.prompt.together(&model, |model, cases, progress| reach(model, cases, probes, progress))?;
    output.finish(&result, || format!("{}{}", table(&result), checks(&result)))
}

/// Largest number of distances in a table: those that follow are in the file.
const COLUMNS: usize = 10;

/// Lists the gain by depth and distance, and the share at other tokens.
fn table(result: &Labelled) -> String {
    let data = |name: &str| result.array(name).map_or(&[][..], |array| &array.data);
    let tokens = data("prompts_at").len().max(1);
    let shown = tokens.min(COLUMNS);
    let prompts = counted(result.fact("prompts"));
    let mut text = format!("gain |G s| / |s| by depth and distance in tokens, {prompts}\ndepth");
    for distance in 0..shown {
        let _infallible = write!(text, " {distance:>7}");
    }
    text.push_str("   at other tokens\n");
    for (depth, (row, others)) in data("gain").chunks(tokens).zip(data("others")).enumerate().rev() {
        let _infallible = write!(text, "{depth:>5}");
        for gain in &row[..shown] {
            let _infallible = write!(text, " {gain:>7.3}");
        }
        let _infallible = writeln!(text, "   {:>12.1} %", 100.0 * others);
    }
    if shown < tokens {
        let _infallible = writeln!(text, "{} more distances are in the result", tokens - shown);
    }
    text
}
