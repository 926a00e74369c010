//! `resolvent edges`: how much of an effect passes from each head and MLP to each other one directly.

use resolvent::Labelled;
use resolvent::field::{Case, EdgeOptions, EdgePredictor, Prompts, edges, edges_of_prompts};
use resolvent::model::{RunOptions, path_sites};
use resolvent_report::strongest_edges;

use crate::Failure;
use crate::graph::GraphArgs;
use crate::observable::RequiredObservable;
use crate::options::{CorruptedArgs, ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    corrupted: CorruptedArgs,
    /// Predictions beside first order, with commas: integrated, integrated_activations, relp
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    predictors: Vec<EdgePredictor>,
    /// Runs between the prompts, of the prediction `integrated`; of `integrated_activations` for each MLP and each block's heads
    #[arg(long, value_name = "N", default_value_t = EdgeOptions::default().steps)]
    steps: usize,
    /// Patch every edge too, and compare
    #[arg(long)]
    exact: bool,
    /// Random displacements of the same norms that are patched along every edge, as a control of the exact effects
    #[arg(long, value_name = "N", default_value_t = 0, requires = "exact")]
    random: usize,
    /// Seed of the random displacements
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Other prompts of the file whose displacements are a control of each score
    #[arg(long, value_name = "N", default_value_t = 0, requires = "prompts")]
    controls: usize,
    /// Edges in the printed table
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    graph: GraphArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    args.graph.prepare()?;
    let model = args.model.open()?;
    let options = EdgeOptions {
        predictors: args.predictors.clone(),
        steps: args.steps,
        exact: args.exact,
        controls: args.controls,
        random: args.random,
        seed: args.seed,
    };
    let sites = path_sites(model.sizes());
    if let Some(cases) = args.prompt.set.cases(&model, Some(&args.observable))? {
        let result = cases.all(|model, cases, progress| edges_of_prompts(model, cases, &options, progress))?;
        args.graph.write(&result)?;
        return cases
            .finish(output, result, &[], &|result| table(&Prompts::averaged(result), args.top, "mean over prompts"));
    }
    let (observable, prompts) = args.corrupted.with(&model, &args.prompt, &args.observable)?;
    let runs = model.run_all(&prompts, &RunOptions { sites, ..RunOptions::default() })?;
    let result = edges(&Case { clean: &runs[0], corrupted: &runs[1], observable: &observable }, &options)?;
    args.graph.write(&result)?;
    output.naming(&runs[1], Some(&args.observable)).finish(&result, || {
        let value = |name| result.array(name).map_or(f32::NAN, |a| a.data[0]);
        let (from, to) = (value("corrupted_value"), value("clean_value"));
        let on = format!("J = {}: corrupted {from:.4}, clean {to:.4}", args.observable.title());
        format!("{}{}{}", table(&result, args.top, &on), agreements(&result), checks(&result))
    })
}

/// Formats the strongest edges.
fn table(result: &Labelled, count: usize, on: &str) -> String {
    let number = result.array("edges").map_or(0, |edges| edges.axes[0].1);
    let title = format!("strongest {} of {number} edges; {on}", count.min(number));
    strongest_edges(&title, result, count).map_or_else(String::new, |table| format!("{}\n", table.text()))
}

/// Formats how well each prediction agrees with the patches, and what these cost.
fn agreements(result: &Labelled) -> String {
    let mut text = String::new();
    for predictor in EdgePredictor::ALL {
        if let Some(agreement) = result.metadata.get(&format!("agreement.{predictor}")) {
            text.push_str(&format!("{:<22} {agreement}\n", predictor.name()));
        }
        if let Some(top) = result.metadata.get(&format!("top.{predictor}")) {
            text.push_str(&format!("{:<22} share of the strongest edges found, {top}\n", ""));
        }
    }
    if let Some(error) = result.metadata.get("integration_error") {
        let name = EdgePredictor::IntegratedActivations;
        text.push_str(&format!(
            "{name:<22} sums from each site are the effects of moving it, to {error} of the largest\n"
        ));
    }
    if let Some(cost) = result.metadata.get("sweep_cost") {
        text.push_str(&format!("all patches run: cost {cost} forward passes\n"));
    }
    text
}
