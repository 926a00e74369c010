//! Tables: numbers in rows.

use std::fmt::Write;

use super::parts;
use crate::axis::number::{minus, value};
use crate::colour::Paint;
use crate::scene::{Anchor, Mark, Scene, clean, font};

/// Rows of cells under named columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The title; may be empty.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cell {
    /// A text, at the left of its column.
    Text(String),
    /// A number, at the right of its column, with as many decimals as its neighbours. NaN is shown as `–`.
    Number(f64),
}

impl From<f64> for Cell {
    fn from(x: f64) -> Self {
        Self::Number(x)
    }
}

impl From<f32> for Cell {
    fn from(x: f32) -> Self {
        Self::Number(x.into())
    }
}

impl From<usize> for Cell {
    fn from(x: usize) -> Self {
        Self::Number(x as f64)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A column with formatted cells.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) numeric: bool,
    pub(crate) cells: Vec<String>,
}

impl Table {
    /// Creates a table with these columns and no rows.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&c| c.to_owned()).collect();
        Self { title: title.into(), columns, rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty, and surplus cells are dropped.
    #[must_use]
    pub fn row(mut self, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.rows.push(cells.into_iter().collect());
        self
    }

    /// Formats the columns; all numbers of a column have the same decimals.
    pub(crate) fn shown(&self) -> Vec<Column> {
        let column = |(c, name): (usize, &String)| {
            let cells: Vec<Option<&Cell>> = self.rows.iter().map(|row| row.get(c)).collect();
            let numbers: Vec<f64> = cells
                .iter()
                .filter_map(|cell| match cell {
                    Some(Cell::Number(x)) => Some(*x),
                    _ => None,
                })
                .collect();
            let decimals = decimals(&numbers);
            let numeric = !numbers.is_empty() && !cells.iter().any(|c| matches!(c, Some(Cell::Text(_))));
            let show = |cell: Option<&Cell>| match cell {
                Some(Cell::Text(text)) => clean(text),
                Some(Cell::Number(x)) if x.is_nan() => "–".to_owned(),
                Some(Cell::Number(x)) => minus(&match decimals {
                    Some(decimals) if x.is_finite() => format!("{x:.decimals$}"),
                    _ => value(*x),
                }),
                None => String::new(),
            };
            Column { name: clean(name), numeric, cells: cells.into_iter().map(show).collect() }
        };
        self.columns.iter().enumerate().map(column).collect()
    }

    /// Returns the table as text for a terminal, with columns two spaces apart.
    pub fn text(&self) -> String {
        let columns = self.shown();
        let mut out = String::new();
        if !self.title.is_empty() {
            let _infallible = writeln!(out, "{}", clean(&self.title));
        }
        let wide = |c: &Column| c.cells.iter().chain([&c.name]).map(|t| t.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = columns.iter().map(wide).collect();
        for row in std::iter::once(None).chain((0..self.rows.len()).map(Some)) {
            let line = columns.iter().zip(&widths).map(|(column, width)| {
                let text = row.map_or(&column.name, |r| &column.cells[r]);
                if column.numeric { format!("{text:>width$}") } else { format!("{text:<width$}") }
            });
            let line = line.collect::<Vec<_>>().join("  ");
            let _infallible = writeln!(out, "{}", line.trim_end());
        }
        out
    }

    /// Draws the table.
    pub(crate) fn scene(&self) -> Scene {
        let columns = self.shown();
        let wide = |c: &Column| {
            let cells = c.cells.iter().map(|t| font::width(t, 12.0, false));
            cells.fold(font::width(&c.name, 12.0, true), f64::max).min(280.0).ceil() + 24.0
        };
        let widths: Vec<f64> = columns.iter().map(wide).collect();
        let mut scene = Scene::new(widths.iter().sum::<f64>().max(200.0), 0.0);
        scene.description = format!("Table: {}. {} rows.", self.title, self.rows.len());
        let top = parts::heading(&mut scene, &self.title, "");
        let line = |y: f64, paint| Mark::line("grid", (0.0, y), (widths.iter().sum(), y)).stroke(paint, 1.0);
        for y in (0..=self.rows.len()).map(|r| top + 24.0 * (r + 1) as f64) {
            scene.add(line(y, if y == top + 24.0 { Paint::Axis } else { Paint::Rule }));
        }
        let mut left = 0.0;
        for (column, width) in columns.iter().zip(&widths) {
            let (x, anchor) = match column.numeric {
                true => (left + width - 12.0, Anchor::End),
                false => (left + 12.0, Anchor::Start),
            };
            for (r, text) in [&column.name].into_iter().chain(&column.cells).enumerate() {
                let text = font::cut(text, 12.0, r == 0, width - 20.0);
                let mark = Mark::text("table", x, top + 24.0 * r as f64 + 16.0, text).anchor(anchor);
                scene.add(if r == 0 { mark.bold() } else { mark });
            }
            left += width;
        }
        scene.height = top + 24.0 * (self.rows.len() + 1) as f64 + 2.0;
        scene
    }
}

/// Returns the decimals that give the largest number of a column four digits; `None` if the numbers differ too much for
/// one format.
fn decimals(numbers: &[f64]) -> Option<usize> {
    let finite = || numbers.iter().map(|x| x.abs()).filter(|x| x.is_finite());
    let most = finite().fold(0.0, f64::max);
    if finite().all(|x| x.fract() == 0.0 && x < 1e9) {
        return Some(0);
    }
    let least = finite().filter(|&x| x > 0.0).fold(f64::INFINITY, f64::min);
    let decimals = (3 - most.log10().floor() as i32).clamp(0, 6);
    let seen = least >= 0.5 * 10f64.powi(-decimals);
    (most < 1e6 && seen).then_some(decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new("sites", &["site", "r", "n"])
            .row(["mlp_out".into(), 0.195.into(), 126_usize.into()])
            .row(["resid".into(), (-0.75).into(), 14_usize.into()])
            .row(["<b>".into(), f64::NAN.into()])
    }

    #[test]
    fn numbers_of_a_column_have_one_form() {
        let shown = table().shown();
        assert_eq!(shown[1].cells, ["0.1950", "−0.7500", "–"]);
        assert_eq!(shown[2].cells, ["126", "14", ""]);
        assert_eq!([shown[0].numeric, shown[1].numeric, shown[2].numeric], [false, true, true]);
        assert_eq!(decimals(&[1e-9, 1.0]), None);
    }

    #[test]
    fn text_is_aligned() {
        let text = table().text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "site           r    n");
        assert_eq!(lines[2], "mlp_out   0.1950  126");
    }
}
