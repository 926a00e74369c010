//! Output for terminals: heatmaps, log lines, and texts from outside.

mod heatmap;
mod log;
mod visible;

pub use heatmap::{Heatmap, Style};
pub use log::{start_log, takes_colours};
pub use visible::visible;
