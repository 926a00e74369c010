//! Terminal heatmaps of labelled results.

mod heatmap;

pub use heatmap::{Heatmap, Style};
