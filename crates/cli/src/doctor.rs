//! `resolvent doctor`: describes this machine and this program, and says what to do.

use std::fmt::Write as _;

use resolvent::doctor::{CacheFolder, Diagnosis, diagnose};
use resolvent_report::terminal::visible;

use crate::Failure;
use crate::devices::described;
use crate::terminal::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Do not run the self-test of the adapters; say only whether they have passed it before
    #[arg(long)]
    no_test: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let found = diagnose(!args.no_test);
    // Reports go into public bug trackers, and the home directory names the user.
    let home = std::env::home_dir().and_then(|path| path.to_str().map(str::to_owned)).filter(|home| home.len() > 1);
    let text = match args.json {
        true => format!("{:#}", found.to_json()),
        false => report(&found),
    };
    let text = home.map_or(text.clone(), |home| text.replace(&home, "~"));
    print(text.trim_end())
}

/// Formats the description for readers.
fn report(found: &Diagnosis) -> String {
    let features = if found.features.is_empty() { "none".to_owned() } else { found.features.join(", ") };
    let profile = if found.is_debug { "debug build" } else { "release build" };
    let mut text = format!(
        "resolvent {}, {profile}, features: {features}\ncompiler: {}\nsystem: {}\n\ndevices\n",
        found.version,
        visible(found.compiler),
        visible(&found.system)
    );
    for device in &found.devices {
        let _infallible = writeln!(text, "{:>6}  {}", device.choice, described(&device.info));
        let _infallible = writeln!(text, "        {}", visible(&device.test.to_string()));
    }
    let _infallible = writeln!(text, "  auto is {}\n\ncaches", visible(&found.auto));
    for cache in &found.caches {
        text.push_str(&folder(cache));
    }
    text.push_str("\nenvironment\n");
    for variable in &found.variables {
        let _infallible = writeln!(text, "  {}={}", variable.name, visible(&variable.value));
    }
    if found.variables.is_empty() {
        text.push_str("  no variable with an effect is set\n");
    }
    text.push_str("\nwhat to do\n");
    for advice in &found.advice {
        let _infallible = writeln!(text, "  {}", visible(advice));
    }
    if found.advice.is_empty() {
        text.push_str("  nothing: this machine is ready\n");
    }
    text
}

/// Formats a cache with the sizes of its parts.
fn folder(cache: &CacheFolder) -> String {
    let Some(path) = &cache.path else { return format!("  {}: switched off\n", cache.name) };
    let state = match (cache.exists, cache.is_writable) {
        (_, false) => "cannot be written",
        (false, true) => "does not exist yet",
        (true, true) => "writable",
    };
    let mut text = format!("  {}: {} ({state})\n", cache.name, visible(&path.display().to_string()));
    for part in &cache.parts {
        let files = if part.files == 1 { "file" } else { "files" };
        let _infallible = writeln!(text, "    {}: {} {files}, {}", visible(&part.name), part.files, size(part.bytes));
    }
    text
}

/// Formats bytes in decimal units.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let shown = [0, 999, 1_500, 2_000_000, 3_400_000_000].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.5 kB", "2.0 MB", "3.4 GB"]);
    }
}
