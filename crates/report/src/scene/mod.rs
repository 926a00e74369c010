//! Drawings as data: figures create them, and both writers, SVG and PNG, read them.
//!
//! The model of a scene is small on purpose. A mark is a shape with paints and an optional hover text. Figures append
//! marks, and do not depend on file formats.

pub(crate) mod font;
mod raster;
mod svg;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use raster::png;
pub(crate) use svg::{Use, svg};
pub(crate) use text::{clean, hidden, label, token};

use crate::colour::Paint;

/// Margin around a drawing that is a file, in pixels.
const MARGIN: f64 = 16.0;

/// A drawing with a size in pixels. Its origin is at the top left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// What the drawing shows, in words, for readers who cannot see it.
    pub(crate) description: String,
    pub(crate) marks: Vec<Mark>,
}

/// A shape with its paints and its hover text.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// Its kind, as a CSS class: `cell`, `point`, `tick`.
    pub(crate) class: &'static str,
    pub(crate) shape: Shape,
    pub(crate) fill: Paint,
    pub(crate) stroke: Option<Stroke>,
    /// 1 is opaque.
    pub(crate) opacity: f64,
    /// Text that is shown while the pointer is over the mark.
    pub(crate) hover: Option<String>,
}

/// A painted outline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stroke {
    pub(crate) paint: Paint,
    pub(crate) width: f64,
    /// Lengths of dash and gap; `None` is a solid line.
    pub(crate) dash: Option<[f64; 2]>,
}

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Rect {
        x: f64,
        y: f64,
        width: f64,
        height: f64,
    },
    Circle {
        x: f64,
        y: f64,
        radius: f64,
    },
    Path(Vec<Step>),
    Text(Text),
    /// Marks of a drawing within this one, moved by (x, y).
    Group {
        x: f64,
        y: f64,
        marks: Vec<Mark>,
    },
}

/// A step of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Move(f64, f64),
    Line(f64, f64),
    /// A line back to the last `Move`.
    Close,
}

/// A line of text.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) x: f64,
    /// Vertical position of the baseline.
    pub(crate) y: f64,
    pub(crate) text: String,
    /// Font size in pixels.
    pub(crate) size: f64,
    pub(crate) bold: bool,
    pub(crate) anchor: Anchor,
    /// Clockwise rotation about (x, y), in degrees.
    pub(crate) turn: f64,
    /// Whether the text has a rim of the page's colour, so that it is readable over lines.
    pub(crate) rim: bool,
}

/// The part of a text that is at its `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Scene {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, ..Self::default() }
    }

    pub(crate) fn add(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// Adds a margin, which a file needs and a page does not.
    pub(crate) fn with_margin(self) -> Self {
        let mut scene = Self::new(self.width + 2.0 * MARGIN, self.height + 2.0 * MARGIN);
        scene.description.clone_from(&self.description);
        scene.place(MARGIN, MARGIN, self);
        scene
    }

    /// Puts another scene into this one, with its origin at (x, y).
    pub(crate) fn place(&mut self, x: f64, y: f64, scene: Self) {
        self.add(Mark::new("figure", Shape::Group { x, y, marks: scene.marks }));
    }
}

impl Mark {
    fn new(class: &'static str, shape: Shape) -> Self {
        Self { class, shape, fill: Paint::Clear, stroke: None, opacity: 1.0, hover: None }
    }

    pub(crate) fn rect(class: &'static str, [x, y, width, height]: [f64; 4]) -> Self {
        Self::new(class, Shape::Rect { x, y, width, height })
    }

    pub(crate) fn circle(class: &'static str, x: f64, y: f64, radius: f64) -> Self {
        Self::new(class, Shape::Circle { x, y, radius })
    }

    pub(crate) fn path(class: &'static str, steps: Vec<Step>) -> Self {
        Self::new(class, Shape::Path(steps))
    }

    pub(crate) fn line(class: &'static str, from: (f64, f64), to: (f64, f64)) -> Self {
        Self::path(class, vec![Step::Move(from.0, from.1), Step::Line(to.0, to.1)])
    }

    pub(crate) fn polygon(class: &'static str, corners: &[(f64, f64)]) -> Self {
        let step = |(i, &(x, y)): (usize, &(f64, f64))| if i == 0 { Step::Move(x, y) } else { Step::Line(x, y) };
        Self::path(class, corners.iter().enumerate().map(step).chain([Step::Close]).collect())
    }

    /// Creates a line of text of 12 pixels that starts at (x, y).
    pub(crate) fn text(class: &'static str, x: f64, y: f64, text: impl Into<String>) -> Self {
        let text =
            Text { x, y, text: text.into(), size: 12.0, bold: false, anchor: Anchor::Start, turn: 0.0, rim: false };
        Self::new(class, Shape::Text(text)).fill(Paint::Ink)
    }

    pub(crate) fn fill(mut self, paint: Paint) -> Self {
        self.fill = paint;
        self
    }

    pub(crate) fn stroke(mut self, paint: Paint, width: f64) -> Self {
        self.stroke = Some(Stroke { paint, width, dash: None });
        self
    }

    pub(crate) fn dash(mut self, dash: Option<[f64; 2]>) -> Self {
        if let Some(stroke) = &mut self.stroke {
            stroke.dash = dash;
        }
        self
    }

    pub(crate) fn opacity(mut self, opacity: f64) -> Self {
        self.opacity = opacity;
        self
    }

    pub(crate) fn hover(mut self, text: impl Into<String>) -> Self {
        self.hover = Some(text.into());
        self
    }

    /// Changes the text of the mark; other shapes do not change.
    fn edit_text(mut self, change: impl FnOnce(&mut Text)) -> Self {
        if let Shape::Text(text) = &mut self.shape {
            change(text);
        }
        self
    }

    pub(crate) fn size(self, size: f64) -> Self {
        self.edit_text(|t| t.size = size)
    }

    pub(crate) fn bold(self) -> Self {
        self.edit_text(|t| t.bold = true)
    }

    pub(crate) fn anchor(self, anchor: Anchor) -> Self {
        self.edit_text(|t| t.anchor = anchor)
    }

    pub(crate) fn turn(self, degrees: f64) -> Self {
        self.edit_text(|t| t.turn = degrees)
    }

    pub(crate) fn rim(self) -> Self {
        self.edit_text(|t| t.rim = true)
    }
}
