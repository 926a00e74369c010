//! `resolvent subspace`: patches along a few directions of a site, and the parts of these that no reader sees.

use std::fmt::Write as _;

use resolvent::Labelled;
use resolvent::field::{Case, Subspace, SubspaceOptions, subspace, subspace_of_prompts};
use resolvent::model::{ReaderSet, RunOptions, Site, from_end};
use resolvent_report::subspace_parts;

use crate::Failure;
use crate::observable::RequiredObservable;
use crate::options::{CorruptedArgs, ModelArgs, PromptArgs};
use crate::output::{OutputArgs, checks, labels};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    corrupted: CorruptedArgs,
    /// Site that is patched: of the residual stream, such as `blocks.3.hook_resid_pre`, or `blocks.L.mlp.hook_post` or
    /// `blocks.L.attn.hook_z[H]`
    #[arg(long, value_name = "SITE")]
    site: Site,
    /// Token at which it is patched; negative numbers count from the end
    #[arg(long, value_name = "T", default_value_t = -1, allow_hyphen_values = true)]
    token: i64,
    /// Directions: best (the largest first-order effect), sensitivity, displacement, random[:SEED], or a .safetensors
    /// file with the array `source [width, k]`
    #[arg(long, value_name = "U", default_value = "best")]
    directions: String,
    /// Readers that count: next (queries, keys, values and MLP of the next block, or the unembedding) or all later ones
    #[arg(long, value_name = "WHICH", default_value = "next")]
    readers: ReaderSet,
    /// Random displacements, as long as what the patch moves, as a control
    #[arg(long, value_name = "N", default_value_t = SubspaceOptions::default().random)]
    controls: usize,
    /// Seed of the random displacements
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.without_plot()?;
    let model = args.model.open()?;
    let of = Subspace::parse(&args.directions)?;
    let options = SubspaceOptions { readers: args.readers, random: args.controls, seed: args.seed };
    if let Some(cases) = args.prompt.set.cases(&model, Some(&args.observable), output.stream())? {
        let at = (args.site, args.token);
        let result =
            cases.all(|model, cases, progress| subspace_of_prompts(model, cases, at, (&of, options), progress))?;
        return cases.finish(output, result, &[], &means);
    }
    let (observable, prompts) = args.corrupted.with(&model, &args.prompt, &args.observable)?;
    let runs = model.run_all(&prompts, &RunOptions { sites: vec![args.site], ..RunOptions::default() })?;
    let token = from_end("token position", args.token, prompts[1].len())?;
    let case = Case { clean: &runs[0], corrupted: &runs[1], observable: &observable };
    let result = subspace(&case, (args.site, token), &of, options)?;
    output.naming(&runs[1], Some(&args.observable)).finish(&result, || {
        let on = format!("J = {}", args.observable.title());
        let table = subspace_parts(&on, &result, &labels(&runs[1]));
        format!("{}{}", table.map_or_else(String::new, |table| format!("{}\n", table.text())), checks(&result))
    })
}

/// Lists means over prompts with their intervals.
fn means(result: &Labelled) -> String {
    const FIGURES: [(&str, &str); 9] = [
        ("whole_effect", "effect of the whole site"),
        ("effect", "effect along the directions"),
        ("row_effect", "along their row space parts alone"),
        ("kernel_effect", "along their kernel parts alone"),
        ("moved_row_effect", "row space part of what it moves"),
        ("moved_kernel_effect", "kernel part of what it moves"),
        ("random", "random, of its length"),
        ("moved_kernel", "share in the kernel"),
        ("gain", "gain of the readers"),
    ];
    let mut text = "means over prompts\n".to_owned();
    for (name, title) in FIGURES {
        let end = |end: &str| result.array(&format!("{name}.{end}")).map(|array| array.data[0]);
        let (Some(mean), Some(low), Some(high)) = (end("mean"), end("low"), end("high")) else { continue };
        let _infallible = write!(text, "{title:<34} {mean:>10.4}");
        if low.is_finite() {
            let _infallible = write!(text, " ({low:.4} to {high:.4})");
        }
        text.push('\n');
    }
    text
}
