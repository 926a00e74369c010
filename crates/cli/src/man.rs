//! `resolvent man`: prints a man page, or writes all of them to a folder.

use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;
use resolvent::field::write_whole;

use crate::Failure;
use crate::terminal::{print, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Command to print the page of; without one, the page of resolvent itself
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write all pages to this folder instead
    #[arg(short, long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
}

/// Prints or writes pages of the commands of `program`.
pub(crate) fn main(args: &Args, mut program: Command) -> Result<(), Failure> {
    program.build();
    let page = |command: &Command| -> Result<Vec<u8>, Failure> {
        // The template of the program is for terminals, and the page lists the commands itself.
        let mut page = Vec::new();
        Man::new(command.clone()).render(&mut page)?;
        Ok(page)
    };
    let names = || program.get_subcommands().map(Command::get_name).filter(|name| *name != "help");
    let Some(folder) = &args.out else {
        let command = match &args.command {
            None => &program,
            Some(name) => program.find_subcommand(name).ok_or_else(|| {
                let meant = resolvent::engine::did_you_mean(name, names());
                format!("no command `{name}`: `resolvent --help` lists all{meant}")
            })?,
        };
        return print(String::from_utf8(page(command)?)?.trim_end());
    };
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: cannot be created: {e}", folder.display()))?;
    let mut count = 1;
    write_whole(&folder.join("resolvent.1"), &page(&program)?)?;
    for name in names() {
        if let Some(command) = program.find_subcommand(name) {
            write_whole(&folder.join(format!("resolvent-{name}.1")), &page(command)?)?;
            count += 1;
        }
    }
    say(format_args!("wrote {count} pages to {}", folder.display()));
    Ok(())
}
