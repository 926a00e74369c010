//! `resolvent features`: the features of a sparse autoencoder or transcoder as nodes.

use std::path::PathBuf;

use resolvent::Labelled;
use resolvent::field::{Dictionary, FeatureOptions, features};
use resolvent::model::RunOptions;
use resolvent_report::strongest_features;

use crate::Failure;
use crate::observable::RequiredObservable;
use crate::options::{ModelArgs, PromptArgs, tokens};
use crate::output::{OutputArgs, checks, labels};
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Folder with cfg.json and sae_weights.safetensors, as SAELens writes it
    #[arg(long, value_name = "FOLDER")]
    dictionary: PathBuf,
    /// Move the features of this prompt, of as many tokens, to those of the first one; without it, to zero
    #[arg(long, value_name = "TEXT", conflicts_with = "corrupted_tokens")]
    corrupted: Option<String>,
    /// The same prompt as token ids
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    corrupted_tokens: Option<String>,
    /// Features in the result: those with the largest first-order effects
    #[arg(long, value_name = "N", default_value_t = FeatureOptions::default().top)]
    top: usize,
    /// Move these features, and the error of the dictionary, exactly too
    #[arg(long)]
    exact: bool,
    /// Write the rows of the decoder of these features to a .safetensors file, as a basis for `slice`
    #[arg(long, value_name = "FILE")]
    directions: Option<PathBuf>,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    args.directions.as_deref().map_or(Ok(()), Labelled::check_path)?;
    if args.prompt.set.is_given() {
        return Err("features take one prompt, or a pair; leave --prompts and --text out".into());
    }
    let model = args.model.open()?;
    let dictionary = Dictionary::open(&args.dictionary)?;
    let sites = dictionary.sites(model.sizes())?.concat();
    let prompt = args.prompt.tokens(&model)?;
    let (observable, prompt) = args.observable.of(&model, &prompt)?;
    let mut prompts = vec![prompt];
    if args.corrupted.is_some() || args.corrupted_tokens.is_some() {
        let corrupted = tokens(&model, args.corrupted.as_deref(), args.corrupted_tokens.as_deref())?;
        prompts.insert(0, observable.extend(&corrupted));
    }
    let runs = model.run_all(&prompts, &RunOptions { sites, ..RunOptions::default() })?;
    let options = FeatureOptions { top: args.top, exact: args.exact };
    let result = features(&runs[0], runs.get(1), &dictionary, &observable, options)?;
    if let Some(path) = &args.directions {
        let ids = result.array("features").map_or(&[][..], |array| &array.data);
        let ids: Vec<usize> = ids.iter().map(|&f| f as usize).collect();
        match ids.is_empty() {
            true => say(format_args!("no feature moves, so {} is not written", path.display())),
            false => {
                dictionary.basis(&ids)?.write(path)?;
                say(format_args!("wrote {}", path.display()));
            }
        }
    }
    output.naming(&runs[0], Some(&args.observable)).finish(&result, || {
        let value = result.array("value").map_or(f32::NAN, |a| a.data[0]);
        let moved = if runs.len() > 1 { "the first prompt's" } else { "zero" };
        let title = format!("features moved to {moved}; J = {} = {value:.4}", args.observable.title());
        let table = strongest_features(&title, &result, &labels(&runs[0]));
        format!("{}{}", table.map_or_else(String::new, |table| format!("{}\n", table.text())), checks(&result))
    })
}
