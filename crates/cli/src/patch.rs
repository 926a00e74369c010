//! `resolvent patch`

use std::fmt::Write as _;

use resolvent::field::{SiteKind, patch_at};
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
    let sites = args.sites.iter().flat_map(|kind| kind.sites(model.config())).collect();
    let options = RunOptions { sites, ..RunOptions::default() };
    let (clean, corrupted) = (model.run_with(&clean, &options)?, model.run_with(&corrupted, &options)?);
    let result = patch_at(&clean, &corrupted, &observable, &args.sites)?;
    output.naming(&corrupted, Some(&args.observable)).finish(&result, || {
        let value = |name| result.array(name).map_or(f32::NAN, |a| a.data[0]);
        let (from, to) = (value("corrupted_value"), value("clean_value"));
        let title =
            format!("patch effect on J = {}: corrupted {from:.4}, clean {to:.4}", args.observable.title());
        let mut text = String::new();
        for kind in &args.sites {
            let [effect, first_order] = kind.arrays();
            let title =
                if *kind == SiteKind::Resid { title.clone() } else { format!("patch effect, {kind}") };
            text.push_str(&heatmap(&corrupted, &result, effect, &title));
            text.push('\n');
            text.push_str(&heatmap(&corrupted, &result, first_order, "first-order prediction"));
            let agreement = result.metadata.get(&format!("agreement.{kind}")).map_or("", String::as_str);
            let _infallible = writeln!(text, "{kind}: {agreement}");
        }
        format!("{text}{}", checks(&result))
    })
}
