//! What terminals show: heatmaps, log lines, and texts that others wrote.

mod heatmap;
mod log;
mod visible;

pub use heatmap::{Heatmap, Style};
pub use log::{start_log, takes_colours};
pub use visible::visible;
