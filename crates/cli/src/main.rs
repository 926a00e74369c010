//! The command-line tool `resolvent`. Each command has a file of its own; this file lists and starts them.

mod attribute;
mod average;
mod bench;
mod circuit;
mod devices;
#[cfg(feature = "hub")]
mod download;
mod edges;
mod features;
mod flow;
mod forward;
mod graph;
mod green;
mod growth;
mod identities;
mod invert;
mod lens;
mod locate;
mod observable;
mod options;
mod output;
mod patch;
mod progress;
mod prompts;
mod reach;
mod reduce;
mod regime;
mod scale;
mod sensitivity;
mod signals;
mod slice;
mod steps;
mod study;
mod terminal;
mod transfer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The error of a command: one line that names the cause and the fix.
type Failure = Box<dyn std::error::Error>;

/// How sources propagate through a Transformer: fields, sensitivities, patches and Green functions, on any GPU or none.
#[derive(Parser)]
#[command(name = "resolvent", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a prompt: the field, the logits and the most likely next tokens
    Run(forward::Args),
    /// dJ/dh at every level and token, for any observable J
    Sensitivity(sensitivity::Args),
    /// Put every h[l,t] of the prompt into a corrupted prompt, one place at a time
    Patch(patch::Args),
    /// What the head would answer at every level: the logit lens
    Lens(lens::Args),
    /// The Green operator to the last level, averaged over prompts and positions: the Jacobian lens
    Average(average::Args),
    /// What embedding, heads, MLPs and neurons contribute to J directly
    Attribute(attribute::Args),
    /// What the features of a sparse autoencoder or transcoder contribute to an effect
    Features(features::Args),
    /// How much of an effect passes along each edge between heads and MLPs
    Edges(edges::Args),
    /// How much of J remains if only some edges carry the clean prompt
    Circuit(circuit::Args),
    /// The response field of one source
    Green(green::Args),
    /// How strongly sources act at each depth and distance in tokens, on average
    Reach(reach::Args),
    /// How much blocks amplify sources at a token, beside what their eigenvalues say
    Growth(growth::Args),
    /// By which places the effect of a source, or of another prompt, reaches J
    Flow(flow::Args),
    /// Identities of the derivatives that follow from symmetries of the model
    Identities(identities::Args),
    /// Blocks of the Green operator between two bases, for all pairs of places or some; or its singular values
    Slice(slice::Args),
    /// Effects of held-out patches through few directions of one level
    Reduce(reduce::Args),
    /// How far from a run the first-order response holds
    Regime(regime::Args),
    /// Find sources that change the observable as asked, and run the model with them
    Invert(invert::Args),
    /// Infer the place and the direction of an unknown source from its response
    Locate(locate::Args),
    /// How much of a donor prompt's answer comes along with its h[l,t], one place at a time
    Transfer(transfer::Args),
    /// Whether a small model's responses predict a large one's
    Scale(scale::Args),
    /// All of it on one model and a set of prompts, and one HTML page
    Study(study::Args),
    /// The same on the embedded model with a few prompts, in less than a minute
    Demo(study::DemoArgs),
    /// List the adapters of this machine and test them
    Devices(devices::Args),
    /// Time kernels and whole passes on a device, beside what it can do at most
    Bench(bench::Args),
}

fn main() -> ExitCode {
    signals::file_size_is_an_error();
    let cli = Cli::parse();
    resolvent_report::terminal::start_log();
    let done = match cli.command {
        Command::Run(args) => forward::main(&args),
        Command::Sensitivity(args) => sensitivity::main(&args),
        Command::Patch(args) => patch::main(&args),
        Command::Lens(args) => lens::main(&args),
        Command::Average(args) => average::main(&args),
        Command::Attribute(args) => attribute::main(&args),
        Command::Features(args) => features::main(&args),
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
        Command::Invert(args) => invert::main(&args),
        Command::Locate(args) => locate::main(&args),
        Command::Transfer(args) => transfer::main(&args),
        Command::Scale(args) => scale::main(&args),
        Command::Study(args) => study::main(&args),
        Command::Demo(args) => study::demo(&args),
        Command::Devices(args) => devices::main(&args),
        Command::Bench(args) => bench::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::say(format_args!("error: {}", one_line(&failure.to_string())));
            ExitCode::FAILURE
        }
    }
}

/// Joins the lines of a message, because messages of libraries may have several.
fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
