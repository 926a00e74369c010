//! Points: predictions against what happened.

use resolvent_field::stats;

use super::parts::{self, Sign};
use crate::axis::number::value;
use crate::axis::{Axis, Frame, Inner, Place, Range};
use crate::colour::Paint;
use crate::scene::{Mark, Scene, clean};

/// Points with two values each.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// What is shown.
    pub title: String,
    /// A line below the title, such as the correlation.
    pub subtitle: String,
    /// The level axis.
    pub x: Axis,
    /// The upright axis.
    pub y: Axis,
    /// Names of groups. Each has a colour and a shape.
    pub groups: Vec<String>,
    /// The points.
    pub points: Vec<Point>,
    /// The line y = x is drawn, on axes of one kind.
    pub identity: bool,
    /// Both axes have one range, if they are of one kind, and the plot is a square.
    pub equal: bool,
    /// Sentences below the plot, such as which points are left out.
    pub notes: Vec<String>,
    /// Width of the drawing in pixels.
    pub width: f64,
}

/// A point of a [`Scatter`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// Along the level axis.
    pub x: f64,
    /// Along the upright axis.
    pub y: f64,
    /// Index of its group.
    pub group: usize,
    /// What it is: `h4, " Mary"`.
    pub label: String,
}

/// Most points that are drawn.
pub(crate) const MOST: usize = 4000;
/// Points beyond the axes that are named below the plot.
const NAMED: usize = 3;

impl Scatter {
    /// A scatter plot of one group, without points yet.
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

    /// Actual values against predicted ones: equal axes, the line on which a prediction holds, and correlations as subtitle.
    #[must_use]
    pub fn prediction(mut self) -> Self {
        (self.identity, self.equal) = (true, true);
        self.subtitle = self.correlations();
        self
    }

    /// The correlations of all points that have both values: `Pearson 0.93, Spearman 0.91, n = 126`.
    pub fn correlations(&self) -> String {
        let (x, y): (Vec<f64>, Vec<f64>) =
            self.points.iter().filter(|p| p.x.is_finite() && p.y.is_finite()).map(|p| (p.x, p.y)).unzip();
        let shown = |r: f64| if r.is_nan() { "undefined".to_owned() } else { format!("{r:.3}") };
        let (pearson, spearman) = (stats::pearson(&x, &y), stats::spearman(&x, &y));
        format!("Pearson {}, Spearman {}, n = {}", shown(pearson), shown(spearman), x.len())
    }

    /// The drawing.
    pub(crate) fn scene(&self) -> Scene {
        let mut scene = Scene::new(self.width, 0.0);
        let shown: Vec<&Point> = self.points.iter().filter(|p| self.x.shows(p.x) && self.y.shows(p.y)).collect();
        scene.description = format!("Scatter plot: {}. {} points. {}", self.title, shown.len(), self.subtitle);
        let top = parts::heading(&mut scene, &self.title, &self.subtitle);
        let names: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        let top = parts::legend(&mut scene, top, &names, &[Sign::Point]);
        // Where one axis is straight and the other is not, they have no range in common and y = x is no line.
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
        // Many points hide each other less when they are small and let each other shine through.
        let (radius, opacity) = if drawn.len() > 600 { (2.5, 0.6) } else { (4.0, 0.85) };
        for &i in &drawn {
            let point = inside[i];
            let mark = parts::symbol("point", point.group, frame.x(point.x), frame.y(point.y), radius);
            scene.add(mark.opacity(opacity).hover(self.told(point)));
        }
        for point in &outside {
            let (end, from) = ([x.nearest(point.x), y.nearest(point.y)], [point.x, point.y]);
            // Which way the point lies from the place at the edge; pixels count downwards.
            let way = |i: usize| if from[i] == end[i] { 0.0 } else { (from[i] - end[i]).signum() };
            let mark = parts::arrow("outside", point.group, (frame.x(end[0]), frame.y(end[1])), (way(0), -way(1)));
            scene.add(mark.hover(self.told(point)));
        }
        let mut notes = self.notes.clone();
        if !outside.is_empty() {
            let named = outside.iter().take(NAMED).map(|p| self.told(p)).collect::<Vec<_>>().join("; ");
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

    /// Ranges of both axes; `equal` ones are one range. Few points that lie far from all others do not flatten those: they
    /// are outside.
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

    fn told(&self, point: &Point) -> String {
        let group = self.groups.get(point.group).filter(|_| self.groups.len() > 1);
        let what = [Some(&point.label), group].into_iter().flatten().filter(|text| !text.is_empty());
        let what = what.map(|text| clean(text)).collect::<Vec<_>>().join(", ");
        let start = if what.is_empty() { String::new() } else { format!("{what}: ") };
        format!("{start}({}, {})", value(point.x), value(point.y))
    }
}

/// Which of `count` points are drawn when at most `most` may be: those with the extreme values, and of the rest an even
/// choice that depends on nothing but the numbers of the points and does not follow their order.
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

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): numbers in a row become numbers without a pattern.
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
        // Even: each tenth of the points has about a tenth of the choice.
        for tenth in 0..10 {
            let part = drawn.iter().filter(|&&i| i / 1000 == tenth).count();
            assert!((30..=75).contains(&part), "{tenth}: {part}");
        }
    }
}
