//! `resolvent scale`: whether a small model's responses predict those of a large one.

use std::fmt::Write as _;
use std::path::PathBuf;

use resolvent::Labelled;
use resolvent::field::{PREDICTORS, QUANTITIES, ScaleOptions, distinct};
use resolvent::model::{Model, PromptRow, PromptSet, TokenPair};

use crate::Failure;
use crate::options::{DeviceArgs, model, prompt_set, token};
use crate::output::{OutputArgs, checks};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model whose responses predict: a name or a directory
    #[arg(value_name = "MODEL_A")]
    small: String,
    /// The model whose responses are predicted, with the same tokenizer
    #[arg(value_name = "MODEL_B")]
    large: String,
    /// File of study prompts; without one, those that ship with the embedded models
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Task of the prompt file; may be given several times, without it all are used
    #[arg(long, value_name = "NAME")]
    task: Vec<String>,
    /// Prompts of each task; half of them fit the map, half are predicted
    #[arg(long, value_name = "N", default_value_t = 16)]
    limit: usize,
    /// Tokens of the shared slice, by text or #id; without any, the answers of the prompts
    #[arg(long, value_name = "TOKEN")]
    token: Vec<String>,
    /// Seed of the random model and of the intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Largest number of tokens in the shared slice, unless `--token` lists them.
const SLICE: usize = 8;

/// Least number of pairs of prompts: two to fit the map, and two to predict.
const LEAST: usize = 4;

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let set = prompt_set(args.prompts.as_deref())?;
    let device = args.device.open()?;
    let (small, large) = (model(&device, &args.small)?, model(&device, &args.large)?);
    let prompts = args.pairs(&set, &small, &large)?;
    let given = args.token.iter().map(|t| token(&small, t)).collect::<Result<Vec<u32>, Failure>>()?;
    let mut tokens = distinct(given);
    if tokens.is_empty() {
        tokens = prompts.iter().flat_map(|pair| pair.observable.entries()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        // Every n-th answer, so that the tokens are spread over all tasks.
        let step = tokens.len().div_ceil(SLICE).max(1);
        tokens = tokens.into_iter().step_by(step).collect();
    }
    let options = ScaleOptions { train: prompts.len() / 2, tokens, seed: args.seed };
    let result = resolvent::scale(&small, &large, &prompts, &options)?;
    output.finish(&result, || format!("{}{}", table(&result), checks(&result)))
}

impl Args {
    /// Returns the pairs that have the same tokens in both models.
    ///
    /// Tasks alternate, so that each task has pairs both for the fit of the map and to predict.
    fn pairs(&self, set: &PromptSet, small: &Model, large: &Model) -> Result<Vec<TokenPair>, Failure> {
        let names: Vec<&String> = match self.task.is_empty() {
            true => set.tasks.keys().collect(),
            false => distinct(&self.task),
        };
        let (mut by_task, mut fits) = (Vec::new(), Fits::default());
        for name in names {
            let mut pairs = Vec::new();
            for pair in &set.task(name)?.prompts {
                let (a, b) = (fitting(pair, small)?, fitting(pair, large)?);
                fits.all += 1;
                fits.small += usize::from(a.is_some());
                fits.large += usize::from(b.is_some());
                if let (Some(a), Some(b)) = (a, b)
                    && a == b
                {
                    fits.both += 1;
                    pairs.push(a);
                }
            }
            pairs.truncate(self.limit);
            by_task.push(pairs);
        }
        let used = by_task.iter().map(Vec::len).sum();
        if used < LEAST {
            return Err(fits.too_few(used, self.limit, [small.name(), large.name()]).into());
        }
        let most = by_task.iter().map(Vec::len).max().unwrap_or(0);
        let nth_of_each = |i: usize| by_task.iter().filter_map(move |pairs| pairs.get(i).cloned());
        Ok((0..most).flat_map(nth_of_each).collect())
    }
}

/// Numbers of pairs of prompts: all, and those that fit the small model, the large one, or both with the same tokens.
#[derive(Default)]
struct Fits {
    all: usize,
    small: usize,
    large: usize,
    both: usize,
}

impl Fits {
    /// Explains why there are only `used` pairs.
    fn too_few(&self, used: usize, limit: usize, [small, large]: [&str; 2]) -> String {
        let Self { all, small: in_small, large: in_large, both } = self;
        if *both >= LEAST {
            return format!("--limit {limit} leaves {used} pairs of prompts; at least {LEAST} are needed: raise it");
        }
        format!(
            "of {all} pairs of prompts {in_small} fit {small} and {in_large} fit {large}, and {both} are the same tokens in \
             both; at least {LEAST} are needed: compare models that share a tokenizer, or give --prompts that both read alike"
        )
    }
}

/// Returns a row as a pair of a model, or `None` if it does not fit the model.
fn fitting(row: &PromptRow, model: &Model) -> Result<Option<TokenPair>, Failure> {
    model.text_tokenizer()?.ok_or_else(|| {
        format!("{} has no tokenizer, and these prompts are text; use a model with one", model.name())
    })?;
    Ok(row.pair(model).ok())
}

/// Formats the correlations with their intervals, one row for each quantity.
fn table(result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let mut text =
        String::from("held-out correlation with the large model's responses (95 %), and variance explained\n");
    let _infallible = write!(text, "{:<12}", "");
    for predictor in PREDICTORS {
        let _infallible = write!(text, "  {predictor:<28}");
    }
    text.push('\n');
    for (q, quantity) in QUANTITIES.iter().enumerate() {
        let _infallible = write!(text, "{quantity:<12}");
        for p in 0..PREDICTORS.len() {
            let i = q * PREDICTORS.len() + p;
            let [r, low, high, share] =
                ["correlation", "correlation_low", "correlation_high", "explained"].map(|name| of(name)[i]);
            let cell = format!("{r:.3} ({low:.3}..{high:.3}) {:.0} %", 100.0 * share);
            let _infallible = write!(text, "  {cell:<28}");
        }
        text.push('\n');
    }
    text
}
