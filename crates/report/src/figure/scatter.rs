//! Scatter plots, such as of actual against predicted values.

use resolvent_field::stats::Pairs;

use super::parts::{self, Sign};
use crate::axis::number::value;
use crate::axis::{Axis, Frame, Inner, Place, Range};
use crate::colour::Paint;
use crate::scene::{Mark, Scene, clean};

/// Points with two values each.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// The title.
    pub title: String,
    /// A line below the title, such as the correlations.
    pub subtitle: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Names of the groups. Each group has a colour and a shape.
    pub groups: Vec<String>,
    /// The points.
    pub points: Vec<Point>,
    /// Whether the line y = x is drawn. It is drawn only if both axes are linear or both are logarithmic.
    pub identity: bool,
    /// Whether both axes have the same range and the plot is a square. This too needs two linear or two logarithmic
    /// axes.
    pub equal: bool,
    /// Sentences below the plot; may say which points are left out.
    pub notes: Vec<String>,
    /// Width of the drawing in pixels.
    pub width: f64,
}

/// A point of a [`Scatter`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// Value on the horizontal axis.
    pub x: f64,
    /// Value on the vertical axis.
    pub y: f64,
    /// Index of its group.
    pub group: usize,
    /// Its name: `h4, " Mary"`.
    pub label: String,
}

/// Most points that are drawn.
pub(crate) const MOST: usize = 4000;
/// Most points beyond the axes that are named below the plot.
const NAMED: usize = 3;

impl Scatter {
    /// Creates a scatter plot of one group, without points.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            x,
            y,
            groups: Vec::new(),
            points: Vec::new(),
            identity: false,
            equal: false,
            notes: Vec::new(),
            width: 440.0,
        }
    }

    /// Makes this a plot of actual against predicted values: equal axes, the line of exact predictions, and
    /// how well they agree as subtitle.
    #[must_use]
    pub fn prediction(mut self) -> Self {
        (self.identity, self.equal) = (true, true);
        self.subtitle = self.agreement();
        self
    }

    /// Returns how well the two values of all points agree, where both are finite: `Pearson 0.93, Spearman 0.91, slope
    /// 1.04, relative error 0.38, n = 126`.
    fn agreement(&self) -> String {
        let finite = self.points.iter().filter(|p| p.x.is_finite() && p.y.is_finite());
        let (predicted, actual) = finite.map(|p| (p.x, p.y)).unzip();
        let pairs = Pairs { predicted, actual };
        let shown = |x: f64| if x.is_nan() { "undefined".to_owned() } else { format!("{x:.3}") };
        let [pearson, spearman, slope, error] =
            [pairs.pearson(), pairs.spearman(), pairs.slope(), pairs.relative_error()].map(shown);
        format!("Pearson {pearson}, Spearman {spearman}, slope {slope}, relative error {error}, n = {}", pairs.len())
    }

    /// Draws the plot.
    pub(crate) fn scene(&self) -> Scene {
        let mut scene = Scene::new(self.width, 0.0);
        let shown: Vec<&Point> = self.points.iter().filter(|p| self.x.shows(p.x) && self.y.shows(p.y)).collect();
        scene.description = format!("Scatter plot: {}. {} points. {}", self.title, shown.len(), self.subtitle);
        let top = parts::heading(&mut scene, &self.title, &self.subtitle);
        let names: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        let top = parts::legend(&mut scene, top, &names, &[Sign::Point]);
        // A linear and a logarithmic axis cannot share a range, and y = x is not straight between them.
        let alike = self.x.log == self.y.log;
        let equal = self.equal && alike;
        let (x, y) = self.ranges(&shown, equal);
        let (outside, inside): (Vec<&Point>, Vec<&Point>) =
            shown.iter().partition(|p| !x.contains(p.x) || !y.contains(p.y));
        let top = parts::outside(&mut scene, top, outside.len());
        let height = if equal { 0.0 } else { self.width * 0.66 };
        let place = Place { left: 0.0, top, width: self.width, height };
        let frame = Frame::draw(&mut scene, place, (&self.x, x), (&self.y, y));
        if self.identity && alike {
            let (low, high) = (x.low.max(y.low), x.high.min(y.high));
            if low < high {
                let [from, to] = [low, high].map(|v| (frame.x(v), frame.y(v)));
                let line = Mark::line("identity", from, to).stroke(Paint::Axis, 1.5);
                scene.add(line.dash(Some([5.0, 4.0])).hover("y = x"));
            }
        }
        let drawn = thin(inside.len(), MOST - outside.len(), |i| (inside[i].x, inside[i].y));
        // If there are many points, they are small and translucent, so that they hide each other less.
        let (radius, opacity) = if drawn.len() > 600 { (2.5, 0.6) } else { (4.0, 0.85) };
        for &i in &drawn {
            let point = inside[i];
            let mark = parts::symbol("point", point.group, frame.x(point.x), frame.y(point.y), radius);
            scene.add(mark.opacity(opacity).hover(self.hover_text(point)));
        }
        for point in &outside {
            let (end, from) = ([x.nearest(point.x), y.nearest(point.y)], [point.x, point.y]);
            // Where the point lies from its place at the edge. Pixels count downwards, so the second sign is reversed.
            let side = |i: usize| if from[i] == end[i] { 0.0 } else { (from[i] - end[i]).signum() };
            let mark = parts::arrow("outside", point.group, (frame.x(end[0]), frame.y(end[1])), (side(0), -side(1)));
            scene.add(mark.hover(self.hover_text(point)));
        }
        let mut notes = self.notes.clone();
        if !outside.is_empty() {
            let named = outside.iter().take(NAMED).map(|p| self.hover_text(p)).collect::<Vec<_>>().join("; ");
            let more = if outside.len() > NAMED { ", ..." } else { "" };
            notes.push(format!("beyond the axes: {named}{more}"));
        }
        let count = drawn.len() + outside.len();
        if count < shown.len() {
            notes.push(format!("{count} of {} points are drawn", shown.len()));
        }
        let absent = self.points.len() - shown.len();
        if absent > 0 {
            notes.push(format!("{absent} of {} points have no place on these axes", self.points.len()));
        }
        scene.height = parts::notes(&mut scene, frame.bottom(), &notes);
        scene
    }

    /// Returns the ranges of both axes; `equal` axes have the same range. A few points far from all others lie
    /// outside the ranges, so that they do not compress the others.
    fn ranges(&self, shown: &[&Point], equal: bool) -> (Range, Range) {
        let (x, y): (Vec<f64>, Vec<f64>) = shown.iter().map(|p| (p.x, p.y)).unzip();
        let range = |axis: &Axis, values: &[f64]| match Inner::of(axis, values, shown.len()) {
            Some(Inner { low, high }) => axis.range([low, high]),
            None => axis.range(values.iter().copied()),
        };
        if !equal {
            return (range(&self.x, &x), range(&self.y, &y));
        }
        let (x_axis, both) = (&self.x, [x, y].concat());
        let common = range(x_axis, &both);
        (Range { whole: self.x.whole, ..common }, Range { whole: self.y.whole, ..common })
    }

    fn hover_text(&self, point: &Point) -> String {
        let group = self.groups.get(point.group).filter(|_| self.groups.len() > 1);
        let what = [Some(&point.label), group].into_iter().flatten().filter(|text| !text.is_empty());
        let what = what.map(|text| clean(text)).collect::<Vec<_>>().join(", ");
        let start = if what.is_empty() { String::new() } else { format!("{what}: ") };
        format!("{start}({}, {})", value(point.x), value(point.y))
    }
}

/// Returns the indices of the points to draw if at most `most` of `count` points may be drawn.
///
/// They include the points with extreme values. The rest is an even choice, which depends only on the indices of the
/// points and does not follow their order.
fn thin(count: usize, most: usize, at: impl Fn(usize) -> (f64, f64)) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    if count <= most {
        return all;
    }
    let by = |key: &dyn Fn(usize) -> f64| {
        let order = |a: &usize, b: &usize| key(*a).total_cmp(&key(*b));
        [(0..count).min_by(order), (0..count).max_by(order)]
    };
    let extremes: Vec<usize> = [by(&|i| at(i).0), by(&|i| at(i).1)].into_iter().flatten().flatten().collect();
    all.sort_by_key(|&i| (!extremes.contains(&i), mixed(i as u64)));
    all.truncate(most);
    all.sort_unstable();
    all
}

/// Maps consecutive numbers to numbers without a pattern: the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(i: u64) -> u64 {
    let x = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_extremes_and_is_the_same_each_time() {
        let at = |i: usize| (((i * 7919) % 10_000) as f64, ((i * 104_729) % 10_007) as f64);
        let drawn = thin(10_000, 500, at);
        assert_eq!(drawn.len(), 500);
        assert_eq!(drawn, thin(10_000, 500, at));
        let extremes = |points: &[usize], side: fn((f64, f64)) -> f64| {
            let mut values: Vec<f64> = points.iter().map(|&i| side(at(i))).collect();
            values.sort_by(f64::total_cmp);
            [values[0], values[values.len() - 1]]
        };
        let all: Vec<usize> = (0..10_000).collect();
        for side in [|p: (f64, f64)| p.0, |p: (f64, f64)| p.1] {
            assert_eq!(extremes(&drawn, side), extremes(&all, side));
        }
        // The choice is even: each tenth of the points contributes about a tenth of it.
        for tenth in 0..10 {
            let part = drawn.iter().filter(|&&i| i / 1000 == tenth).count();
            assert!((30..=75).contains(&part), "{tenth}: {part}");
        }
    }
}
