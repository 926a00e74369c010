//! Heatmaps over layer and token in a terminal, with token labels.

use std::fmt::Write;

use resolvent_field::Array;

use super::visible::{is_invisible, visible};

/// How cells are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Background colours: blue below zero, red above.
    Colour,
    /// Shades of text, for pipes and for terminals without colour.
    Plain,
}

/// A `[level, token]` or `[block, token]` array as rows of cells, the last one on top.
pub struct Heatmap<'a> {
    title: &'a str,
    /// What stands before the number of a row.
    row: &'static str,
    levels: usize,
    tokens: usize,
    values: &'a [f32],
    labels: &'a [String],
}

/// Widest label that is shown whole.
const LABEL: usize = 9;
/// Narrowest cell: a number with two digits.
const CELL: usize = 6;

impl<'a> Heatmap<'a> {
    /// A heatmap of `array`, if it has the two axes level (or block) and token; `labels` are the tokens' texts.
    pub fn new(title: &'a str, array: &'a Array, labels: &'a [String]) -> Option<Self> {
        let (row, levels, tokens) = match array.axes[..] {
            [("level", levels), ("token", tokens)] => ("h", levels, tokens),
            [("block", blocks), ("token", tokens)] => ("", blocks, tokens),
            _ => return None,
        };
        Some(Self { title, row, levels, tokens, values: &array.data, labels })
    }

    /// The heatmap as text, cut to the last columns that fit `width` characters.
    pub fn render(&self, style: Style, width: usize) -> String {
        let labels: Vec<String> = (0..self.tokens).map(|t| self.label(t)).collect();
        let cell = labels.iter().map(|l| l.chars().count()).max().unwrap_or(0).clamp(CELL, LABEL) + 1;
        let fit = (width.saturating_sub(6) / cell).max(1);
        let first = self.tokens.saturating_sub(fit);
        let most = self.values.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f32::max);
        let scale = scale_of(most);

        let mut out = String::new();
        let note = if first > 0 { format!(", tokens {first} to {}", self.tokens - 1) } else { String::new() };
        let unit = if scale == 0 { String::new() } else { format!(" x 1e{scale}") };
        let _infallible = writeln!(out, "{}{unit}{note}", visible(self.title));
        for level in (0..self.levels).rev() {
            let _infallible = write!(out, "{:>5} ", format!("{}{level}", self.row));
            for t in first..self.tokens {
                let value = self.values[level * self.tokens + t];
                out.push_str(&draw(style, value, most, scale, cell));
            }
            out.push('\n');
        }
        out.push_str("      ");
        for label in &labels[first..] {
            let _infallible = write!(out, "{label:>cell$}");
        }
        out.push('\n');
        out
    }

    /// A token's text, spaces and line ends made visible, cut to fit.
    fn label(&self, t: usize) -> String {
        let text = self.labels.get(t).cloned().unwrap_or_else(|| t.to_string());
        let text: String = text
            .chars()
            .map(|c| {
                if c == ' ' {
                    '·'
                } else if is_invisible(c) {
                    '↵'
                } else {
                    c
                }
            })
            .collect();
        match text.chars().count() > LABEL {
            true => text.chars().take(LABEL - 1).chain(['…']).collect(),
            false => text,
        }
    }
}

/// Power of ten by which the numbers are divided, a multiple of three; 0 where they read well as they are.
fn scale_of(most: f32) -> i32 {
    if most == 0.0 || !most.is_finite() || (0.1..1000.0).contains(&most) {
        return 0;
    }
    (most.log10() / 3.0).floor() as i32 * 3
}

fn draw(style: Style, value: f32, most: f32, scale: i32, cell: usize) -> String {
    let number = format!("{:.2}", f64::from(value) / 10f64.powi(scale));
    let share = if most > 0.0 { (value.abs() / most).min(1.0) } else { 0.0 };
    match style {
        Style::Plain => format!("{number:>cell$}"),
        Style::Colour => {
            let fade = |full: f32| (24.0 + share.sqrt() * (full - 24.0)) as u8;
            let (r, g, b) = if value < 0.0 {
                (fade(40.0), fade(90.0), fade(220.0))
            } else {
                (fade(205.0), fade(60.0), fade(50.0))
            };
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

    #[test]
    fn last_level_is_on_top_and_labels_are_below() {
        let array = array(vec![1.0, 2.0, 3.0, -4.0, 5.0, 6.0]);
        let labels = ["The", " capital", "\n"].map(str::to_owned);
        let text =
            Heatmap::new("norm", &array, &labels).map(|h| h.render(Style::Plain, 80)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("h1") && lines[1].contains("-4.00"), "{text}");
        assert!(lines[3].contains("·capital") && lines[3].contains('↵'), "{text}");
    }

    #[test]
    fn a_narrow_terminal_shows_the_last_tokens() {
        let array = array(vec![1e-5; 6]);
        let labels = ["a", "b", "c"].map(str::to_owned);
        let text =
            Heatmap::new("norm", &array, &labels).map(|h| h.render(Style::Plain, 20)).unwrap_or_default();
        assert!(text.contains("tokens 1 to 2") && text.contains("x 1e-6"), "{text}");
    }

    #[test]
    fn other_axes_have_no_heatmap() {
        let array = Array { name: "x", axes: vec![("d", 3)], data: vec![0.0; 3] };
        assert!(Heatmap::new("x", &array, &[]).is_none());
    }
}
