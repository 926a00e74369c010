//! Plots, pages and terminal heatmaps of labelled results.
//!
//! - [`Figure`] and its kinds: data with labels, drawn as SVG or PNG without further settings.
//! - [`Page`]: one self-contained HTML document with figures, tables and verdicts.
//! - [`figures()`]: the figures of an analysis, from its labelled result.
//! - [`terminal`]: heatmaps as text, log lines, and escapes of hostile texts.
//!
//! ```
//! use resolvent_report::{Axis, Figure, Lines, Series};
//!
//! let mut plot = Lines::new("Gain over levels", Axis::linear("level"), Axis::log("gain"));
//! plot.series.push(Series::new("GPT-2", vec![(0.0, 0.1), (1.0, 1.0), (2.0, 12.0)]));
//! let svg = Figure::from(plot).svg();
//! assert!(svg.contains("Gain over levels"));
//! ```

mod axis;
mod circuits;
mod colour;
mod dictionaries;
mod edges_by_token;
mod error;
mod figure;
mod figure_file;
mod figures;
mod graph_file;
mod heads;
mod page;
mod reductions;
mod rows;
mod scene;
mod study;
mod subspace;
pub mod terminal;
mod tokens;

pub use axis::Axis;
pub use circuits::{circuit_sizes, listed_neurons, strongest_edges, strongest_neurons, strongest_writers};
pub use colour::Map;
pub use dictionaries::strongest_features;
pub use edges_by_token::strongest_edges_by_token;
pub use error::{Error, Result};
pub use figure::{
    Bars, Category, Cell, Estimate, Figure, Graph, GraphEdge, GraphNode, Grid, Heatmap, Lines, Point, Reference,
    Scatter, Series, Table,
};
pub use figures::figures;
pub use graph_file::{check_graph_path, write_graph};
pub use heads::strongest_heads;
pub use page::{Block, Origin, Page, Section, Statement, Verdict, figure_style};
pub use reductions::reduction_errors;
pub use rows::strongest_rows;
pub use study::{Studied, study_page};
pub use subspace::subspace_parts;
