//! Shows downloads: one line for each model and, on a terminal, a progress bar for each file.

use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use resolvent::model::{Hub, HubEvent};

use crate::progress::{add, style};
use crate::terminal::say;

/// Returns the hub that the environment selects. It shows its downloads on stderr.
pub(crate) fn hub() -> Hub {
    // No file has begun yet. indicatif hides the bars of files if stderr is not a terminal.
    let bar = Mutex::new(ProgressBar::hidden());
    Hub::from_env().with_report(move |event| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            HubEvent::Model { name, from, to } => {
                say(format_args!("downloading {name} from {from} to {}", to.display()));
            }
            HubEvent::File { name, bytes, have } => {
                let file = ProgressBar::new(bytes).with_style(style(PARTS)).with_message(name.to_owned());
                *bar = add(file.with_position(have));
                bar.reset_eta();
            }
            HubEvent::Bytes(more) => bar.inc(more),
            HubEvent::Whole { .. } => bar.finish(),
            _ => {}
        }
    })
}

/// The parts of the bar of a file.
const PARTS: &str = "{msg:>20} {bar:16} {bytes}/{total_bytes} {bytes_per_sec}{left}";
