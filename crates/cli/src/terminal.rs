//! All output to stdout and stderr. No failure to write it can stop the work.
//!
//! Readers leave early (`| head`), terminals close and disks fill up. The macros of the standard library panic then, so
//! this tool uses these functions instead.

use std::fmt::Arguments;
use std::io::{self, Write};

use resolvent_report::terminal::{takes_colours, visible};

use crate::Failure;
use crate::progress::between_bars;

/// Writes one line to stderr, and ignores failures.
pub(crate) fn say(line: Arguments<'_>) {
    let line = format!("{}\n", visible(&line.to_string()));
    // One write, so that lines of several threads do not mix. A failure is ignored: only stderr could report it.
    let _unheard = between_bars(|| io::stderr().lock().write_all(line.as_bytes()));
}

/// Writes the result of a command to stdout. A closed pipe is not an error: its reader needs no more.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let written = between_bars(|| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush())
    });
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("stdout cannot be written: {e}; is the disk full?").into())
        }
        _ => Ok(()),
    }
}

/// Formats a number of prompts.
pub(crate) fn counted(prompts: &str) -> String {
    format!("{prompts} {}", if prompts == "1" { "prompt" } else { "prompts" })
}

/// Returns whether stdout takes colours.
pub(crate) fn colours() -> bool {
    takes_colours(&io::stdout())
}

/// Returns the number of characters in a line of the terminal; 120 if it is unknown.
pub(crate) fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let shown = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    columns.or_else(shown).unwrap_or(120)
}
