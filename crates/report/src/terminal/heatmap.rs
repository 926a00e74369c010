//! Heatmaps over levels, blocks or heads, and tokens in a terminal, with token labels.

use std::fmt::Write;

use resolvent_field::Array;

use crate::axis::number::value;
use crate::rows::{names, row_sizes};
use crate::scene::{clean, label};
use crate::tokens::are_from_end;

/// How cells are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Style {
    /// Background colours: blue below zero, red above.
    Colour,
    /// Numbers alone, for pipes and for terminals without colour.
    Plain,
}

/// An array over levels, blocks or heads, and tokens. Each level, block or head is a row of cells; the last row is on
/// top.
pub struct Heatmap<'a> {
    title: &'a str,
    /// Names of all rows, from the bottom up.
    names: Vec<String>,
    /// The rows that are shown, from the bottom up.
    rows: Vec<usize>,
    tokens: usize,
    values: &'a [f32],
    labels: &'a [String],
}

/// Largest width of a label in characters; longer labels are truncated.
const LABEL: usize = 9;
/// Smallest width of a cell in characters: room for a number with two digits, such as `-19.10`.
const CELL: usize = 6;
/// Smallest width of the name of a row, in characters.
const ROW: usize = 5;

impl<'a> Heatmap<'a> {
    /// Creates a heatmap of `array`; `labels` are the texts of the tokens.
    ///
    /// Returns `None` unless the axes are level, block, or block and head, followed by token.
    pub fn new(title: &'a str, array: &'a Array, labels: &'a [String]) -> Option<Self> {
        let names = names(&array.axes)?;
        let (rows, tokens) = ((0..names.len()).collect(), array.axes.last()?.1);
        Some(Self { title, names, rows, tokens, values: &array.data, labels })
    }

    /// Shows only these rows; a note says how large the others are.
    #[must_use]
    pub fn only(mut self, rows: &[usize]) -> Self {
        self.rows = rows.iter().copied().filter(|&row| row < self.names.len()).collect();
        self
    }

    /// Returns the heatmap as text, with only the last columns that fit into `width` characters.
    pub fn render(&self, style: Style, width: usize) -> String {
        self.draw(style, width, self.largest())
    }

    /// Returns as text several heatmaps that are to be compared: their numbers have one unit, and their colours one
    /// scale.
    pub fn together(maps: &[Self], style: Style, width: usize) -> String {
        let most = maps.iter().map(Self::largest).fold(0.0, f32::max);
        maps.iter().map(|map| map.draw(style, width, most)).collect::<Vec<_>>().join("\n")
    }

    /// Returns whether the columns are aligned from the end, as in means over prompts.
    fn is_from_end(&self) -> bool {
        self.labels.len() == self.tokens && are_from_end(self.labels)
    }

    fn largest(&self) -> f32 {
        self.values.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f32::max)
    }

    fn draw(&self, style: Style, width: usize, most: f32) -> String {
        let labels: Vec<String> = (0..self.tokens).map(|t| self.label(t)).collect();
        let wide = |texts: &[String]| texts.iter().map(|l| l.chars().count()).max().unwrap_or(0);
        let cell = wide(&labels).clamp(CELL, LABEL) + 1;
        let left = wide(&self.names).max(ROW);
        let fit = (width.saturating_sub(left + 1) / cell).max(1);
        let first = self.tokens.saturating_sub(fit);
        let scale = scale_of(most);

        let mut out = String::new();
        let _infallible = writeln!(out, "{}", clean(self.title));
        let notes = self.notes(scale, first);
        if !notes.is_empty() {
            let _infallible = writeln!(out, "({})", notes.join("; "));
        }
        for &row in self.rows.iter().rev() {
            let _infallible = write!(out, "{:>left$} ", self.names[row]);
            for value in &self.values[row * self.tokens..][first..self.tokens] {
                out.push_str(&painted(style, *value, most, scale, cell));
            }
            out.push('\n');
        }
        let mut below = |texts: &mut dyn Iterator<Item = String>| {
            let _infallible = write!(out, "{:left$} ", "");
            texts.for_each(|text| out.push_str(&format!("{text:>cell$}")));
            out.push('\n');
        };
        if !self.is_from_end() {
            below(&mut (first..self.tokens).map(|t| t.to_string()));
        }
        below(&mut labels[first..].iter().cloned());
        out
    }

    /// Returns notes about the unit of the numbers, and about tokens and rows that are not shown.
    fn notes(&self, scale: i32, first: usize) -> Vec<String> {
        let mut notes = Vec::new();
        if scale != 0 {
            notes.push(format!("numbers below are in units of 1e{scale}"));
        }
        if first > 0 {
            let (last, all) = (self.tokens - 1, self.tokens);
            notes.push(match self.is_from_end() {
                true => format!("tokens -{} to -1 of {all}", all - first),
                false => format!("tokens {first} to {last} of {all}"),
            });
        }
        if self.rows.len() < self.names.len() {
            let sizes = row_sizes(self.values, self.tokens);
            let hidden = sizes.iter().enumerate().filter(|(row, _)| !self.rows.contains(row));
            let most = hidden.fold(0.0, |most, (_, size)| f32::max(most, *size));
            let (shown, all) = (self.rows.len(), self.names.len());
            notes.push(format!("{shown} of {all} rows; the others are at most {}", value(most.into())));
        }
        notes
    }

    /// Returns the text of a token, truncated to fit, with spaces and line ends made visible.
    fn label(&self, t: usize) -> String {
        let text = label(&self.labels.get(t).cloned().unwrap_or_else(|| t.to_string()));
        match text.chars().count() > LABEL {
            true => text.chars().take(LABEL - 1).chain(['…']).collect(),
            false => text,
        }
    }
}

/// Returns the power of ten, a multiple of three, by which numbers up to `most` are divided; 0 if they are readable
/// undivided.
fn scale_of(most: f32) -> i32 {
    if most == 0.0 || !most.is_finite() || (0.1..1000.0).contains(&most) {
        return 0;
    }
    (most.log10() / 3.0).floor() as i32 * 3
}

/// Formats the number of a cell. An exact zero has no decimals, and a number that is rounded to zero has no sign.
fn number(value: f32, scale: i32) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{:.2}", f64::from(value) / 10f64.powi(scale));
    let zero = value.is_finite() && !text.contains(|c| ('1'..='9').contains(&c));
    if zero { text.trim_start_matches('-').to_owned() } else { text }
}

fn painted(style: Style, value: f32, most: f32, scale: i32, cell: usize) -> String {
    let number = number(value, scale);
    let share = if most > 0.0 { (value.abs() / most).min(1.0) } else { 0.0 };
    match style {
        Style::Plain => format!("{number:>cell$}"),
        Style::Colour => {
            let fade = |full: f32| (24.0 + share.sqrt() * (full - 24.0)) as u8;
            let (r, g, b) =
                if value < 0.0 { (fade(40.0), fade(90.0), fade(220.0)) } else { (fade(205.0), fade(60.0), fade(50.0)) };
            format!("\x1b[48;2;{r};{g};{b}m\x1b[38;2;240;240;240m{number:>cell$}\x1b[0m")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(data: Vec<f32>) -> Array {
        Array { name: "norm", axes: vec![("level", 2), ("token", 3)], data }
    }

    fn texts<const N: usize>(labels: [&str; N]) -> [String; N] {
        labels.map(str::to_owned)
    }

    fn map<'a>(title: &'a str, array: &'a Array, labels: &'a [String]) -> Heatmap<'a> {
        Heatmap::new(title, array, labels).expect("a map")
    }

    #[test]
    fn last_level_is_on_top_and_positions_and_labels_are_below() {
        let array = array(vec![1.0, 2.0, 3.0, -4.0, 5.0, 6.0]);
        let labels = texts(["The", " capital", "\n"]);
        let text = map("norm", &array, &labels).render(Style::Plain, 80);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("h1") && lines[1].contains("-4.00"), "{text}");
        assert_eq!(lines[3].split_whitespace().collect::<Vec<_>>(), ["0", "1", "2"], "{text}");
        assert_eq!(lines[4].split_whitespace().collect::<Vec<_>>(), ["The", "·capital", "↵"], "{text}");
        // Each position ends in the same column of the terminal as its token.
        assert_eq!(lines[3].find('1').map(|at| at + 1), Some(lines[4].find("l  ").expect("there")), "{text}");
    }

    #[test]
    fn a_narrow_terminal_shows_the_last_tokens() {
        let array = array(vec![1e-5; 6]);
        let labels = texts(["a", "b", "c"]);
        let text = map("norm", &array, &labels).render(Style::Plain, 20);
        assert!(text.contains("(numbers below are in units of 1e-6; tokens 1 to 2 of 3)"), "{text}");
    }

    /// Positions from the start would mislead below the mean of prompts of several lengths.
    #[test]
    fn positions_from_the_end_are_the_only_ones() {
        let array = array(vec![1.0; 6]);
        let labels = texts(["-3", "-2", "-1"]);
        let text = map("mean", &array, &labels).render(Style::Plain, 80);
        let below: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(below, ["           -3     -2     -1"], "{text}");
        let narrow = map("mean", &array, &labels).render(Style::Plain, 20);
        assert!(narrow.contains("(tokens -2 to -1 of 3)"), "{narrow}");
    }

    /// The factor belongs to the cells, not to the numbers of the title.
    #[test]
    fn the_unit_stands_apart_from_the_title() {
        let array = array(vec![-0.0191; 6]);
        let labels = texts(["a", "b", "c"]);
        let text = map("corrupted -0.0191, clean -0.0385", &array, &labels).render(Style::Plain, 80);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "corrupted -0.0191, clean -0.0385");
        assert_eq!(lines[1], "(numbers below are in units of 1e-3)");
        assert!(lines[2].contains("-19.10"), "{text}");
    }

    /// A small map beside a large one has the unit and the colours of the large one.
    #[test]
    fn maps_that_are_compared_have_one_scale() {
        let (large, small) = (array(vec![1.0; 6]), array(vec![0.02; 6]));
        let labels = texts(["a", "b", "c"]);
        let maps = [map("fraction", &large, &labels), map("control", &small, &labels)];
        let text = Heatmap::together(&maps, Style::Plain, 80);
        assert!(!text.contains("units") && text.contains(" 1.00") && text.contains(" 0.02"), "{text}");
        let coloured = Heatmap::together(&maps, Style::Colour, 80);
        let strong = coloured.matches("\x1b[48;2;205;60;50m").count();
        assert_eq!(strong, 6, "the small map is as dark as the large one");
    }

    #[test]
    fn zeros_have_no_sign() {
        let array = array(vec![0.0, -0.0, -1e-4, 1e-4, -0.006, 1.0]);
        let labels = texts(["a", "b", "c"]);
        let text = map("x", &array, &labels).render(Style::Plain, 80);
        let cells: Vec<&str> = text.lines().skip(1).take(2).flat_map(|l| l.split_whitespace().skip(1)).collect();
        assert_eq!(cells, ["0.00", "-0.01", "1.00", "0", "0", "0.00"]);
    }

    #[test]
    fn heads_have_rows_and_few_can_be_chosen() {
        let data = vec![0.0, 1.0, 2.0, 0.5, -3.0, 0.25, 0.0, 0.125];
        let array = Array { name: "effect.z", axes: vec![("block", 2), ("head", 2), ("token", 2)], data };
        let labels = texts(["a", "b"]);
        let whole = map("z", &array, &labels).render(Style::Plain, 80);
        let names: Vec<&str> = whole.lines().skip(1).take(4).filter_map(|l| l.split_whitespace().next()).collect();
        assert_eq!(names, ["L1H1", "L1H0", "L0H1", "L0H0"]);
        let few = map("z", &array, &labels).only(&[1, 2]).render(Style::Plain, 80);
        assert!(few.contains("(2 of 4 rows; the others are at most 1)"), "{few}");
        assert!(few.contains("L1H0") && !few.contains("L1H1"), "{few}");
    }

    #[test]
    fn other_axes_have_no_heatmap() {
        let array = Array { name: "x", axes: vec![("d", 3)], data: vec![0.0; 3] };
        assert!(Heatmap::new("x", &array, &[]).is_none());
    }
}
