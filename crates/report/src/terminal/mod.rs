//! Heatmaps for terminals.

mod heatmap;

pub use heatmap::{Heatmap, Style};
