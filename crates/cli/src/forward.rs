//! `resolvent run`: runs a prompt, and lists the most likely next tokens.

use std::fmt::Write;

use resolvent::Labelled;
use resolvent::field::{Prompts, forward_of_prompts};
use resolvent::model::{Model, Run};
use resolvent_report::terminal::visible;

use crate::Failure;
use crate::edits::EditArgs;
use crate::options::{ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks, quoted};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Logits of the last position only
    #[arg(long)]
    last: bool,
    /// How many next tokens to list
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    if let Some(cases) = args.prompt.set.edited(&model, (None, &args.edits), output.stream())? {
        let mut listed = String::new();
        let result = cases.all(|model, cases, progress| {
            let prompts = forward_of_prompts(model, cases, progress)?;
            list(model, &prompts, &mut listed);
            Ok(prompts)
        })?;
        return cases.finish(output, result, &[], &|result| most_likely(&listed, result));
    }
    let run = args.edits.run(&model, &args.prompt.tokens(&model)?)?;
    let result = resolvent::forward(&run, args.last)?;
    let logits = result.array("logits").map_or(&[][..], |a| &a.data);
    let last = &logits[logits.len() - model.sizes().vocab..];
    output.naming(&run, None).finish(&result, || format!("{}{}", top(&run, last, args.top), checks(&result)))
}

/// Prompts whose next token is listed.
const LISTED: usize = 20;

/// Adds a line with the most likely next token of each prompt, until the first few prompts have one.
fn list(model: &Model, prompts: &Prompts, lines: &mut String) {
    let more = LISTED.saturating_sub(lines.lines().count());
    for (name, result) in prompts.names.iter().zip(&prompts.results).take(more) {
        let logits = result.array("logits").map_or(&[][..], |a| &a.data);
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        let total: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
        let id = logits.iter().position(|x| *x == most).unwrap_or(0);
        let token = quoted(model, id as u32);
        let _infallible = writeln!(lines, "{token:<16}  {:>11.4}  {most:>6.2}   {}", 1.0 / total, visible(name));
    }
}

/// Formats the lines of the first prompts, and counts the others.
fn most_likely(lines: &str, result: &Labelled) -> String {
    let all: usize = result.fact("prompts").parse().unwrap_or(0);
    let more = all.saturating_sub(lines.lines().count());
    let rest = if more > 0 { format!("and {more} more\n") } else { String::new() };
    format!("next token        probability   logit   prompt\n{lines}{rest}")
}

/// Lists the most likely next tokens with their probabilities.
fn top(run: &Run, logits: &[f32], count: usize) -> String {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let weight = |x: f32| f64::from(x - most).exp();
    let total: f64 = logits.iter().map(|&x| weight(x)).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let mut text = String::from("next token        probability   logit\n");
    for &id in order.iter().take(count) {
        let token = quoted(run.model(), id as u32);
        let _infallible = writeln!(text, "{token:<16}  {:>11.4}  {:>6.2}", weight(logits[id]) / total, logits[id]);
    }
    text
}
