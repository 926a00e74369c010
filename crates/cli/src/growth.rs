//! `resolvent growth`: transient growth of sources in the blocks.

use std::fmt::Write;

use resolvent::Labelled;
use resolvent::field::{Prompts, distinct, growth, growth_of_prompts};
use resolvent::model::{Run, from_end};

use crate::Failure;
use crate::options::{ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks, label};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Tokens at which sources act, with commas; -1 is the last
    #[arg(long, value_name = "T", value_delimiter = ',', default_value = "-1", allow_hyphen_values = true)]
    at: Vec<i64>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    if let Some(cases) = args.prompt.set.cases(&model, None, output.stream())? {
        let at = distinct(args.at.iter().copied());
        let result = cases.all(|model, cases, progress| growth_of_prompts(model, cases, &at, progress))?;
        return cases.finish(output, result, &[], &|result| means(&at, result));
    }
    let run = model.run(&args.prompt.tokens(&model)?, &[])?;
    let at = args.at.iter().map(|&token| from_end("token position", token, run.tokens().len()));
    let result = growth(&run, &distinct(at.collect::<Result<Vec<_>, _>>()?))?;
    output.naming(&run, None).finish(&result, || format!("{}{}", tables(&run, &result), checks(&result)))
}

/// Lists the figures of every block, token by token.
fn tables(run: &Run, result: &Labelled) -> String {
    let tokens = result.array("tokens").map_or(&[][..], |array| &array.data);
    let name = |&token: &f32| format!("token {token} {:?}", label(run, token as usize));
    table(result, &tokens.iter().map(name).collect::<Vec<_>>())
}

/// Lists the means over many prompts, which count tokens from the end.
fn means(at: &[i64], result: &Labelled) -> String {
    let names: Vec<String> = at.iter().map(|token| format!("token {token}, mean over prompts")).collect();
    table(&Prompts::averaged(result), &names)
}

fn table(result: &Labelled, tokens: &[String]) -> String {
    let data = |name: &str| result.array(name).map_or(&[][..], |array| &array.data);
    let names = ["gain", "radius", "numerical_abscissa", "abscissa", "departure"];
    let columns = names.map(data);
    let (growth, by_radius, by_gain) = (data("growth"), data("by_radius"), data("by_gain"));
    let mut text = String::new();
    for (n, token) in tokens.iter().enumerate() {
        let _infallible = writeln!(text, "{token}");
        text.push_str(
            "block    gain  radius  rate at first  in the long run  departure    growth  by radius    by gain\n",
        );
        for block in (0..columns[0].len() / tokens.len()).rev() {
            let at = block * tokens.len() + n;
            let [gain, radius, first, late, departure] = columns.map(|column| column[at]);
            let above = at + tokens.len();
            let _infallible = writeln!(
                text,
                "{block:>5} {gain:>7.3} {radius:>7.3} {first:>14.3} {late:>16.3} {departure:>10.3} {:>9.3} {:>10.3} {:>10.3}",
                growth[above], by_radius[above], by_gain[above]
            );
        }
    }
    text
}
