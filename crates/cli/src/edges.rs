//! `resolvent edges`: how much of an effect passes from each head and MLP to each other one directly.

use std::fmt::Write as _;

use resolvent::field::{Case, EdgeOptions, EdgePredictor, Prompts, edges, edges_into, edges_of_prompts};
use resolvent::model::{Run, path_sites};
use resolvent::{Labelled, Place};
use resolvent_report::{strongest_edges, strongest_edges_by_token};

use crate::Failure;
use crate::edits::EditArgs;
use crate::graph::GraphArgs;
use crate::observable::RequiredObservable;
use crate::options::{CorruptedArgs, ModelArgs, PromptArgs, parse_place};
use crate::output::{OutputArgs, checks, label, labels};
use crate::prompts::{Outcome, from_end};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    corrupted: CorruptedArgs,
    /// Predictions beside first order, with commas: integrated, integrated_activations, relp
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    predictors: Vec<EdgePredictor>,
    /// Runs between the prompts, of the prediction `integrated`; of `integrated_activations` for each MLP and each
    /// block's heads
    #[arg(long, value_name = "N", default_value_t = EdgeOptions::default().steps)]
    steps: usize,
    /// Patch every edge too, and compare
    #[arg(long)]
    exact: bool,
    /// Also the scores, and with --exact the effects, of each edge at each token alone; the table shows the strongest
    #[arg(long)]
    by_token: bool,
    /// Random displacements of the same norms that are patched along every edge, as a control of the exact effects
    #[arg(long, value_name = "N", default_value_t = 0, requires = "exact")]
    random: usize,
    /// Seed of the random displacements
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Only edges into the residual stream at this place, from every head and MLP below it, to first order and exactly
    #[arg(long, value_name = "L,T", allow_hyphen_values = true,
          conflicts_with_all = ["predictors", "exact", "by_token", "prompts", "graph"])]
    into: Option<String>,
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
    if args.graph.is_given() {
        args.prompt.set.shards.refuse_beside("--graph")?;
    }
    let model = args.model.open()?;
    let options = EdgeOptions {
        predictors: args.predictors.clone(),
        steps: args.steps,
        exact: args.exact,
        by_token: args.by_token,
        controls: args.controls,
        random: args.random,
        seed: args.seed,
    };
    let sites = path_sites(model.sizes());
    if let Some(cases) = args.prompt.set.edited(&model, Some(&args.observable), &args.edits)? {
        let set = if options.controls > 0 { cases.everything() } else { Vec::new() };
        let result = cases.all(|model, cases, progress| edges_of_prompts(model, (cases, &set), &options, progress))?;
        if let Outcome::Whole(result) = &result {
            args.graph.write(result)?;
        }
        return cases.finish(output, result, &[], &|result| {
            table(&Prompts::averaged(result), &[], args.top, "mean over prompts")
        });
    }
    let (observable, prompts) = args.corrupted.with(&model, &args.prompt, &args.observable)?;
    let runs = args.edits.run_all(&model, &prompts, &sites)?;
    let case = Case { clean: &runs[0], corrupted: &runs[1], observable: &observable };
    if let Some(text) = &args.into {
        let place = parse_place(text, &runs[1])?;
        let result = edges_into(&case, place)?;
        return output
            .naming(&runs[1], Some(&args.observable))
            .finish(&result, || format!("{}{}", writers(&result, &runs[1], place, args.top), checks(&result)));
    }
    let result = edges(&case, &options)?;
    args.graph.write(&result)?;
    output.naming(&runs[1], Some(&args.observable)).finish(&result, || {
        let value = |name| result.array(name).map_or(f32::NAN, |a| a.data[0]);
        let (from, to) = (value("corrupted_value"), value("clean_value"));
        let on = format!("J = {}: corrupted {from:.4}, clean {to:.4}", args.observable.title());
        let labels = labels(&runs[1]);
        format!("{}{}{}", table(&result, &labels, args.top, &on), agreements(&result), checks(&result))
    })
}

/// Formats the writers with the largest exact effects.
fn writers(result: &Labelled, run: &Run, place: Place, count: usize) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |array| &array.data);
    let (first_order, exact, norm, whole) = (of("first_order"), of("exact"), of("norm"), of("whole"));
    let names = result.list("writers").unwrap_or_default();
    let mut order: Vec<usize> = (0..exact.len()).collect();
    order.sort_by(|&a, &b| exact[b].abs().total_cmp(&exact[a].abs()));
    let (level, token) = place;
    let mut text = format!(
        "writers of the difference at h[{level},{token}] {}, the {} strongest of {}; the whole difference: {:.4}\n\
         {:<12} {:>10} {:>12} {:>10}\n",
        label(run, token),
        count.min(order.len()),
        order.len(),
        whole[1],
        "writer",
        "exact",
        "first order",
        "|vector|"
    );
    for &i in order.iter().take(count) {
        let _infallible =
            writeln!(text, "{:<12} {:>10.4} {:>12.4} {:>10.3}", names[i], exact[i], first_order[i], norm[i]);
    }
    let sum = |values: &[f32]| values.iter().map(|&x| f64::from(x)).sum::<f64>();
    let _infallible = writeln!(
        text,
        "{:<12} {:>10.4} {:>12.4}   (sums: the exact effects need not add up)",
        "all writers",
        sum(exact),
        sum(first_order)
    );
    text
}

/// Formats the strongest edges: at a token, if the result has values by token. `labels` are the texts of the tokens;
/// without any, tokens count from the end.
fn table(result: &Labelled, labels: &[String], count: usize, on: &str) -> String {
    let number = result.array("edges").map_or(0, |edges| edges.axes[0].1);
    let table = match result.array(EdgePredictor::FirstOrder.by_token()) {
        Some(by_token) => {
            let (all, tokens) = (by_token.data.len(), by_token.axes[1].1);
            let title = format!("strongest {} of {number} edges at {tokens} tokens; {on}", count.min(all));
            let labels = if labels.is_empty() { from_end(tokens) } else { labels.to_vec() };
            strongest_edges_by_token(&title, result, &labels, count)
        }
        None => strongest_edges(&format!("strongest {} of {number} edges; {on}", count.min(number)), result, count),
    };
    table.map_or_else(String::new, |table| format!("{}\n", table.text()))
}

/// Formats how well each prediction agrees with the patches, and what these cost.
fn agreements(result: &Labelled) -> String {
    let mut text = String::new();
    let names = EdgePredictor::ALL.map(|predictor| [predictor.name(), predictor.by_token()]).into_iter().flatten();
    for name in names {
        if let Some(agreement) = result.metadata.get(&format!("agreement.{name}")) {
            text.push_str(&format!("{:<22} {agreement}\n", name.replace("_by_token", ", by token")));
        }
        if let Some(top) = result.metadata.get(&format!("top.{name}")) {
            text.push_str(&format!("{:<22} share of the strongest edges found, {top}\n", ""));
        }
    }
    if let Some(error) = result.metadata.get("integration_error") {
        let name = EdgePredictor::IntegratedActivations;
        text.push_str(&format!(
            "{name:<22} sums from each site are the effects of moving it, to {error} of the largest\n"
        ));
    }
    for (key, of) in [("sweep_cost", ""), ("sweep_cost_by_token", " at single tokens")] {
        if let Some(cost) = result.metadata.get(key) {
            text.push_str(&format!("all patches{of} run: cost {cost} forward passes\n"));
        }
    }
    text
}
