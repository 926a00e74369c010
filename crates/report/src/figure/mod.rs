//! Figures: data with labels, drawn without further settings. Each kind has its own file.

mod bars;
mod graph;
mod grid;
mod heatmap;
mod lines;
mod parts;
mod scale_bar;
mod scatter;
mod table;
#[cfg(test)]
mod tests;

pub use bars::{Bars, Category, Estimate};
pub use graph::{Graph, GraphEdge, GraphNode};
pub use grid::Grid;
pub use heatmap::Heatmap;
pub use lines::{Lines, Reference, Series};
pub use scatter::{Point, Scatter};
pub use table::{Cell, Table};

use crate::Result;
use crate::scene::{self, Scene, Use};

/// A figure of any kind. It can be shown in a page or written to a file of its own.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Figure {
    /// Cells coloured by value.
    Heatmap(Heatmap),
    /// Points.
    Scatter(Scatter),
    /// Values along an axis.
    Lines(Lines),
    /// Estimates by category.
    Bars(Bars),
    /// Numbers and texts in rows.
    Table(Table),
    /// Nodes and edges.
    Graph(Graph),
    /// Several figures side by side.
    Grid(Grid),
}

macro_rules! from_kind {
    ($($kind:ident),*) => {$(
        impl From<$kind> for Figure {
            fn from(figure: $kind) -> Self {
                Self::$kind(figure)
            }
        }
    )*};
}
from_kind!(Heatmap, Scatter, Lines, Bars, Table, Graph, Grid);

impl Figure {
    /// Returns its title.
    pub fn title(&self) -> &str {
        match self {
            Self::Heatmap(f) => &f.title,
            Self::Scatter(f) => &f.title,
            Self::Lines(f) => &f.title,
            Self::Bars(f) => &f.title,
            Self::Table(f) => &f.title,
            Self::Graph(f) => &f.title,
            Self::Grid(f) => &f.title,
        }
    }

    pub(crate) fn scene(&self) -> Scene {
        match self {
            Self::Heatmap(f) => f.scene(),
            Self::Scatter(f) => f.scene(),
            Self::Lines(f) => f.scene(),
            Self::Bars(f) => f.scene(),
            Self::Table(f) => f.scene(),
            Self::Graph(f) => f.scene(),
            Self::Grid(f) => f.scene(),
        }
    }

    /// Returns an SVG document, in the colours of a light page.
    pub fn svg(&self) -> String {
        scene::svg(&self.scene().with_margin(), Use::File)
    }

    /// Returns a PNG picture at twice the resolution of the drawing, with the embedded font.
    ///
    /// # Errors
    /// The figure is too large for a picture.
    pub fn png(&self) -> Result<Vec<u8>> {
        scene::png(&self.scene().with_margin())
    }

    /// Returns an `<svg>` element for a page, whose style sheet contains [`figure_style`](crate::figure_style).
    pub fn element(&self) -> String {
        scene::svg(&self.scene(), Use::Page)
    }
}
