//! `resolvent lens`: what the head would answer at each level.

use std::fmt::Write;
use std::path::PathBuf;

use resolvent::Labelled;
use resolvent::field::{AveragedOperator, LensOptions, lens, lens_of_prompts};
use resolvent::model::{Run, from_end};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::ObservableArgs;
use crate::options::{ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks, heatmap, label, quoted};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Most likely tokens of each place
    #[arg(long, value_name = "N", default_value_t = LensOptions::default().top)]
    top: usize,
    /// Read each level through averaged operators: a result of `average` (.safetensors), or a lens file of
    /// TransformerLens (.pt)
    #[arg(long, value_name = "FILE")]
    averaged: Option<PathBuf>,
    #[command(flatten)]
    observable: ObservableArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const ANSWER: &str = "probability of the model's answer, read at level l";

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let averaged = args.averaged.as_deref().map(AveragedOperator::read).transpose()?;
    let averaged = averaged.as_ref();
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        // Most likely tokens have no means over prompts.
        let options = LensOptions { top: 0, averaged };
        let result = cases.all(|model, cases, progress| lens_of_prompts(model, cases, options, progress))?;
        return cases
            .finish(output, result, &[("answer", ANSWER), ("kl", "KL to the answer (nats)")], &|_| String::new());
    }
    let tokens = args.prompt.tokens(&model)?;
    let observable = args.observable.given(&model, &tokens)?;
    let tokens = observable.as_ref().map_or_else(|| tokens.clone(), |observable| observable.extend(&tokens));
    let position = from_end("position", args.observable.position, tokens.len())?;
    let run = args.edits.run(&model, &tokens)?;
    let result = lens(&run, observable.as_ref(), LensOptions { top: args.top, averaged })?;
    let named = observable.as_ref().map(|_| &args.observable);
    output.naming(&run, named).finish(&result, || {
        let title = named.map(ObservableArgs::title);
        let map = heatmap(&run, &result, "answer", ANSWER);
        format!("{map}{}{}", levels(&run, &result, position, title.as_deref()), checks(&result))
    })
}

/// Lists, for each level, J and the most likely tokens after the token at `position`.
fn levels(run: &Run, result: &Labelled, position: usize, observable: Option<&str>) -> String {
    let (length, data) = (run.tokens().len(), |name: &str| result.array(name).map_or(&[][..], |array| &array.data));
    let (ids, probability, value) = (data("top_tokens"), data("top_probability"), data("value"));
    let (answer, kl, entropy) = (data("answer"), data("kl"), data("entropy"));
    let top = ids.len() / answer.len().max(1);
    let j = observable.map_or("", |_| "        J");
    let mut text = format!(
        "after token {position} {:?}{}\n",
        label(run, position),
        observable.map_or_else(String::new, |j| format!("; J = {j}"))
    );
    let _infallible = writeln!(text, "level  answer      KL  entropy{j}   most likely tokens");
    for level in 0..answer.len() / length {
        let at = level * length + position;
        if answer[at].is_nan() {
            let _infallible = writeln!(text, "{level:>5}  no averaged operator");
            continue;
        }
        let _infallible = write!(text, "{level:>5}  {:>6.3}  {:>6.2}  {:>7.2}", answer[at], kl[at], entropy[at]);
        if let Some(j) = value.get(level) {
            let _infallible = write!(text, "  {j:>7.3}");
        }
        let tokens = (0..top)
            .map(|k| format!("{} {:.2}", quoted(run.model(), ids[at * top + k] as u32), probability[at * top + k]));
        let _infallible = writeln!(text, "   {}", tokens.collect::<Vec<_>>().join("  "));
    }
    text
}
