//! `resolvent reduce`: effects of held-out patches through few directions of one level.

use std::fmt::Write as _;

use resolvent::Labelled;
use resolvent::field::{ReduceOptions, Sensitivities, compared_rank, dimensions, reduce};
use resolvent_report::reduction_errors;

use crate::Failure;
use crate::observable::ObservableArgs;
use crate::options::{ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Level at which effects are reduced; the middle one by default
    #[arg(long, value_name = "L")]
    level: Option<usize>,
    /// Take the directions from the first N prompts, and measure on the others; half of them by default
    #[arg(long, value_name = "N")]
    train: Option<usize>,
    /// Numbers of directions, ascending, with commas; those above the width of the field are left out
    #[arg(long, value_name = "RANKS", value_delimiter = ',')]
    ranks: Vec<usize>,
    /// Sensitivities that predict effects: of the corrupted run (first_order, relp), or the mean over runs with level L
    /// between the prompts (averaged)
    #[arg(long, value_name = "NAME", default_value = "averaged")]
    sensitivities: Sensitivities,
    /// Runs between the prompts, of `averaged`
    #[arg(long, value_name = "N", default_value_t = ReduceOptions::default().steps)]
    steps: usize,
    /// Seed of random directions, shuffled pairs and intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
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
    let options = ReduceOptions {
        level: args.level,
        train: args.train,
        ranks: if args.ranks.is_empty() { ReduceOptions::default().ranks } else { args.ranks.clone() },
        sensitivities: args.sensitivities,
        steps: args.steps,
        seed: args.seed,
    };
    let cases = args.prompt.set.cases(&model, Some(&args.observable), output.stream())?;
    let cases = cases.ok_or("directions come from pairs of prompts of one task; write --prompts FILE --task NAME")?;
    let result = cases.together(|model, cases, progress| reduce(model, cases, &options, progress))?;
    let result = cases.counted(result)?;
    output.finish(&result, || {
        let level = result.fact("level");
        let title = format!("relative error of the actual effects of held-out patches, k directions at level {level}");
        let table = reduction_errors(&title, &result).map_or_else(String::new, |table| format!("{}\n", table.text()));
        format!("{table}{}{}", summary(&result), checks(&result))
    })
}

/// Lists what the table leaves out: the floor, numbers of prompts and tokens, and the intrinsic dimension.
fn summary(result: &Labelled) -> String {
    let data = |name: &str| result.array(name).map_or(&[][..], |array| &array.data);
    let first = |name: &str| data(name).first().copied().unwrap_or(f32::NAN);
    let fact = |name: &str| result.fact(name);
    let (ranks, last) = (data("ranks"), data("ranks").len().saturating_sub(1));
    let mut text = format!(
        "all directions {:.3}; trained on {} prompts, measured on {}; J(clean) > J(corrupted) in {}\n",
        first("floor"),
        first("trained_on"),
        first("measured_on"),
        fact("answered"),
    );
    if let [one, by_role] = &dimensions(result)[..] {
        let _infallible = writeln!(
            text,
            "directions within 0.05 of that: {one} in one basis, {by_role} for each role ({})",
            fact("roles")
        );
    }
    if let [one, by_role] = data("power") {
        let _infallible =
            writeln!(text, "tokens weigh |<chi, x>|^p in balanced: p = {one} in one basis, {by_role} for each role");
    }
    // The rank in the middle of the list shows the most.
    let shown = compared_rank(ranks).unwrap_or(last);
    for (title, axis, array) in
        [("training prompts", "learning_prompts", "learning"), ("tokens", "counts", "by_tokens")]
    {
        let rows = data(axis).iter().zip(data(array).chunks(ranks.len().max(1)));
        let each: Vec<String> =
            rows.map(|(n, errors)| format!("{:.3} with {n}", errors.get(shown).copied().unwrap_or(f32::NAN))).collect();
        let k = ranks.get(shown).copied().unwrap_or(f32::NAN);
        let _infallible = writeln!(text, "balanced by role, k = {k}, by {title}: {}", each.join(", "));
    }
    text
}
