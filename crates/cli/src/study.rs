//! `resolvent study` and `resolvent demo`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use resolvent::field::study::{Progress, Study, StudyOptions, Verdict, statements};
use resolvent::model::Model;

use crate::Failure;
use crate::options::{DeviceArgs, ModelArgs, model, prompt_set};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// File of study prompts; without one, those that ship with the embedded models
    #[arg(value_name = "PROMPTS")]
    prompts: Option<PathBuf>,
    /// Task of the prompt file; may be given several times, without it all are studied
    #[arg(long, value_name = "NAME")]
    task: Vec<String>,
    /// The most prompts that an analysis takes of a task
    #[arg(long, value_name = "N", default_value_t = 32)]
    limit: usize,
    /// A first look: fewer prompts, places and directions
    #[arg(long)]
    quick: bool,
    /// A smaller model with the same tokenizer, whose responses are tried as predictions; may be given several times
    #[arg(long, value_name = "MODEL")]
    small: Vec<String>,
    /// Seed of everything that is drawn at random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Folder of the results and the page; the same command goes on where it was interrupted
    #[arg(short, long, value_name = "DIR", default_value = "study")]
    out: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// Folder of the results and the page
    #[arg(short, long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let set = prompt_set(args.prompts.as_deref())?;
    let device = args.model.device.open()?;
    let large = model(&device, &args.model.model)?;
    let small =
        args.small.iter().map(|name| model(&device, name)).collect::<Result<Vec<Model>, Failure>>()?;
    let options =
        StudyOptions { tasks: args.task.clone(), prompts: args.limit, quick: args.quick, seed: args.seed };
    run(&Study::new(&large, &small, &set, options)?, &args.out)
}

pub(crate) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let set = prompt_set(None)?;
    let device = args.device.open()?;
    let large = model(&device, resolvent::model::DEFAULT_MODEL)?;
    let small: Vec<Model> = Vec::new();
    let tasks = ["capitals", "ioi", "agreement"].map(str::to_owned).to_vec();
    let options = StudyOptions { tasks, prompts: 8, quick: true, seed: 0 };
    run(&Study::new(&large, &small, &set, options)?, &args.out)
}

fn run(study: &Study<'_>, folder: &Path) -> Result<(), Failure> {
    let begun = std::time::Instant::now();
    let done = study.run(folder, &mut |p: Progress<'_>| {
        eprintln!(
            "{:.1} {} of {}: {}{}",
            begun.elapsed().as_secs_f64(),
            p.done + 1,
            p.of,
            p.name,
            if p.kept { " (kept)" } else { "" }
        );
    })?;
    let mut text = String::new();
    for s in statements(&done) {
        let f = s.figure;
        let _infallible = writeln!(
            text,
            "{:<30} {:<12} {:.3} ({:.3} to {:.3})  {}\n    {}",
            s.name,
            s.verdict.name(),
            f.estimate,
            f.low,
            f.high,
            s.measure,
            s.detail
        );
        let _ = Verdict::Holds;
    }
    print!("{text}");
    Ok(())
}
