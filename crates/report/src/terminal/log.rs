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
    colours(stream.is_terminal(), |name| std::env::var_os(name))
}

/// Returns whether a stream gets colours: the variables of <https://no-color.org> and <https://bixense.com/clicolors>
/// decide, and else what the stream is.
fn colours(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let forced = || set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let off = || set("CLICOLOR").is_some_and(|value| value == "0") || set("TERM").is_some_and(|term| term == "dumb");
    set("NO_COLOR").is_none() && (forced() || (is_terminal && !off()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        let found = |is_terminal: bool, set: &[(&str, &str)]| {
            colours(is_terminal, |name| set.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into()))
        };
        for (set, at_terminal, elsewhere) in [
            (&[][..], true, false),
            (&[("TERM", "xterm")], true, false),
            (&[("TERM", "dumb")], false, false),
            (&[("NO_COLOR", "1")], false, false),
            (&[("NO_COLOR", "")], true, false),
            (&[("CLICOLOR", "0")], false, false),
            (&[("CLICOLOR_FORCE", "1")], true, true),
            (&[("CLICOLOR_FORCE", "0")], true, false),
            (&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true, true),
            (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false, false),
        ] {
            assert_eq!((found(true, set), found(false, set)), (at_terminal, elsewhere), "{set:?}");
        }
    }
}
