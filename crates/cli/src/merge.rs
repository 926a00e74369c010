//! `resolvent merge`: joins the shards of a folder into one result.

use std::path::{Path, PathBuf};

use resolvent::Labelled;
use resolvent::field::{Prompts, Shards};

use crate::Failure;
use crate::output::{OutputArgs, checks};
use crate::prompts::from_end;
use crate::terminal::counted;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder that --out-dir has filled
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let shards = Shards::open(&args.folder)?;
    let path = output.stream().map(Path::to_owned);
    let result = match &path {
        Some(path) => shards.merge_into(path)?,
        None => shards.merge()?,
    };
    let averaged = match path.as_ref().filter(|_| output.wants_arrays()) {
        Some(path) => Prompts::averaged(&Labelled::read(path)?),
        None => Prompts::averaged(&result),
    };
    let most = result.array("counts").map_or(0, |counts| counts.data.len());
    let labels = from_end(most);
    let text = || {
        let fact = |key: &str| result.fact(key);
        let (count, left_out) = (counted(fact("prompts")), Prompts::left_out_of(&result).len());
        let left_out = result.metadata.get("rows_left_out").cloned().unwrap_or_else(|| left_out.to_string());
        let shards = shards.work().shards();
        format!("{}: {count} in {shards} shards, {left_out} left out\n{}", fact("analysis"), checks(&result))
    };
    let output = output.of_prompts(&averaged, &labels);
    match &path {
        Some(path) => output.finish_streamed(path, &result, text),
        None => output.finish(&result, text),
    }
}
