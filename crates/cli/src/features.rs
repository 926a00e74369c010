//! `resolvent features`: the features of a sparse autoencoder or transcoder as nodes.

use std::path::PathBuf;

use resolvent::Labelled;
use resolvent::field::{Array, Dictionary, FeatureOptions, Prompts, features, features_of_prompts};
use resolvent::model::RunOptions;
use resolvent_report::strongest_features;

use crate::Failure;
use crate::observable::RequiredObservable;
use crate::options::{ModelArgs, PromptArgs, tokens};
use crate::output::{OutputArgs, checks, labels};
use crate::prompts::{Outcome, from_end};
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Folder with cfg.json and sae_weights.safetensors, as SAELens writes it
    #[arg(long, value_name = "FOLDER")]
    dictionary: PathBuf,
    /// Move the features of this prompt, of as many tokens, to those of the first one; without it, to zero
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["corrupted_tokens", "prompts"])]
    corrupted: Option<String>,
    /// The same prompt as token ids
    #[arg(long, value_name = "IDS", allow_hyphen_values = true, conflicts_with = "prompts")]
    corrupted_tokens: Option<String>,
    /// Features in the result: those with the largest first-order effects
    #[arg(long, value_name = "N", default_value_t = FeatureOptions::default().top)]
    top: usize,
    /// Move these features, and the error of the dictionary, exactly too
    #[arg(long)]
    exact: bool,
    /// Other prompts of the file whose movements of the features are a control of each effect
    #[arg(long, value_name = "N", default_value_t = 0, requires = "prompts", conflicts_with_all = ["prompt", "tokens"])]
    controls: usize,
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
    let model = args.model.open()?;
    let dictionary = Dictionary::open(&args.dictionary)?;
    let sites = dictionary.sites(model.sizes())?.concat();
    let options = FeatureOptions { top: args.top, exact: args.exact, controls: args.controls };
    if let Some(cases) = args.prompt.set.cases(&model, Some(&args.observable), output.stream())? {
        let result = cases
            .together(|model, cases, progress| features_of_prompts(model, cases, &dictionary, options, progress))?;
        args.write_directions(&dictionary, result.array("features.mean"))?;
        return cases.finish(output, Outcome::Whole(result), &[], &|result| {
            let title =
                format!("features moved to {}; mean over prompts", moved_to(result, "each row's clean prompt's"));
            let averaged = Prompts::averaged(result);
            let tokens = averaged.array("first_order_by_token").and_then(|array| array.axes.last());
            table(&title, &averaged, &from_end(tokens.map_or(0, |axis| axis.1)))
        });
    }
    let prompt = args.prompt.tokens(&model)?;
    let (observable, prompt) = args.observable.of(&model, &prompt)?;
    let mut prompts = vec![prompt];
    if args.corrupted.is_some() || args.corrupted_tokens.is_some() {
        let corrupted = tokens(&model, args.corrupted.as_deref(), args.corrupted_tokens.as_deref())?;
        prompts.insert(0, observable.extend(&corrupted));
    }
    let runs = model.run_all(&prompts, &RunOptions { sites, ..RunOptions::default() })?;
    let result = features(&runs[0], runs.get(1), &dictionary, &observable, options)?;
    args.write_directions(&dictionary, result.array("features"))?;
    output.naming(&runs[0], Some(&args.observable)).finish(&result, || {
        let value = result.array("value").map_or(f32::NAN, |a| a.data[0]);
        let moved = moved_to(&result, "the first prompt's");
        let title = format!("features moved to {moved}; J = {} = {value:.4}", args.observable.title());
        format!("{}{}", table(&title, &result, &labels(&runs[0])), checks(&result))
    })
}

impl Args {
    /// Writes the rows of the decoder of these features, if asked for.
    fn write_directions(&self, dictionary: &Dictionary, features: Option<&Array>) -> Result<(), Failure> {
        let Some(path) = &self.directions else { return Ok(()) };
        let ids: Vec<usize> = features.map_or(&[][..], |array| &array.data).iter().map(|&f| f as usize).collect();
        if ids.is_empty() {
            say(format_args!("no feature moves, so {} is not written", path.display()));
            return Ok(());
        }
        dictionary.basis(&ids)?.write(path)?;
        say(format_args!("wrote {}", path.display()));
        Ok(())
    }
}

/// Returns in words where features move to: those of `target`, or zero.
fn moved_to<'a>(result: &Labelled, target: &'a str) -> &'a str {
    if result.says("moved_to", "target") { target } else { "zero" }
}

fn table(title: &str, result: &Labelled, labels: &[String]) -> String {
    strongest_features(title, result, labels).map_or_else(String::new, |table| format!("{}\n", table.text()))
}
