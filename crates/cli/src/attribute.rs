//! `resolvent attribute`: what embedding, heads, MLPs and neurons contribute to an observable directly.

use resolvent::Labelled;
use resolvent::field::{AttributeOptions, Prompts, attribute, attribute_of_prompts};
use resolvent_report::{listed_neurons, strongest_neurons, strongest_writers};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::options::{ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Add the contributions of every neuron, and list the largest at single tokens
    #[arg(long)]
    neurons: bool,
    /// Add the attention pattern of every head
    #[arg(long)]
    patterns: bool,
    /// Other prompts of the file whose outputs are a control of each contribution
    #[arg(long, value_name = "N", default_value_t = 0, requires = "prompts", conflicts_with_all = ["prompt", "tokens"])]
    controls: usize,
    /// Rows of the printed tables
    #[arg(long, value_name = "N", default_value_t = 16)]
    top: usize,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Neurons at single tokens in the result; the printed table has fewer.
const LISTED: usize = 64;

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let options =
        AttributeOptions { neurons: args.neurons, patterns: args.patterns, listed: LISTED, controls: args.controls };
    let sites = options.sites(model.sizes());
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        let set = if options.controls > 0 { cases.everything() } else { Vec::new() };
        let result =
            cases.all(|model, cases, progress| attribute_of_prompts(model, (cases, &set), options, progress))?;
        return cases
            .finish(output, result, &[], &|result| tables(&Prompts::averaged(result), args.top, "mean over prompts"));
    }
    let (observable, tokens) = args.observable.of(&model, &args.prompt.tokens(&model)?)?;
    let run = args.edits.run_all(&model, &[tokens], &sites)?.remove(0);
    let result = attribute(&run, &observable, options)?;
    output.naming(&run, Some(&args.observable)).finish(&result, || {
        let value = result.array("value").map_or(f32::NAN, |a| a.data[0]);
        let on = format!("J = {} = {value:.4}", args.observable.title());
        let exact = result.metadata.get("exact").filter(|exact| *exact != "yes");
        let exact = exact.map_or_else(String::new, |why| format!("the contributions do not add up to J: {why}\n"));
        let listed = listed_neurons("strongest neurons at a token, through all paths", &result, args.top);
        let listed = listed.map_or_else(String::new, |table| format!("{}\n", table.text()));
        format!("{}{exact}{listed}{}", tables(&result, args.top, &on), checks(&result))
    })
}

/// Formats the strongest writers and neurons.
fn tables(result: &Labelled, count: usize, on: &str) -> String {
    let title = format!("direct contributions; {on}");
    let neurons = strongest_neurons("strongest neurons, direct", result, count);
    let tables = [strongest_writers(&title, result, count), neurons].into_iter().flatten();
    tables.map(|table| format!("{}\n", table.text())).collect()
}
