//! Shows downloads: one line for each model and, on a terminal, a progress bar for each file.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use resolvent::model::{Hub, HubEvent};

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
                *bar = ProgressBar::new(bytes).with_style(style()).with_message(name.to_owned()).with_position(have);
                bar.reset_eta();
            }
            HubEvent::Bytes(more) => bar.inc(more),
            HubEvent::Whole { .. } => bar.finish(),
            _ => {}
        }
    })
}

fn style() -> ProgressStyle {
    let parts = "{msg:>20} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    ProgressStyle::with_template(parts).unwrap_or_else(|_| ProgressStyle::default_bar())
}
