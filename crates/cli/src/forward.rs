//! `resolvent run`: runs a prompt, and lists the most likely next tokens.

use std::fmt::Write;

use resolvent::model::Run;

use crate::Failure;
use crate::options::{ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
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
    let run = model.run(&args.prompt.tokens(&model)?, &[])?;
    let result = resolvent::forward(&run, args.last)?;
    let logits = result.array("logits").map_or(&[][..], |a| &a.data);
    let last = &logits[logits.len() - model.config().vocab_size..];
    output.naming(&run, None).finish(&result, || format!("{}{}", top(&run, last, args.top), checks(&result)))
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
        let token = run.model().tokenizer().map_or_else(|| format!("#{id}"), |t| format!("{:?}", t.token(id as u32)));
        let _infallible = writeln!(text, "{token:<16}  {:>11.4}  {:>6.2}", weight(logits[id]) / total, logits[id]);
    }
    text
}
