//! Heatmaps for terminals.

mod heatmap;
mod visible;

pub use heatmap::{Heatmap, Style};
pub use visible::visible;
