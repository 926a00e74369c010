//! `resolvent scale`: whether a small model's responses predict those of a large one.

use std::fmt::Write as _;
use std::path::PathBuf;

use resolvent::Labelled;
use resolvent::field::{
    OperatorOptions, OperatorPairs, PREDICTORS, QUANTITIES, RESPONSE_PREDICTORS, ScaleOptions, answers, distinct,
    operator_pairs, pairs_of_both, scale_operators,
};

use crate::Failure;
use crate::options::{DeviceArgs, model, token};
use crate::output::{OutputArgs, checks};
use crate::prompts::prompt_set;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model whose responses predict: a name or a directory
    #[arg(value_name = "MODEL_A")]
    small: String,
    /// The model whose responses are predicted; with the same tokenizer, unless `--operators` is given
    #[arg(value_name = "MODEL_B")]
    large: String,
    /// File of study prompts; without one, those that ship with the embedded models
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Task of the prompt file; may be given several times, without it all are used
    #[arg(long, value_name = "NAME")]
    task: Vec<String>,
    /// Prompts of each task; half of them fit the map, half are predicted, unless `--fit-on` is given
    #[arg(long, value_name = "N", default_value_t = 16)]
    limit: usize,
    /// Tokens of the shared slice, by text or #id; without any, the answers of the prompts
    #[arg(long, value_name = "TOKEN")]
    token: Vec<String>,
    /// Compare Green operators: responses of the large model, predicted by those of the small one through maps between
    /// their fields
    #[arg(long)]
    operators: bool,
    /// Task whose prompts fit the maps of `--operators`, so that the prompts of other tasks are predicted; may be given
    /// several times
    #[arg(long, value_name = "NAME", requires = "operators")]
    fit_on: Vec<String>,
    /// Levels of the large model for `--operators`, with commas between them; without any, a quarter, half and three
    /// quarters of its depth
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', requires = "operators")]
    levels: Vec<usize>,
    /// Seed of the random model and of the intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = if args.operators { args.output.without_plot()? } else { args.output.prepare()? };
    let set = prompt_set(args.prompts.as_deref())?;
    let device = args.device.open()?;
    let (small, large) = (model(&device, &args.small)?, model(&device, &args.large)?);
    if args.operators {
        let OperatorPairs { pairs, train } =
            operator_pairs(&set, [&args.fit_on, &args.task], args.limit, [&small, &large])?;
        let options = OperatorOptions { train, levels: distinct(args.levels.iter().copied()), seed: args.seed };
        let result = scale_operators(&small, &large, &pairs, &options)?;
        return output.finish(&result, || format!("{}{}{}", responses(&result), compared(&result), checks(&result)));
    }
    let prompts = pairs_of_both(&set, &args.task, args.limit, [&small, &large])?;
    let given = args.token.iter().map(|t| token(&small, t)).collect::<Result<Vec<u32>, Failure>>()?;
    let mut tokens = distinct(given);
    if tokens.is_empty() {
        tokens = answers(&prompts);
    }
    let options = ScaleOptions { train: prompts.len() / 2, tokens, seed: args.seed };
    let result = resolvent::scale(&small, &large, &prompts, &options)?;
    output.finish(&result, || format!("{}{}", table(&result), checks(&result)))
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
            // Fewer than eight held-out prompts have no interval.
            let cell = match low.is_nan() {
                true => format!("{r:.3} {:.0} %", 100.0 * share),
                false => format!("{r:.3} ({low:.3}..{high:.3}) {:.0} %", 100.0 * share),
            };
            let _infallible = write!(text, "  {cell:<28}");
        }
        text.push('\n');
    }
    text
}

/// Says how many tokens are compared, if these are not all.
fn compared(result: &Labelled) -> String {
    let of = |name: &str| result.fact(name);
    let (aligned, all, train, held_out) = (of("aligned"), of("tokens_of_large"), of("train"), of("held_out"));
    if aligned == all {
        return String::new();
    }
    format!(
        "{aligned} of {all} tokens are compared: both models have tokens that end there; {train} pairs of prompts fit \
         the maps, {held_out} are predicted\n"
    )
}

/// Formats the errors of predicted responses, one row for each level.
fn responses(result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let mut text = String::from(
        "responses of the large model on held-out prompts: relative error (95 %) and cosine of what predicts them\n",
    );
    let _infallible = write!(text, "{:<8}", "level");
    for predictor in RESPONSE_PREDICTORS {
        let _infallible = write!(text, "  {predictor:<26}");
    }
    text.push('\n');
    let width = RESPONSE_PREDICTORS.len();
    for (row, level) in of("levels").iter().enumerate() {
        let _infallible = write!(text, "{:<8}", format!("h{level}"));
        for i in row * width..(row + 1) * width {
            let [error, low, high, cosine] = ["error", "error_low", "error_high", "cosine"].map(|name| of(name)[i]);
            let cell = match low.is_nan() {
                true => format!("{error:.2}, {cosine:.2}"),
                false => format!("{error:.2} ({low:.2}..{high:.2}), {cosine:.2}"),
            };
            let _infallible = write!(text, "  {cell:<26}");
        }
        text.push('\n');
    }
    text
}
