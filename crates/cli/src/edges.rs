//! `resolvent edges`: how much of an effect passes from each head and MLP to each other one directly.

use std::fmt::Write as _;

use resolvent::Labelled;
use resolvent::field::{
    Case, EdgeOptions, EdgePredictor, Prompts, edges, edges_from_to, edges_into, edges_into_of_prompts,
    edges_of_prompts, paths, paths_of_prompts,
};
use resolvent::model::{Edge, from_end, path_sites};
use resolvent_report::{strongest_edges, strongest_edges_by_token};

use crate::Failure;
use crate::edits::EditArgs;
use crate::graph::{GraphArgs, TopArgs};
use crate::observable::RequiredObservable;
use crate::options::{CorruptedArgs, ModelArgs, PromptArgs, parse_place, split_place};
use crate::output::{Output, OutputArgs, checks, label, labels};
use crate::prompts::{Cases, Outcome, from_end as labels_from_end};

/// The options of the analysis of all edges.
const WHOLE: [&str; 7] = ["predictors", "steps", "exact", "by_token", "random", "seed", "controls"];

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
    /// Only edges into the residual stream at this place, from every head and MLP below it, to first order and exactly;
    /// a negative token counts from the end
    #[arg(long, value_name = "L,T", allow_hyphen_values = true, conflicts_with_all = WHOLE, conflicts_with = "graph")]
    into: Option<String>,
    /// Only edges from these writers, with commas: input, a0.h1, m3. Each is patched alone, and all together
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with_all = WHOLE, conflicts_with = "into")]
    from: Vec<String>,
    /// The readers of --from, with commas: a4.h1<v> (or <q>, <k>; a4.h1 is all three), m4, logits
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "logits", requires = "from")]
    to: Vec<String>,
    /// Other prompts of the file whose displacements are a control of each score
    #[arg(long, value_name = "N", default_value_t = 0, requires = "prompts", conflicts_with_all = ["prompt", "tokens"])]
    controls: usize,
    #[command(flatten)]
    top: TopArgs,
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
    let output = args.output.prepare()?.edges(args.top.drawn());
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
    let chosen = match &args.from[..] {
        [] => None,
        from => Some(edges_from_to(model.architecture(), from, &args.to)?),
    };
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        return of_prompts(args, &cases, output, (chosen.as_deref(), &options));
    }
    let (observable, prompts) = args.corrupted.with(&model, &args.prompt, &args.observable)?;
    let runs = args.edits.run_all(&model, &prompts, &sites)?;
    let case = Case { clean: &runs[0], corrupted: &runs[1], observable: &observable };
    let output = output.naming(&runs[1], Some(&args.observable));
    if let Some(text) = &args.into {
        let place = parse_place(text, &runs[1])?;
        let result = edges_into(&case, place)?;
        let at = format!("h[{},{}] {}", place.0, place.1, label(&runs[1], place.1));
        return output.finish(&result, || format!("{}{}", writers(&result, &at, args.top.listed()), checks(&result)));
    }
    let result = match &chosen {
        Some(edges) => paths(&case, edges)?,
        None => edges(&case, &options)?,
    };
    args.graph.write(&result)?;
    output.finish(&result, || {
        let value = |name| result.array(name).map_or(f32::NAN, |a| a.data[0]);
        let (from, to) = (value("corrupted_value"), value("clean_value"));
        let on = format!("J = {}: corrupted {from:.4}, clean {to:.4}", args.observable.title());
        let labels = labels(&runs[1]);
        let table = table(&result, &labels, args.top.listed(), &on);
        format!("{table}{}{}{}", together(&result), agreements(&result), checks(&result))
    })
}

/// Computes and shows the results of a prompt file.
fn of_prompts(
    args: &Args,
    cases: &Cases<'_>,
    output: Output<'_>,
    (chosen, options): (Option<&[Edge]>, &EdgeOptions),
) -> Result<(), Failure> {
    if let Some(text) = &args.into {
        let (level, token) = split_place(text)?;
        let result = cases.all(|model, cases, progress| {
            let level = from_end("level", level, model.sizes().layers + 1)?;
            edges_into_of_prompts(model, cases, (level, token), progress)
        })?;
        let at = format!("h[{level},{token}]");
        return cases
            .finish(output, result, &[], &|result| writers(&Prompts::averaged(result), &at, args.top.listed()));
    }
    let set = if options.controls > 0 { cases.everything() } else { Vec::new() };
    let result = cases.all(|model, cases, progress| match chosen {
        Some(edges) => paths_of_prompts(model, cases, edges, progress),
        None => edges_of_prompts(model, (cases, &set), options, progress),
    })?;
    if let Outcome::Whole(result) | Outcome::Written(result) = &result {
        args.graph.write(result)?;
    }
    cases.finish(output, result, &[], &|result| {
        let averaged = Prompts::averaged(result);
        format!("{}{}", table(&averaged, &[], args.top.listed(), "mean over prompts"), together(&averaged))
    })
}

/// Formats the writers with the largest exact effects at a place. Of a prompt file, these are means.
fn writers(result: &Labelled, at: &str, count: usize) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |array| &array.data);
    let (first_order, exact, norm, random) = (of("first_order"), of("exact"), of("norm"), of("random"));
    let names = result.list("writers").unwrap_or_default();
    let mut order: Vec<usize> = (0..exact.len()).collect();
    order.sort_by(|&a, &b| exact[b].abs().total_cmp(&exact[a].abs()));
    let whole = of("whole").get(1).copied().unwrap_or(f32::NAN);
    let mut text = format!(
        "writers of the difference at {at}, the {} strongest of {}; the whole difference: {whole:.4}\n\
         {:<12} {:>10} {:>12} {:>10} {:>10}\n",
        count.min(order.len()),
        order.len(),
        "writer",
        "exact",
        "first order",
        "random",
        "|vector|"
    );
    for &i in order.iter().take(count) {
        let [name, exact, first_order] =
            [names[i].to_owned(), format!("{:.4}", exact[i]), format!("{:.4}", first_order[i])];
        let _infallible =
            writeln!(text, "{name:<12} {exact:>10} {first_order:>12} {:>10.4} {:>10.3}", random[i], norm[i]);
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

/// Formats the effect of all chosen edges at once; nothing for a result of all edges.
fn together(result: &Labelled) -> String {
    let value = |name| result.array(name).map(|array| f64::from(array.data[0]));
    let (Some(together), Some(clean), Some(corrupted), Some(exact)) =
        (value("together"), value("clean_value"), value("corrupted_value"), result.array("exact"))
    else {
        return String::new();
    };
    let sum: f64 = exact.data.iter().map(|&x| f64::from(x)).sum();
    let whole = clean - corrupted;
    format!(
        "patched together: {together:.4} of {whole:.4}, clean - corrupted; the sum of their effects alone: {sum:.4}\n"
    )
}

/// Formats the strongest edges: at a token, if the result has values by token. `labels` are the texts of the tokens;
/// without any, tokens count from the end.
fn table(result: &Labelled, labels: &[String], count: usize, on: &str) -> String {
    let number = result.array("edges").map_or(0, |edges| edges.axes[0].1);
    let table = match result.array(EdgePredictor::FirstOrder.by_token()) {
        Some(by_token) => {
            let (all, tokens) = (by_token.data.len(), by_token.axes[1].1);
            let title = format!("strongest {} of {number} edges at {tokens} tokens; {on}", count.min(all));
            let labels = if labels.is_empty() { labels_from_end(tokens) } else { labels.to_vec() };
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
