//! `resolvent study` and `resolvent demo`: every analysis on a set of prompts, and one page.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use resolvent::field::study::{LeftOut, Null, Statement, StepProgress, StepShare, Study, StudyOptions, Verdict};
use resolvent::field::{Part, distinct};
use resolvent::model::Model;
use resolvent_report::terminal::visible;
use resolvent_report::{Studied, study_page};

use crate::Failure;
use crate::options::{DeviceArgs, ModelArgs, model};
use crate::progress::{add, style};
use crate::prompts::prompt_set;
use crate::steps::{first_look, in_words};
use crate::terminal::{print, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// File of study prompts; without one, those that ship with the embedded models
    #[arg(value_name = "PROMPTS")]
    prompts: Option<PathBuf>,
    /// Task of the prompt file; may be given several times, without it all are studied
    #[arg(long, value_name = "NAME")]
    task: Vec<String>,
    /// The most prompt pairs that an analysis takes of a task
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
    /// Skips the nulls (random weights, permuted weights, shuffled pairs), and takes a quarter of the time
    #[arg(long)]
    no_nulls: bool,
    /// Folder of the results and the page; the same command goes on where it was interrupted
    #[arg(short, long, value_name = "DIR", default_value = "study")]
    out: PathBuf,
    /// Compute part I of N of the steps, from 0, and write no page; without it, the steps that are missing and the page
    #[arg(long, value_name = "I/N")]
    shard: Option<Part>,
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
    let small = distinct(args.small.iter())
        .into_iter()
        .map(|name| model(&device, name))
        .collect::<Result<Vec<Model>, Failure>>()?;
    let options = StudyOptions { tasks: args.task.clone(), prompts: args.limit, quick: args.quick, seed: args.seed };
    let nulls = if args.no_nulls { &[][..] } else { &Null::ALL };
    let study = Study::new(&large, &small, &set, options)?;
    match args.shard {
        Some(part) => run_part(&study, nulls, (part, &args.out)),
        None => run(&study, nulls, &args.out),
    }
}

/// Tasks of the demonstration, and the largest number of pairs that an analysis takes of a task.
const DEMO: ([&str; 3], usize) = (["capitals", "ioi", "agreement"], 8);

pub(crate) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let set = prompt_set(None)?;
    let name = resolvent::model::DEFAULT_MODEL;
    say(format_args!("1. Open a device and the embedded model {name}, and patch one prompt into another."));
    let device = args.device.open()?;
    let large = model(&device, name)?;
    first_look(&large)?;
    let (tasks, pairs) = (DEMO.0.len(), DEMO.1);
    say(format_args!(
        "2. The same and ten more analyses, on up to {pairs} pairs of prompts of {tasks} tasks; results go to {}.",
        args.out.display()
    ));
    let smaller = family().filter(|name| *name != resolvent::model::DEFAULT_MODEL);
    let small = smaller.map(|name| model(&device, name)).collect::<Result<Vec<Model>, Failure>>()?;
    let tasks = DEMO.0.map(str::to_owned).to_vec();
    let options = StudyOptions { tasks, prompts: DEMO.1, quick: true, seed: 0 };
    run(&Study::new(&large, &small, &set, options)?, &[], &args.out)
}

#[cfg(feature = "atlas")]
fn family() -> impl Iterator<Item = &'static str> {
    resolvent::model::embedded_models()
}

#[cfg(not(feature = "atlas"))]
fn family() -> impl Iterator<Item = &'static str> {
    std::iter::empty()
}

fn bar() -> ProgressBar {
    add(ProgressBar::new(0).with_style(style("{bar:16} {pos}/{len}{left} {wide_msg}")))
}

/// Shows the step that is about to run.
fn show(bar: &ProgressBar, progress: StepProgress<'_>) {
    let null = progress.null.map_or_else(String::new, |null| format!("null of {}: ", null.words()));
    let words = null + &in_words(progress.name);
    if bar.is_hidden() {
        say(format_args!("   {:>2}/{}  {words}", progress.done + 1, progress.of));
    }
    bar.set_length(progress.of as u64);
    bar.set_position(progress.done as u64);
    bar.set_message(visible(&words).into_owned());
}

/// Runs the steps of one process of several.
fn run_part(study: &Study<'_>, nulls: &[Null], (part, folder): (Part, &Path)) -> Result<(), Failure> {
    let bar = bar();
    let share = study.run_part(nulls, (part, folder), &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let StepShare { all, own, found } = share?;
    let computed = own - found;
    print(&format!(
        "{own} of {all} steps: {computed} computed, {found} were there\n\
         the same command without --shard writes {} when all are there",
        visible(&folder.join("index.html").display().to_string())
    ))
}

/// Runs the steps that have no result yet, writes the page, and prints the statements.
fn run(study: &Study<'_>, nulls: &[Null], folder: &Path) -> Result<(), Failure> {
    let bar = bar();
    let found = study.run_with(nulls, folder, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let found = found?;
    let page = folder.join("index.html");
    let command = std::env::args().skip(1).fold("resolvent".to_owned(), |all, arg| format!("{all} {arg}"));
    study_page(&Studied::new(study, &command), &found).write(&page)?;
    let left_out = &found.left_out;
    let mut text = String::new();
    for statement in found.statements() {
        line(&mut text, &statement);
    }
    text.push_str(&listed(left_out));
    let _infallible = write!(text, "\n{}", visible(&page.display().to_string()));
    print(&text)?;
    match left_out.iter().filter(|l| l.failed).count() {
        0 => Ok(()),
        1 => Err(format!("1 part of the study failed and was left out; {} names it", page.display()).into()),
        n => Err(format!("{n} parts of the study failed and were left out; {} names them", page.display()).into()),
    }
}

/// Largest number of left-out parts that the terminal lists.
const LISTED: usize = 12;

/// Formats the number of left-out parts, and one line for each of them, failures first.
fn listed(left_out: &[LeftOut]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let mut order: Vec<&LeftOut> = left_out.iter().collect();
    order.sort_by_key(|l| !l.failed);
    let failed = left_out.iter().filter(|l| l.failed).count();
    let mut text = format!("\nleft out: {} (failed: {failed})\n", left_out.len());
    for l in order.iter().take(LISTED) {
        let _infallible = writeln!(text, "  {}{}", if l.failed { "failed: " } else { "" }, visible(&l.to_string()));
    }
    if order.len() > LISTED {
        let _infallible = writeln!(text, "  and {} more, which the page names", order.len() - LISTED);
    }
    text
}

fn line(text: &mut String, s: &Statement) {
    let verdict = match s.verdict {
        Verdict::Few => format!("{} ({})", s.verdict.name(), s.prompts),
        _ => s.verdict.name().to_owned(),
    };
    let n = if s.figure.estimate.is_nan() { String::new() } else { format!(", n {}", s.prompts) };
    let figure = format!("{}{n}", s.figure);
    let _infallible = writeln!(text, "{verdict:<20} {:<30} {figure:<30} {}", s.name, s.measure);
    for null in &s.nulls {
        let beyond = match null.exceeded {
            Some(true) => "beyond",
            Some(false) => "not beyond",
            None => "undecided",
        };
        let _infallible = writeln!(text, "  {beyond:<18} {:<30} {}", null.null.words(), null.figure);
    }
}
