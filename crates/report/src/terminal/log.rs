//! Writes warnings of the library to stderr, and decides whether a stream gets colours.

use std::ffi::OsString;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable that selects the lines, such as `info` or `resolvent_model=debug`.
const VARIABLE: &str = "RESOLVENT_LOG";

/// The default filter: warnings of this project and, of the graphics library, errors only.
const WARNINGS: &str = "warn,wgpu_core=error,wgpu_hal=off,naga=error";

/// Starts to write log lines to stderr: warnings, or the lines that `RESOLVENT_LOG` selects. A line that cannot be
/// written is lost.
pub fn start_log() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(WARNINGS));
    let stderr = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let stderr = stderr.with_ansi(takes_colours(&std::io::stderr())).with_target(false).without_time();
    // An error of writing would itself be written to stderr, by a macro that panics. Starting the log fails in the
    // second interpreter of a Python process, because the first one has started it already.
    let _already_started = stderr.log_internal_errors(false).try_init();
}

/// Whether colours may go to `stream`.
pub fn takes_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && wants_colours(|name| std::env::var_os(name))
}

fn wants_colours(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|term| term != "dumb")
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
