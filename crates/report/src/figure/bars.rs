//! Estimates by category with their intervals, as horizontal bars or as dots. Each category is a row, so that its
//! name is horizontal, even if it is long.

use super::parts::{self, Sign};
use crate::axis::number::{self, value};
use crate::axis::{Axis, Range, crisp};
use crate::colour::Paint;
use crate::scene::{Anchor, Mark, Scene, clean, font};

/// Estimates of several groups in several categories.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// The title.
    pub title: String,
    /// A line below the title; may say what the intervals are.
    pub subtitle: String,
    /// The axis of the estimates.
    pub axis: Axis,
    /// Names of the groups, such as two methods.
    pub groups: Vec<String>,
    /// The categories, from top to bottom.
    pub categories: Vec<Category>,
    /// Whether dots are drawn instead of bars: for values whose distance from zero does not matter.
    pub dots: bool,
    /// Vertical lines across the plot, with their names: chance, a threshold.
    pub references: Vec<(f64, String)>,
    /// Sentences below the plot; may say why an estimate is missing.
    pub notes: Vec<String>,
    /// Width of the drawing in pixels.
    pub width: f64,
}

/// A category of a [`Bars`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Category {
    /// Its name.
    pub name: String,
    /// An estimate for each group; the place of a `None` is left empty.
    pub estimates: Vec<Option<Estimate>>,
}

/// A value, with an interval if one is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// The low and the high end of the interval.
    pub interval: Option<(f64, f64)>,
}

impl Estimate {
    /// Creates an estimate without an interval.
    pub fn new(value: f64) -> Self {
        Self { value, interval: None }
    }

    /// Creates an estimate with an interval from `low` to `high`.
    pub fn within(value: f64, low: f64, high: f64) -> Self {
        Self { value, interval: Some((low, high)) }
    }

    fn text(&self) -> String {
        let interval =
            self.interval.map_or_else(String::new, |(low, high)| format!(" [{}, {}]", value(low), value(high)));
        format!("{}{interval}", value(self.value))
    }
}

/// Most estimates that a note names.
const NAMED: usize = 6;

/// Height of a bar, and space between categories, in pixels.
const BAR: f64 = 16.0;
const BETWEEN: f64 = 10.0;
/// Most lines of a category's name, and the height of a line.
const NAME_LINES: usize = 3;
const NAME_LINE: f64 = 15.0;

impl Bars {
    /// Creates a plot without categories.
    pub fn new(title: impl Into<String>, axis: Axis) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            axis,
            groups: Vec::new(),
            categories: Vec::new(),
            dots: false,
            references: Vec::new(),
            notes: Vec::new(),
            width: 440.0,
        }
    }

    /// Returns the estimates of a category that the axis can show, with the indices of their groups.
    fn shown<'a>(&'a self, category: &'a Category) -> impl Iterator<Item = (usize, &'a Estimate)> {
        let estimates = category.estimates.iter().enumerate();
        estimates.filter_map(|(g, e)| e.as_ref().map(|e| (g, e))).filter(|(_, e)| self.axis.shows(e.value))
    }

    fn range(&self) -> Range {
        let estimates = self.categories.iter().flat_map(|c| self.shown(c)).map(|(_, e)| e);
        let values = estimates.flat_map(|e| {
            let (low, high) = e.interval.unwrap_or((e.value, e.value));
            [e.value, low, high]
        });
        let range = self.axis.range(values.chain(self.references.iter().map(|(at, _)| *at)));
        if self.dots { range } else { range.with_zero() }
    }

    /// Draws the plot.
    pub(crate) fn scene(&self) -> Scene {
        let mut scene = Scene::new(self.width, 0.0);
        let (count, groups) = (self.categories.len(), self.groups.join(", "));
        scene.description = format!("Estimates: {}. {count} categories. {groups}", self.title);
        let top = parts::heading(&mut scene, &self.title, &self.subtitle);
        let names: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        let sign = if self.dots { Sign::Point } else { Sign::Bar };
        let top = parts::legend(&mut scene, top, &names, &[sign]);
        // Names of references need a line of their own above the plot.
        let top = top + if self.references.is_empty() { 4.0 } else { 18.0 };
        let most = self.width * 0.4;
        let wrapped = |c: &Category| font::wrap(&clean(&c.name), 12.0, false, most, NAME_LINES);
        let names: Vec<Vec<String>> = self.categories.iter().map(wrapped).collect();
        let left = names.iter().flatten().map(|n| font::room(n, 12.0, false)).fold(0.0, f64::max) + 12.0;
        let across = Across { left, width: self.width - left - 14.0, range: self.range() };
        let lines = names.iter().map(Vec::len).max().unwrap_or(0) as f64;
        let lanes = self.lanes() as f64 * BAR;
        let row = f64::max(lanes, lines * NAME_LINE) + BETWEEN;
        let bottom = top + row * self.categories.len() as f64;
        self.grid(&mut scene, &across, top, bottom);
        for (i, (category, name)) in self.categories.iter().zip(names).enumerate() {
            let y = top + row * i as f64;
            if i > 0 {
                let line = Mark::line("grid", (0.0, crisp(y)), (across.left + across.width, crisp(y)));
                scene.add(line.stroke(Paint::Rule, 1.0));
            }
            let first = y + row / 2.0 + 4.0 - NAME_LINE * (name.len() - 1) as f64 / 2.0;
            for (i, line) in name.into_iter().enumerate() {
                let line = Mark::text("row", left - 12.0, first + NAME_LINE * i as f64, line);
                scene.add(line.anchor(Anchor::End).hover(clean(&category.name)));
            }
            for (group, estimate) in self.shown(category) {
                let middle = y + (row - lanes) / 2.0 + (group as f64 + 0.5) * BAR;
                self.estimate(&mut scene, &across, middle, (category, group), estimate);
            }
        }
        let notes: Vec<String> = self.absent().into_iter().chain(self.notes.iter().cloned()).collect();
        scene.height = parts::notes(&mut scene, bottom + 40.0, &notes);
        scene
    }

    /// Returns a note that names the estimates that the axis cannot show: those without a value, and those that have
    /// no logarithm. Without such estimates, there is no note.
    fn absent(&self) -> Vec<String> {
        let of = |c: &Category| -> Vec<(String, bool)> {
            let present = c.estimates.iter().enumerate().filter_map(|(g, e)| e.as_ref().map(|e| (g, e)));
            present.map(|(g, e)| (self.named(c, g), self.axis.shows(e.value))).collect()
        };
        let all: Vec<(String, bool)> = self.categories.iter().flat_map(of).collect();
        let absent: Vec<&str> = all.iter().filter(|(_, shown)| !shown).map(|(name, _)| name.as_str()).collect();
        let (n, all) = (absent.len(), all.len());
        match n {
            0 => Vec::new(),
            _ => {
                let more = if n > NAMED { format!("; and {} more", n - NAMED) } else { String::new() };
                let named = absent[..n.min(NAMED)].join("; ");
                vec![format!("{n} of {all} estimates have no place on this axis: {named}{more}")]
            }
        }
    }

    /// Returns the name of an estimate: its category and, if there are several groups, its group.
    fn named(&self, category: &Category, group: usize) -> String {
        let groups = self.groups.get(group).filter(|_| self.groups.len() > 1);
        let what = [Some(&category.name), groups].into_iter().flatten().map(|text| clean(text));
        what.collect::<Vec<_>>().join(", ")
    }

    /// Returns the number of bars for which each category has room.
    fn lanes(&self) -> usize {
        let most = self.categories.iter().map(|c| c.estimates.len()).max().unwrap_or(0);
        most.max(self.groups.len()).max(1)
    }

    fn grid(&self, scene: &mut Scene, across: &Across, top: f64, bottom: f64) {
        let (ticks, power) = across.range.ticks((across.width / 64.0).clamp(2.0, 8.0) as usize);
        let mut free = f64::NEG_INFINITY;
        for tick in ticks {
            let x = across.x(tick.at);
            let paint = if tick.at == 0.0 && !across.range.log { Paint::Axis } else { Paint::Rule };
            scene.add(Mark::line("grid", (crisp(x), top), (crisp(x), bottom)).stroke(paint, 1.0));
            let half = font::width(&tick.label, 11.0, false) / 2.0;
            if x - half >= free {
                free = x + half + 8.0;
                let label = Mark::text("tick", x, bottom + 16.0, tick.label).size(11.0);
                scene.add(label.fill(Paint::Muted).anchor(Anchor::Middle));
            }
        }
        for (at, name) in self.references.iter().filter(|(at, _)| self.axis.shows(*at)) {
            let x = across.x(*at);
            let line = Mark::line("reference", (x, top - 4.0), (x, bottom));
            scene.add(line.stroke(Paint::Ink, 1.0).dash(Some([4.0, 3.0])));
            let name = font::cut(&clean(name), 11.0, false, self.width * 0.6);
            let half = font::width(&name, 11.0, false) / 2.0;
            let x = x.clamp(half.min(self.width / 2.0), (self.width - half).max(self.width / 2.0));
            scene.add(Mark::text("reference", x, top - 8.0, name).size(11.0).anchor(Anchor::Middle));
        }
        let unit = if power == 0 { String::new() } else { format!(" (×{})", number::power_of_ten(power)) };
        let name = font::cut(&clean(&self.axis.label), 12.0, false, self.width - 70.0);
        let name = Mark::text("axis", across.left + across.width, bottom + 34.0, format!("{name}{unit} →"));
        scene.add(name.fill(Paint::Muted).anchor(Anchor::End));
    }

    fn estimate(
        &self,
        scene: &mut Scene,
        across: &Across,
        middle: f64,
        (category, group): (&Category, usize),
        estimate: &Estimate,
    ) {
        let x = across.x(estimate.value);
        let hover = format!("{}: {}", self.named(category, group), estimate.text());
        if !self.dots {
            let from = across.x(if across.range.log { across.range.low } else { 0.0 });
            let size = [from.min(x), middle - BAR / 2.0 + 1.0, (x - from).abs(), BAR - 2.0];
            scene.add(Mark::rect("bar", size).fill(Paint::Series(group)).hover(hover.clone()));
        }
        if let Some((low, high)) = estimate.interval.filter(|i| self.axis.shows(i.0) && self.axis.shows(i.1)) {
            let paint = if self.dots { Paint::Series(group) } else { Paint::Ink };
            let (low, high) = (across.x(low), across.x(high));
            let width = if self.dots { 2.0 } else { 1.5 };
            let mark = Mark::line("interval", (low, middle), (high, middle));
            scene.add(mark.stroke(paint, width).hover(hover.clone()));
            for end in [low, high] {
                let mark = Mark::line("interval", (end, middle - 3.5), (end, middle + 3.5));
                scene.add(mark.stroke(paint, width));
            }
        }
        if self.dots {
            scene.add(parts::symbol("point", group, x, middle, 5.0).hover(hover));
        }
    }
}

/// The horizontal axis of the plot, in pixels.
struct Across {
    left: f64,
    width: f64,
    range: Range,
}

impl Across {
    fn x(&self, value: f64) -> f64 {
        self.left + self.range.share(value) * self.width
    }
}
