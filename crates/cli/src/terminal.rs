//! What is written to stdout and stderr, and nowhere else: none of it can stop the work.
//!
//! Readers leave early (`| head`), terminals close and disks fill up. The macros of the standard library panic then, so this
//! tool uses what is here instead.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use resolvent_report::terminal::visible;

use crate::Failure;

/// Writes one line to stderr, as far as it takes it.
pub(crate) fn say(line: impl Display) {
    let line = format!("{}\n", visible(&line.to_string()));
    // In one piece, so that lines of several threads do not mix. There is nobody to tell that stderr is gone.
    let _unheard = io::stderr().lock().write_all(line.as_bytes());
}

/// Writes the result of a command to stdout. A reader that has gone has seen enough and is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("stdout cannot be written: {e}; is the disk full?").into())
        }
        _ => Ok(()),
    }
}

/// stderr for log lines: what it does not take is lost, and the log does not hear of it.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _unheard = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether colours may go to stdout.
pub(crate) fn colours_stdout() -> bool {
    io::stdout().is_terminal() && wants_colours(|name| std::env::var_os(name))
}

/// Whether colours may go to stderr.
pub(crate) fn colours_stderr() -> bool {
    io::stderr().is_terminal() && wants_colours(|name| std::env::var_os(name))
}

fn wants_colours(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Characters in a line of the terminal.
pub(crate) fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let shown = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    columns.or_else(shown).unwrap_or(120)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        for (no_color, term, wanted) in [
            (None, None, true),
            (None, Some("xterm"), true),
            (None, Some("dumb"), false),
            (Some("1"), Some("xterm"), false),
            (Some(""), None, false),
        ] {
            let variable = |name: &str| if name == "NO_COLOR" { no_color } else { term }.map(OsString::from);
            assert_eq!(wants_colours(variable), wanted, "NO_COLOR {no_color:?}, TERM {term:?}");
        }
    }
}
