//! What is seen of a download: one line, and on a terminal a bar for each file.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use resolvent::model::{Hub, HubEvent};

use crate::terminal::say;

/// The hub of the environment, with its downloads shown on stderr.
pub(crate) fn hub() -> Hub {
    // Hidden by itself where stderr is no terminal.
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
