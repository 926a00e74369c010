//! Figures: data with labels, drawn without further settings. One kind a file.

mod bars;
mod grid;
mod heatmap;
mod lines;
mod parts;
mod scale_bar;
mod scatter;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use bars::{Bars, Category, Estimate};
pub use grid::Grid;
pub use heatmap::Heatmap;
pub use lines::{Lines, Reference, Series};
pub use scatter::{Point, Scatter};
pub use table::{Cell, Table};

use crate::Result;
use crate::scene::{self, Scene, Use};

/// Anything that can be shown in a page or written to a file of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// Cells coloured by value.
    Heatmap(Heatmap),
    /// Points.
    Scatter(Scatter),
    /// Values along an axis.
    Lines(Lines),
    /// Estimates by category.
    Bars(Bars),
    /// Numbers.
    Table(Table),
    /// Several of them.
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
from_kind!(Heatmap, Scatter, Lines, Bars, Table, Grid);

impl Figure {
    /// Its title.
    pub fn title(&self) -> &str {
        match self {
            Self::Heatmap(f) => &f.title,
            Self::Scatter(f) => &f.title,
            Self::Lines(f) => &f.title,
            Self::Bars(f) => &f.title,
            Self::Table(f) => &f.title,
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
            Self::Grid(f) => f.scene(),
        }
    }

    /// As an SVG document, in the colours of a light page.
    pub fn svg(&self) -> String {
        scene::svg(&self.scene().with_margin(), Use::File)
    }

    /// As a PNG picture of two pixels for each of the drawing, with the embedded font.
    ///
    /// # Errors
    /// A figure too large for a picture.
    pub fn png(&self) -> Result<Vec<u8>> {
        scene::png(&self.scene().with_margin())
    }

    /// As an `<svg>` element for a page, whose style sheet knows the colours.
    pub(crate) fn element(&self) -> String {
        scene::svg(&self.scene(), Use::Page)
    }
}
