//! The command-line tool `resolvent`. Each command has a file of its own; this file lists and starts them.

mod attribute;
mod average;
mod bench;
mod circuit;
mod compare;
mod completions;
mod devices;
mod doctor;
#[cfg(feature = "hub")]
mod download;
mod edges;
mod edits;
mod examples;
mod features;
mod flow;
mod forward;
mod generate;
mod graph;
mod green;
mod grid;
mod growth;
mod help;
mod identities;
mod interactions;
mod invert;
mod left_out;
mod lens;
mod locate;
mod man;
mod merge;
mod negative;
mod observable;
mod options;
mod output;
mod patch;
mod progress;
mod prompts;
mod quadratic;
mod reach;
mod reduce;
mod regime;
mod scale;
mod sensitivity;
mod several;
mod shards;
mod signals;
mod slice;
mod steps;
mod study;
mod subspace;
mod terminal;
mod transfer;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use resolvent::engine::closest;

/// The error of a command: one line that names the cause and the fix.
type Failure = Box<dyn std::error::Error>;

/// How sources propagate through a Transformer: fields, sensitivities, patches and Green functions, on any GPU or none.
#[derive(Parser)]
#[command(name = "resolvent", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a prompt: the field, the logits and the most likely next tokens
    Run(forward::Args),
    /// Continue a prompt: the most likely tokens, or samples
    Generate(generate::Args),
    /// dJ/dh at every level and token, for any observable J
    Sensitivity(sensitivity::Args),
    /// Put every h[l,t] of a prompt into a corrupted prompt, one by one
    Patch(patch::Args),
    /// What the head would answer at every level: the logit lens
    Lens(lens::Args),
    /// The Green operator to the last level, averaged: the Jacobian lens
    Average(average::Args),
    /// What embedding, heads, MLPs and neurons add to J directly
    Attribute(attribute::Args),
    /// What the features of a sparse autoencoder or transcoder add
    Features(features::Args),
    /// A patch along a few directions, and their part that no reader sees
    Subspace(subspace::Args),
    /// How much of an effect passes along each edge between heads and MLPs
    Edges(edges::Args),
    /// How much of J remains if only some edges carry the clean prompt
    Circuit(circuit::Args),
    /// The response field of one source
    Green(green::Args),
    /// How strongly sources act at each depth and distance in tokens
    Reach(reach::Args),
    /// How much blocks amplify sources, beside their eigenvalues
    Growth(growth::Args),
    /// By which places the effect of a source reaches J
    Flow(flow::Args),
    /// Identities of the derivatives, from symmetries of the model
    Identities(identities::Args),
    /// Blocks of the Green operator between two bases; singular values
    Slice(slice::Args),
    /// Effects of held-out patches through few directions of one level
    Reduce(reduce::Args),
    /// How far from a run the first-order response holds
    Regime(regime::Args),
    /// J to second order in a few directions of a place, and how far both orders hold
    Quadratic(quadratic::Args),
    /// Find sources that change the observable as asked
    Invert(invert::Args),
    /// Infer the place and direction of an unknown source
    Locate(locate::Args),
    /// How much of a donor prompt's answer comes along with its h[l,t]
    Transfer(transfer::Args),
    /// Whether a small model's responses predict a large one's
    Scale(scale::Args),
    /// Join the shards of a folder into one result
    Merge(merge::Args),
    /// Mean, interval and quantiles over the prompts of a result, at each place
    Summary(compare::SummaryArgs),
    /// Where two sets of results differ, paired by prompt, with corrected p values
    Compare(compare::Args),
    /// One command for all combinations of models and other options
    Grid(grid::Args),
    /// All analyses of one model and a set of prompts, and one HTML page
    Study(study::Args),
    /// All analyses of the embedded model, on a few prompts, and one HTML page
    Demo(study::DemoArgs),
    /// Describe this machine for bug reports, and say what to do
    Doctor(doctor::Args),
    /// List the adapters of this machine and test them
    Devices(devices::Args),
    /// Time kernels and whole passes on a device
    Bench(bench::Args),
    /// Print a script that completes commands and options in a shell
    Completions(completions::Args),
    /// Print a man page, or write all of them
    Man(man::Args),
}

fn main() -> ExitCode {
    signals::file_size_is_an_error();
    let program = help::complete(Cli::command(), terminal::width());
    let words = negative::joined(std::env::args_os());
    let parsed = program.clone().try_get_matches_from(&words);
    let matches = parsed.unwrap_or_else(|error| suggested(error, &program).exit());
    shards::remember(&program, &matches, words.into_iter().skip(1).collect(), false);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    resolvent_report::terminal::start_log();
    let done = progress::watched(|| run(cli.command, program));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::say(format_args!("error: {}", one_line(&failure.to_string())));
            ExitCode::FAILURE
        }
    }
}

/// Adds the command that was probably meant to the error of an unknown one. The parser does not see swapped letters.
fn suggested(mut error: clap::Error, program: &clap::Command) -> clap::Error {
    let typed = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(typed)) if error.kind() == ErrorKind::InvalidSubcommand => typed.clone(),
        _ => return error,
    };
    if error.get(ContextKind::SuggestedSubcommand).is_none()
        && let Some(meant) = closest(&typed, program.get_subcommands().map(clap::Command::get_name))
    {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![meant.to_owned()]));
    }
    error
}

/// Runs a command. Without one, shows the first commands to try.
fn run(command: Option<Command>, program: clap::Command) -> Result<(), Failure> {
    let Some(command) = command else { return terminal::print(help::FIRST) };
    match command {
        Command::Run(args) => forward::main(&args),
        Command::Generate(args) => generate::main(&args),
        Command::Sensitivity(args) => sensitivity::main(&args),
        Command::Patch(args) => patch::main(&args),
        Command::Lens(args) => lens::main(&args),
        Command::Average(args) => average::main(&args),
        Command::Attribute(args) => attribute::main(&args),
        Command::Features(args) => features::main(&args),
        Command::Subspace(args) => subspace::main(&args),
        Command::Edges(args) => edges::main(&args),
        Command::Circuit(args) => circuit::main(&args),
        Command::Green(args) => green::main(&args),
        Command::Reach(args) => reach::main(&args),
        Command::Growth(args) => growth::main(&args),
        Command::Flow(args) => flow::main(&args),
        Command::Identities(args) => identities::main(&args),
        Command::Slice(args) => slice::main(&args),
        Command::Reduce(args) => reduce::main(&args),
        Command::Regime(args) => regime::main(&args),
        Command::Quadratic(args) => quadratic::main(&args),
        Command::Invert(args) => invert::main(&args),
        Command::Locate(args) => locate::main(&args),
        Command::Transfer(args) => transfer::main(&args),
        Command::Scale(args) => scale::main(&args),
        Command::Merge(args) => merge::main(&args),
        Command::Summary(args) => compare::summary(&args),
        Command::Compare(args) => compare::main(&args),
        Command::Grid(args) => grid::main(&args, &|arguments| run_cell(&program, arguments)),
        Command::Study(args) => study::main(&args),
        Command::Demo(args) => study::demo(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Devices(args) => devices::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Completions(args) => completions::main(&args, program),
        Command::Man(args) => man::main(&args, program),
    }
}

/// Runs the command of a cell of a grid.
fn run_cell(program: &clap::Command, arguments: Vec<String>) -> Result<(), Failure> {
    let words: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
    let parsed = program.clone().try_get_matches_from([&["resolvent".into()][..], &words].concat());
    // The lines after the first one name usage and help.
    let first = |error: clap::Error| {
        let text = error.render().to_string();
        text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    };
    let matches = parsed.map_err(first)?;
    shards::remember(program, &matches, words, true);
    run(Cli::from_arg_matches(&matches).map_err(first)?.command, program.clone())
}

/// Joins the lines of a message, because messages of libraries may have several.
fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command is in one group of the help, and has examples that it accepts.
    #[test]
    fn help_is_complete() {
        let program = help::complete(Cli::command(), 100);
        program.clone().debug_assert();
        let names: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
        let mut grouped: Vec<&str> = help::grouped().collect();
        grouped.sort_unstable();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(grouped, sorted, "groups and commands");
        for name in &names {
            assert!(examples::EXAMPLES.iter().any(|(of, _)| of == name), "`{name}` has no examples");
        }
        for (name, examples) in examples::EXAMPLES {
            assert!(!examples.is_empty() && names.contains(name), "{name}");
            for (line, _) in *examples {
                let words = words(line);
                assert_eq!(words[0], *name, "{line}");
                let parsed = program.clone().try_get_matches_from([vec!["resolvent".to_owned()], words].concat());
                assert!(parsed.is_ok_and(|matches| Cli::from_arg_matches(&matches).is_ok()), "{line}");
            }
        }
    }

    #[test]
    fn wrong_examples_would_be_found() {
        let program = help::complete(Cli::command(), 100);
        for line in ["run", "patch x --corrupted y", "run x --modle y", "slice x --svd"] {
            let words = [vec!["resolvent".to_owned()], words(line)].concat();
            assert!(program.clone().try_get_matches_from(words).is_err(), "{line}");
        }
    }

    /// Splits an example into words, up to a pipe or a redirection.
    fn words(line: &str) -> Vec<String> {
        let (mut all, mut word, mut quote) = (Vec::new(), String::new(), None);
        for c in line.chars() {
            match (c, quote) {
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                ('>' | '|', None) => break,
                (' ', None) => all.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
                (c, _) => word.push(c),
            }
        }
        all.extend(Some(word).filter(|word| !word.is_empty()));
        all
    }
}
