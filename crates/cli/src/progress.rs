//! How far long work has come: a bar on stderr, where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that takes (done, all), and goes when the work ends.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(message: &'static str) -> Self {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} % {eta}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        // Hidden by itself where stderr is no terminal.
        Self(ProgressBar::new(0).with_style(style).with_message(message))
    }

    pub(crate) fn show(&self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
