//! `resolvent patch`

use resolvent::Labelled;
use resolvent::field::{Case, Predictor, PredictorOptions, SiteKind, distinct, patch_at};
use resolvent::model::RunOptions;

use crate::Failure;
use crate::options::{ModelArgs, ObservableArgs, PromptArgs, tokens};
use crate::output::{OutputArgs, checks, heatmap};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Corrupted prompt, of as many tokens
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "corrupted_tokens",
        conflicts_with = "corrupted_tokens"
    )]
    corrupted: Option<String>,
    /// Corrupted prompt as token ids
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    corrupted_tokens: Option<String>,
    /// Kinds of sites to patch, with commas: resid, mid, attn_out, mlp_out, and each head's q, k, v, z
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_value = "resid")]
    sites: Vec<SiteKind>,
    /// Predictors beside first order, with commas: curvature, hvp, integrated, relp
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    predictors: Vec<Predictor>,
    /// Runs between the prompts, of the predictor `integrated`
    #[arg(long, value_name = "N", default_value_t = PredictorOptions::default().steps)]
    steps: usize,
    /// Second order over first, above which the predictor `hvp` corrects a patch
    #[arg(long, value_name = "X", default_value_t = PredictorOptions::default().flag)]
    flag: f64,
    /// Interactions of the N patches of largest first-order effect, at sites of the first kind, by Hessian-vector products and
    /// by joint runs
    #[arg(long, value_name = "N")]
    interactions: Option<usize>,
    #[command(flatten)]
    observable: ObservableArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let clean = args.prompt.tokens(&model)?;
    let corrupted = tokens(&model, args.corrupted.as_deref(), args.corrupted_tokens.as_deref())?;
    if clean.len() != corrupted.len() {
        let (clean, corrupted) = (clean.len(), corrupted.len());
        return Err(format!(
            "the prompt has {clean} tokens and the corrupted one {corrupted}; patching pairs them"
        )
        .into());
    }
    let observable = args.observable.observable(&model, clean.len())?;
    let kinds = distinct(args.sites.iter().copied());
    let sites = kinds.iter().flat_map(|kind| kind.sites(model.config())).collect();
    let options = RunOptions { sites, ..RunOptions::default() };
    let (clean, corrupted) = (model.run_with(&clean, &options)?, model.run_with(&corrupted, &options)?);
    let mut result = patch_at(&clean, &corrupted, &observable, &kinds)?;
    if !args.predictors.is_empty() {
        let predictors = Predictor::beside_first_order(&args.predictors);
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &observable };
        let options = PredictorOptions { steps: args.steps, flag: args.flag };
        result = result.with_predictors(&case, &kinds, &predictors, options)?;
    }
    if let Some(count) = args.interactions {
        let case = Case { clean: &clean, corrupted: &corrupted, observable: &observable };
        result = result.with_interactions(&case, kinds[0], count)?;
    }
    output.naming(&corrupted, Some(&args.observable)).finish(&result, || {
        let value = |name| result.array(name).map_or(f32::NAN, |a| a.data[0]);
        let (from, to) = (value("corrupted_value"), value("clean_value"));
        let title =
            format!("patch effect on J = {}: corrupted {from:.4}, clean {to:.4}", args.observable.title());
        let mut text = String::new();
        for kind in &kinds {
            let [effect, first_order] = kind.arrays();
            let title =
                if *kind == SiteKind::Resid { title.clone() } else { format!("patch effect, {kind}") };
            // Heads have no map of their own: their numbers are in the result.
            for (array, title) in [(effect, title.as_str()), (first_order, "first-order prediction")] {
                let map = heatmap(&corrupted, &result, array, title);
                if !map.is_empty() {
                    text.push_str(&map);
                    text.push('\n');
                }
            }
        }
        text.push_str(&agreements(&result, &kinds));
        text.push_str(&pairs(&result));
        format!("{text}{}", checks(&result))
    })
}

/// How well each predictor does at each kind of site.
fn agreements(result: &Labelled, kinds: &[SiteKind]) -> String {
    let mut text = String::new();
    for kind in kinds {
        let first = [format!("agreement.{kind}")];
        let all = Predictor::ALL.map(|p| format!("agreement.{kind}.{p}"));
        let named = |key: &String| {
            let name = key.trim_start_matches("agreement.");
            result.metadata.get(key).map(|text| format!("{name:<22} {text}\n"))
        };
        let several: Vec<String> = all.iter().filter_map(named).collect();
        // With predictors the line of first order is among theirs.
        text.extend(if several.is_empty() { first.iter().filter_map(named).collect() } else { several });
    }
    text
}

/// The map of interactions, a row a source: by products, and by joint runs in brackets.
fn pairs(result: &Labelled) -> String {
    let (Some(map), Some(actual)) = (result.array("interaction"), result.array("interaction_actual")) else {
        return String::new();
    };
    let sites = result.metadata.get("interaction_sites").map_or("", String::as_str);
    let mut text = String::from("\ninteractions s_i^T H s_j (joint runs)\n");
    let n = map.axes[0].1;
    for ((row, actual), site) in map.data.chunks(n).zip(actual.data.chunks(n)).zip(sites.split(' ')) {
        text.push_str(&format!("{site:<28}"));
        for (x, a) in row.iter().zip(actual) {
            text.push_str(&format!(" {x:>8.3} ({a:>7.3})"));
        }
        text.push('\n');
    }
    if let Some(agreement) = result.metadata.get("agreement.interaction") {
        text.push_str(&format!("{:<28} {agreement}\n", "all pairs"));
    }
    text
}
