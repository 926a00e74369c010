//! `resolvent completions`: prints a script that completes commands and options in a shell.

use clap_complete::{Shell, generate};

use crate::Failure;
use crate::terminal::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shell: bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script for the commands of `program`.
pub(crate) fn main(args: &Args, mut program: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut program, "resolvent", &mut script);
    print(String::from_utf8(script)?.trim_end())
}
