//! What `resolvent` alone and `--help` show: the first commands to try, the groups of commands, and examples.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::builder::styling::Style;
use clap::{Arg, Command};
use resolvent::field::interned;

use crate::examples::EXAMPLES;
use crate::several::from_environment;

/// The commands by what a user wants, with a heading each. Every command is in one group.
const GROUPS: [(&str, &[&str]); 9] = [
    ("Try it", &["demo", "study"]),
    ("One prompt", &["run", "generate", "sensitivity", "lens", "attribute", "features"]),
    ("Two prompts", &["patch", "edges", "circuit", "subspace", "transfer", "reduce"]),
    ("Sources and responses", &["green", "flow", "slice", "regime", "quadratic", "growth", "identities"]),
    ("Inverse problems", &["invert", "locate"]),
    ("Averages over places and prompts", &["average", "reach"]),
    ("Several models", &["scale"]),
    ("Large runs", &["grid", "merge", "summary", "compare"]),
    ("This machine and this program", &["doctor", "devices", "bench", "completions", "man"]),
];

/// Options that several commands share, by a heading. All others are under `Options`.
const HEADINGS: [(&str, &[&str]); 5] = [
    (
        "Prompts",
        &[
            "tokens",
            "prompts",
            "text",
            "window",
            "task",
            "rows",
            "strict",
            "corrupted",
            "corrupted_tokens",
            "donor",
            "donor_tokens",
            "edit",
        ],
    ),
    ("Shards", &["shard", "out_dir", "shard_size", "queue"]),
    ("Observable J", &["observe", "target", "against", "position"]),
    ("Model and device", &["model", "device", "memory", "f16_weights", "f16_inputs"]),
    ("Output", &["out", "plot", "json", "graph"]),
];

/// Commands whose results can be shards: those that have a result for each prompt. Others refuse the options of shards,
/// and do not list them.
const SHARDED: [&str; 16] = [
    "run",
    "sensitivity",
    "patch",
    "lens",
    "attribute",
    "edges",
    "green",
    "flow",
    "slice",
    "identities",
    "regime",
    "quadratic",
    "invert",
    "transfer",
    "growth",
    "subspace",
];

/// Options that some commands share with others but refuse, and do not list: what an analysis of pairs cannot take of a
/// text, what one prompt has no use for, and plots of results without figures.
const REFUSED: [(&[&str], &[&str]); 2] = [
    (&["patch", "edges", "circuit", "subspace", "transfer", "reduce"], &["text", "window"]),
    (&["identities", "subspace"], &["plot"]),
];

/// Largest width of help: longer lines are hard to read.
const WIDEST: usize = 120;

/// What `resolvent` prints without a command.
pub(crate) const FIRST: &str = "\
resolvent computes how sources propagate through a Transformer. Try, on the embedded model:

  resolvent demo                              every analysis, and one HTML page with figures
  resolvent run \"The capital of France is\"    a field, and the most likely next tokens
  resolvent patch \"The capital of France is\" --corrupted \"The capital of Italy is\" \\
      --target \" Paris\" --against \" Rome\"     where the answer is decided

`resolvent --help` lists all commands, and `resolvent COMMAND --help` shows options and examples.
`resolvent doctor` checks this machine.";

/// Returns the names of all commands that are in a group.
#[cfg(test)]
pub(crate) fn grouped() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|(_, names)| names.iter().copied())
}

/// Adds groups, examples and the width of the terminal to the program's commands.
pub(crate) fn complete(program: Command, width: usize) -> Command {
    let heading = program.get_styles().get_header().to_owned();
    let literal = program.get_styles().get_literal().to_owned();
    let listed = groups(&program, heading, literal);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{listed}{}\n{{options}}{{after-help}}",
        styled(heading, "Options:")
    );
    let after = "`resolvent COMMAND --help` shows the options of a command, with examples.";
    let mut program = program.help_template(StyledStr::from(template)).after_help(after).term_width(width.min(WIDEST));
    for &(name, examples) in EXAMPLES {
        program = program
            .mut_subcommand(name, |command| command.mut_args(under_heading).after_help(shown(examples, heading)));
        if let Some(device) = from_environment().map(|device| interned(&device)) {
            let default = |option: Arg| if option.get_id() == "device" { option.default_value(device) } else { option };
            program = program.mut_subcommand(name, |command| command.mut_args(default));
        }
        if !SHARDED.contains(&name) {
            program = program.mut_subcommand(name, hidden_shards);
        }
        for (_, options) in REFUSED.iter().filter(|(commands, _)| commands.contains(&name)) {
            let hidden =
                |option: Arg| if options.contains(&option.get_id().as_str()) { option.hide(true) } else { option };
            program = program.mut_subcommand(name, |command| command.mut_args(hidden));
        }
    }
    program
}

/// Puts an option that several commands share under its heading.
fn under_heading(option: Arg) -> Arg {
    let is_shared = |ids: &[&str]| !option.is_positional() && ids.contains(&option.get_id().as_str());
    match HEADINGS.iter().find(|(_, ids)| is_shared(ids)) {
        Some((heading, _)) => option.help_heading(*heading),
        None => option,
    }
}

/// Hides the options of shards that a command shares with others. `grid` and `study` have a `--shard` of their own.
fn hidden_shards(command: Command) -> Command {
    let is_shared = command.get_arguments().any(|option| option.get_id() == "queue");
    let of_shards = |id: &str| HEADINGS.iter().any(|(name, ids)| *name == "Shards" && ids.contains(&id));
    command.mut_args(|option| {
        let is_hidden = is_shared && of_shards(option.get_id().as_str());
        if is_hidden { option.hide(true) } else { option }
    })
}

/// Formats the examples of a command, with what each of them does.
fn shown(examples: &[(&str, &str)], heading: Style) -> StyledStr {
    let mut text = styled(heading, "Examples:");
    for (line, does) in examples {
        let _infallible = write!(text, "\n  # {does}\n  resolvent {line}");
    }
    text.into()
}

/// Lists the commands under the headings of their groups.
fn groups(program: &Command, heading: Style, literal: Style) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        let _infallible = writeln!(text, "{}", styled(heading, &format!("{title}:")));
        for name in names {
            let about = program.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _infallible = writeln!(text, "  {}  {about}", styled(literal, &format!("{name:<11}")));
        }
        text.push('\n');
    }
    text
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
