//! `resolvent circuit`: how much of an observable remains if only the strongest edges carry the clean prompt.

use std::collections::BTreeMap;

use resolvent::engine::Steps;
use resolvent::field::{Ablation, CircuitOptions, EdgeScore, Selection, circuit};
use resolvent::model::PromptCase;
use resolvent_report::{circuit_sizes, strongest_edges};

use crate::Failure;
use crate::edits::EditArgs;
use crate::graph::{GraphArgs, TopArgs};
use crate::observable::RequiredObservable;
use crate::options::{CorruptedArgs, ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    corrupted: CorruptedArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// What ranks the edges: first_order, integrated, integrated_activations, relp, or exact (patches of all edges)
    #[arg(long, value_name = "NAME", default_value = "integrated")]
    score: EdgeScore,
    /// Runs between the prompts, of the score `integrated`; of `integrated_activations` for each MLP and each block's
    /// heads
    #[arg(long, value_name = "N", default_value_t = CircuitOptions::default().steps)]
    steps: usize,
    /// How edges are chosen: the largest scores (top), or only edges with a path to the logits (greedy)
    #[arg(long, value_name = "HOW", default_value = "top")]
    selection: Selection,
    /// Remove edges one by one, as long as |1 - faithfulness| grows by less than X for each (ACDC); each edge takes a
    /// run of every ranking prompt
    #[arg(long, value_name = "X")]
    prune: Option<f64>,
    /// What the other edges carry: the corrupted prompt's outputs (corrupted), zero, mean outputs (mean), or the
    /// outputs of other clean prompts of the file (resample)
    #[arg(long, value_name = "WHAT", default_value = "corrupted")]
    ablation: Ablation,
    /// Other prompts for each prompt, of the ablation `resample`
    #[arg(long, value_name = "N", default_value_t = CircuitOptions::default().resamples)]
    resamples: usize,
    /// Shares of all edges that are included, ascending, with commas
    #[arg(long, value_name = "SHARES", value_delimiter = ',')]
    shares: Vec<f64>,
    /// Sizes of mean scores, descending, with commas, instead of shares: each circuit includes the edges whose score is
    /// as large or larger
    #[arg(long, value_name = "SCORES", value_delimiter = ',', conflicts_with_all = ["shares", "prune"])]
    threshold: Vec<f64>,
    /// Random circuits of each size to compare with
    #[arg(long, value_name = "N", default_value_t = CircuitOptions::default().random)]
    controls: usize,
    /// Seed of the random circuits, and of the choice of other prompts
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Rank the edges on the first N prompts of the file, and measure on the others
    #[arg(long, value_name = "N", default_value_t = 0, requires = "prompts")]
    ranked_on: usize,
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
    let model = args.model.open()?;
    let shares = match args.shares.is_empty() && args.threshold.is_empty() {
        true => CircuitOptions::default().shares,
        false => args.shares.clone(),
    };
    let options = CircuitOptions {
        score: args.score,
        steps: args.steps,
        selection: args.selection,
        prune: args.prune,
        ablation: args.ablation,
        resamples: args.resamples,
        shares,
        thresholds: args.threshold.clone(),
        random: args.controls,
        seed: args.seed,
        ranked_on: args.ranked_on,
    };
    let result = match args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        Some(cases) => {
            let result = cases.together(|model, cases, progress| circuit(model, cases, &options, progress))?;
            cases.counted(result)?
        }
        None => {
            let (observable, [clean, corrupted]) = args.corrupted.with(&model, &args.prompt, &args.observable)?;
            let (name, observable) = ("prompt".to_owned(), Some(observable));
            let (edits, roles) = (args.edits.of(&model, clean.len())?, BTreeMap::new());
            let case = PromptCase { name, clean, corrupted: Some(corrupted), observable, roles, edits };
            let mut steps = Steps::new("passes", 0);
            circuit(&model, &[case], &options, &mut |done, all| steps.show(done, all))?
        }
    };
    args.graph.write(&result)?;
    output.finish(&result, || {
        let prompts = result.fact("prompts");
        let (score, ablation) = (args.score.name(), args.ablation);
        let ablation = if ablation == Ablation::Resample { "resampled" } else { ablation.name() };
        let title = format!("circuits of edges ranked by {score}; all others {ablation}; mean over prompts: {prompts}");
        let edges = strongest_edges("edges with the largest mean scores", &result, args.top.listed());
        let edges = edges.filter(|_| args.top.listed() > 0);
        let tables = [circuit_sizes(&title, &result), edges].into_iter().flatten();
        let tables: String = tables.map(|table| format!("{}\n", table.text())).collect();
        let pruned =
            result.metadata.get("pruned_to").map_or_else(String::new, |n| format!("{n} edges remain of pruning\n"));
        format!("{tables}{pruned}{}", checks(&result))
    })
}
