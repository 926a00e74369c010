//! Heatmaps: values over rows and columns, such as levels and tokens, as coloured cells.

use super::parts;
use crate::axis::number::{minus, power, value};
use crate::colour::{Map, Paint};
use crate::figure::scale_bar;
use crate::scene::{Anchor, Mark, Scene, clean, font, label, token};
use crate::tokens::are_from_end;

/// Values over rows and columns, as coloured cells. The first row, such as level 0, is at the bottom.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// The title.
    pub title: String,
    /// A line below the title; may be empty.
    pub subtitle: String,
    /// Names of the rows from the bottom up: `h0`, `h1`, ...
    pub rows: Vec<String>,
    /// Names of the columns from the left.
    pub columns: Vec<String>,
    /// Whether columns are tokens: spaces in their names are made visible, and their positions are shown, unless the
    /// names are positions from the end.
    pub tokens: bool,
    /// The values `[rows, columns]`, row-major. NaN is drawn as no value.
    pub values: Vec<f32>,
    /// How values become colours.
    pub map: Map,
    /// Name of the colour scale, with the unit.
    pub unit: String,
    /// Magnitude at the end of the colour scale, for maps that are to be compared; `None` takes the largest of the
    /// values.
    pub limit: Option<f32>,
    /// Cells with an outline, as (row, column).
    pub marked: Vec<(usize, usize)>,
    /// What the outline means, for the legend.
    pub marked_as: String,
    /// Whether numbers are printed in the cells, provided that all of them fit.
    pub numbers: bool,
    /// Largest width of the drawing in pixels. The drawing is wider if cells would be too narrow otherwise.
    pub width: f64,
}

/// Default of the largest width of a drawing, and the smallest and largest width of a cell, in pixels.
const WIDTH: f64 = 880.0;
const CELL: (f64, f64) = (13.0, 46.0);
/// Font sizes of numbers in cells and of labels.
const NUMBER: f64 = 11.0;
const LABEL: f64 = 12.0;
/// Largest width of the label of a column or row. Longer labels are truncated; hover texts of cells show them in full.
const LONGEST: f64 = 92.0;
/// Most cells that have hover texts: with more, a page would be slow.
const MOST_HOVERS: usize = 20_000;

impl Heatmap {
    /// Creates a heatmap of values `[rows, columns]` whose columns are tokens.
    pub fn new(title: impl Into<String>, rows: Vec<String>, columns: Vec<String>, values: Vec<f32>) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            rows,
            columns,
            tokens: true,
            values,
            map: Map::Diverging,
            unit: String::new(),
            limit: None,
            marked: Vec::new(),
            marked_as: String::new(),
            numbers: true,
            width: WIDTH,
        }
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        self.values.get(row * self.columns.len() + column).copied().unwrap_or(f32::NAN)
    }

    /// Returns the values at both ends of the colour scale.
    fn ends(&self) -> (f64, f64) {
        let finite = self.values.iter().copied().filter(|v| v.is_finite()).map(f64::from);
        let (least, most) = finite.fold((0.0, 0.0), |(a, b): (f64, f64), v| (a.min(v), b.max(v)));
        let most = self.limit.map_or(most.max(-least), f64::from);
        // Values that are all zero need a scale too.
        let most = if most > 0.0 { most } else { 1.0 };
        match self.map {
            Map::Diverging => (-most, most),
            Map::Sequential => (least, most),
        }
    }

    /// Returns the step of the colour map for a value.
    fn step(&self, value: f32) -> u8 {
        let (low, high) = self.ends();
        self.map.step(match self.map {
            Map::Diverging => f64::from(value) / high,
            Map::Sequential => (f64::from(value) - low) / (high - low),
        })
    }

    /// Draws the heatmap.
    pub(crate) fn scene(&self) -> Scene {
        let plan = Layout::of(self);
        let mut scene = Scene::new(plan.width(), 0.0);
        scene.description = self.description();
        let top = parts::heading(&mut scene, &self.title, &self.subtitle);
        let top = scale_bar::draw(&mut scene, top, (self.map, self.ends()), &self.unit, &self.key());
        self.cells(&mut scene, &plan, top);
        self.outlines(&mut scene, &plan, top);
        self.row_names(&mut scene, &plan, top);
        let bottom = top + plan.cell.1 * self.rows.len() as f64;
        self.positions(&mut scene, &plan, bottom + 6.0);
        self.column_names(&mut scene, &plan, bottom + 6.0 + plan.positions());
        let hovers = self.rows.len() * self.columns.len() <= MOST_HOVERS;
        let note = format!("more than {MOST_HOVERS} cells: values are in the result file, not under the pointer");
        let notes = if hovers { Vec::new() } else { vec![note] };
        scene.height = parts::notes(&mut scene, bottom + 6.0 + plan.positions() + plan.below, &notes);
        scene
    }

    fn description(&self) -> String {
        let finite = self.values.iter().copied().filter(|v| v.is_finite());
        let (least, most) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let (rows, columns) = (self.rows.len(), self.columns.len());
        let range = match least <= most {
            true => format!("values from {} to {}", value(least.into()), value(most.into())),
            false => "no values".to_owned(),
        };
        format!("Heatmap: {}. {rows} rows by {columns} columns, {range}.", self.title)
    }

    /// Returns the content of the legend: what the outline means, and whether there are cells without a value.
    fn key(&self) -> scale_bar::Key<'_> {
        scale_bar::Key {
            outline: (!self.marked.is_empty()).then_some(self.marked_as.as_str()),
            void: self.values.iter().any(|v| v.is_nan()),
        }
    }

    fn cells(&self, scene: &mut Scene, plan: &Layout, top: f64) {
        let hovers = self.rows.len() * self.columns.len() <= MOST_HOVERS;
        let from_end = are_from_end(&self.columns);
        let mut voids = Vec::new();
        for row in (0..self.rows.len()).rev() {
            for column in 0..self.columns.len() {
                let (x, y) = plan.corner(self.rows.len(), top, row, column);
                let value = self.at(row, column);
                let [width, height] = [plan.cell.0 - plan.gap, plan.cell.1 - plan.gap];
                let paint = match value.is_nan() {
                    true => Paint::Void,
                    false => Paint::Cell(self.map, self.step(value)),
                };
                let class = if value.is_nan() { "cell none" } else { "cell" };
                let mut mark = Mark::rect(class, [x, y, width, height]).fill(paint);
                if hovers {
                    let name = match self.tokens && !from_end {
                        true => token(column, &self.columns[column]),
                        false => clean(&self.columns[column]),
                    };
                    mark = mark.hover(format!("{}, {name}: {}", clean(&self.rows[row]), number(value)));
                }
                scene.add(mark);
                if value.is_nan() {
                    voids.extend(scale_bar::slash([x, y, width, height]));
                } else if plan.numbers {
                    let text = plan.number(value);
                    let number = Mark::text("number", x + width / 2.0, y + height / 2.0 + 4.0, text);
                    // Exact zeros, such as places that a source cannot reach, are less conspicuous.
                    let zero = value == 0.0;
                    let paint = if zero { Paint::Muted } else { Paint::OnCell(self.map, self.step(value)) };
                    scene.add(number.size(NUMBER).anchor(Anchor::Middle).fill(paint));
                }
            }
        }
        if !voids.is_empty() {
            scene.add(Mark::path("void", voids).stroke(Paint::Axis, 1.0));
        }
    }

    fn outlines(&self, scene: &mut Scene, plan: &Layout, top: f64) {
        for &(row, column) in &self.marked {
            if row < self.rows.len() && column < self.columns.len() {
                let (x, y) = plan.corner(self.rows.len(), top, row, column);
                let size = [x, y, plan.cell.0 - plan.gap, plan.cell.1 - plan.gap];
                scene.add(Mark::rect("marked", size).stroke(Paint::Ink, 2.0));
            }
        }
    }

    fn row_names(&self, scene: &mut Scene, plan: &Layout, top: f64) {
        // If rows are thinner than a line of text, only every few rows have a name.
        let every = (13.0 / plan.cell.1).ceil() as usize;
        for (row, name) in self.rows.iter().enumerate().filter(|(row, _)| row % every == 0) {
            let y = plan.corner(self.rows.len(), top, row, 0).1 + plan.cell.1 / 2.0 + 3.5;
            let name = font::cut(&clean(name), LABEL, false, LONGEST);
            let mark = Mark::text("row", plan.left - 8.0, y, name).size(LABEL).fill(Paint::Muted);
            scene.add(mark.anchor(Anchor::End));
        }
    }

    /// Draws the positions of tokens, if there is room for them.
    fn positions(&self, scene: &mut Scene, plan: &Layout, top: f64) {
        let Some(every) = plan.position_every else { return };
        for column in (0..self.columns.len()).step_by(every) {
            let mark = Mark::text("position", plan.middle(column), top + 9.0, column.to_string()).size(NUMBER);
            scene.add(mark.fill(Paint::Muted).anchor(Anchor::Middle));
        }
    }

    fn column_names(&self, scene: &mut Scene, plan: &Layout, top: f64) {
        for (column, name) in plan.names.iter().enumerate().filter(|(column, _)| column % plan.name_every == 0) {
            let x = plan.middle(column);
            let mark = |dx: f64, dy: f64| Mark::text("column", x + dx, top + dy, name.clone()).size(LABEL);
            let mark = match plan.turn {
                0.0 => mark(0.0, 11.0).anchor(Anchor::Middle),
                turn if turn > -60.0 => mark(4.0, 8.0).anchor(Anchor::End).turn(turn),
                turn => mark(4.0, 2.0).anchor(Anchor::End).turn(turn),
            };
            scene.add(mark);
        }
    }
}

fn number(x: f32) -> String {
    value(x.into())
}

/// Sizes that depend on the number of cells and on the lengths of their names.
struct Layout {
    /// Left end of the cells.
    left: f64,
    /// Width and height of a cell with its gap.
    cell: (f64, f64),
    gap: f64,
    columns: usize,
    names: Vec<String>,
    /// Degrees by which names of columns are rotated.
    turn: f64,
    /// Distance between named columns: 1 if all are named.
    name_every: usize,
    /// Distance between columns with their position below; `None` if no column has one.
    position_every: Option<usize>,
    /// Height of the names of columns.
    below: f64,
    numbers: bool,
    /// Power of ten by which the printed numbers are divided, and their decimals.
    power: i32,
    decimals: usize,
}

impl Layout {
    fn of(map: &Heatmap) -> Self {
        let shown = |name: &String| if map.tokens { label(name) } else { clean(name) };
        let names: Vec<String> =
            map.columns.iter().map(|name| font::cut(&shown(name), LABEL, false, LONGEST)).collect();
        let longest = names.iter().map(|n| font::width(n, LABEL, false)).fold(0.0, f64::max);
        let rows: Vec<String> = map.rows.iter().map(|name| font::cut(&clean(name), LABEL, false, LONGEST)).collect();
        let (columns, count) = (map.columns.len().max(1), map.rows.len());
        let least = if columns > 200 { CELL.0 / 3.0 } else { CELL.0 };
        let wide = ((map.width - 60.0) / columns as f64).clamp(least, CELL.1);
        let high = if count > 64 {
            8.0
        } else if count > 30 {
            16.0
        } else {
            24.0
        };
        let mut plan = Self {
            left: rows.iter().map(|n| font::room(n, LABEL, false)).fold(0.0, f64::max) + 8.0,
            cell: (wide.floor().max(least), high),
            gap: if wide < 8.0 { 0.0 } else { 1.0 },
            columns,
            names,
            turn: 0.0,
            name_every: 1,
            position_every: None,
            below: 18.0,
            numbers: false,
            power: 0,
            decimals: 2,
        };
        plan.turn_names(longest);
        if map.tokens && !are_from_end(&map.columns) {
            plan.fit_positions();
        }
        plan.fit_numbers(map);
        plan
    }

    /// Chooses the direction of column names: horizontal if they fit, else rotated. If even rotated names are too
    /// close, only every few columns have a name.
    fn turn_names(&mut self, longest: f64) {
        if longest + 6.0 <= self.cell.0 {
            return;
        }
        let slant = self.cell.0 >= 19.0;
        self.turn = if slant { -45.0 } else { -90.0 };
        self.name_every = (12.5 / self.cell.0).ceil().max(1.0) as usize;
        let part = f64::to_radians(self.turn).sin().abs();
        self.below = longest * part + 14.0;
        if slant {
            // A slanted name extends to the left, below the row names.
            let reach =
                |(i, name): (usize, &String)| font::width(name, LABEL, false) * part - (i as f64 + 0.5) * self.cell.0;
            let reach = self.names.iter().enumerate().map(reach).fold(0.0, f64::max);
            self.left = self.left.max(reach.ceil() + 4.0);
        }
    }

    /// Chooses which positions are shown: all if the widest fits, else every second, fifth, tenth, ...
    fn fit_positions(&mut self) {
        let widest = font::width(&(self.columns - 1).to_string(), NUMBER, false) + 4.0;
        let steps = [1, 2, 5, 10, 20, 50, 100];
        self.position_every = steps.into_iter().find(|&step| widest <= self.cell.0 * step as f64);
    }

    /// Returns the height of the line of positions.
    fn positions(&self) -> f64 {
        if self.position_every.is_some() { 14.0 } else { 0.0 }
    }

    /// Chooses the power of ten and the decimals of numbers, and prints numbers only if the widest fits.
    fn fit_numbers(&mut self, map: &Heatmap) {
        let finite = || map.values.iter().copied().filter(|v| v.is_finite());
        let (low, high) = map.ends();
        self.power = power(high.max(-low));
        // Four digits of the largest number are enough.
        self.decimals = match high.max(-low) / 10f64.powi(self.power) {
            most if most < 99.5 => 2,
            most if most < 999.5 => 1,
            _ => 0,
        };
        let widest = finite().map(|v| font::width(&self.number(v), NUMBER, false)).fold(0.0, f64::max);
        self.numbers = map.numbers && self.cell.1 >= 16.0 && widest + 4.0 <= self.cell.0;
    }

    fn number(&self, value: f32) -> String {
        if value == 0.0 {
            return "0".to_owned();
        }
        let text = format!("{:.*}", self.decimals, f64::from(value) / 10f64.powi(self.power));
        // A negative number that is rounded to zero has no sign.
        minus(if text.contains(|c| ('1'..='9').contains(&c)) { &text } else { text.trim_start_matches('-') })
    }

    /// Returns the horizontal middle of a column.
    fn middle(&self, column: usize) -> f64 {
        self.left + (column as f64 + 0.5) * self.cell.0 - self.gap / 2.0
    }

    /// Returns the top left corner of a cell.
    fn corner(&self, rows: usize, top: f64, row: usize, column: usize) -> (f64, f64) {
        (self.left + column as f64 * self.cell.0, top + (rows - 1 - row) as f64 * self.cell.1)
    }

    fn width(&self) -> f64 {
        // The colour scale and a title need room even if there are only a few columns.
        (self.left + self.columns as f64 * self.cell.0).max(340.0)
    }
}
