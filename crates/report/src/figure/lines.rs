//! Values along an axis, as lines: errors over amplitudes, gains over levels.

use super::parts::{self, Sign};
use crate::axis::number::value;
use crate::axis::{Axis, Frame, Place, Range};
use crate::colour::Paint;
use crate::scene::{Mark, Scene, clean, font};

/// Series of values over a common axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// The title.
    pub title: String,
    /// A line below the title; may be empty.
    pub subtitle: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The series.
    pub series: Vec<Series>,
    /// Lines across the plot: thresholds, chance, the end of the linear regime.
    pub references: Vec<Reference>,
    /// Whether each point has a symbol.
    pub markers: bool,
    /// Width of the drawing in pixels.
    pub width: f64,
    /// Height of the plot itself in pixels.
    pub height: f64,
}

/// A line of a [`Lines`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, in the order in which they are joined. The line is broken at a point that the axes cannot show.
    pub points: Vec<(f64, f64)>,
    /// Low and high end of an interval about each point; empty without a band.
    pub band: Vec<(f64, f64)>,
}

/// A line across a plot.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reference {
    /// A horizontal line at a value of the vertical axis.
    Level(f64, String),
    /// A vertical line at a value of the horizontal axis.
    Upright(f64, String),
}

/// Most points of a series that have a hover text.
const MOST_HOVERS: usize = 400;

impl Series {
    /// Creates a series without a band.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, band: Vec::new() }
    }

    /// Sets the interval about each point.
    #[must_use]
    pub fn with_band(mut self, band: Vec<(f64, f64)>) -> Self {
        self.band = band;
        self
    }
}

impl Lines {
    /// Creates a plot without series.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            x,
            y,
            series: Vec::new(),
            references: Vec::new(),
            markers: false,
            width: 440.0,
            height: 260.0,
        }
    }

    fn shows(&self, (x, y): (f64, f64)) -> bool {
        self.x.shows(x) && self.y.shows(y)
    }

    /// Draws the plot.
    pub(crate) fn scene(&self) -> Scene {
        let mut scene = Scene::new(self.width, 0.0);
        let names: Vec<&str> = self.series.iter().map(|s| s.name.as_str()).collect();
        scene.description = format!("Line plot: {}. Series: {}.", self.title, names.join(", "));
        let top = parts::heading(&mut scene, &self.title, &self.subtitle);
        let signs: &[Sign] = if self.markers { &[Sign::Line, Sign::Point] } else { &[Sign::Line] };
        let top = parts::legend(&mut scene, top, &names, signs);
        let place = Place { left: 0.0, top, width: self.width, height: self.height };
        let (x, y) = self.ranges();
        let frame = Frame::draw(&mut scene, place, (&self.x, x), (&self.y, y));
        self.series.iter().enumerate().for_each(|(i, series)| self.band(&mut scene, frame, i, series));
        self.series.iter().enumerate().for_each(|(i, series)| self.line(&mut scene, frame, i, series));
        // References are drawn over the series, so that their names are readable.
        self.references(&mut scene, frame);
        let all: usize = self.series.iter().map(|s| s.points.len()).sum();
        let shown = self.series.iter().flat_map(|s| &s.points).filter(|p| self.shows(**p)).count();
        let absent = all - shown;
        let notes = match absent {
            0 => Vec::new(),
            _ => vec![format!("{absent} of {all} points have no place on these axes")],
        };
        scene.height = parts::notes(&mut scene, frame.bottom(), &notes);
        scene
    }

    fn ranges(&self) -> (Range, Range) {
        let points = || self.series.iter().flat_map(|s| s.points.iter().copied()).filter(|p| self.shows(*p));
        let bands = self.series.iter().flat_map(|s| s.band.iter().flat_map(|&(low, high)| [low, high]));
        let level = self.references.iter().filter_map(|r| match r {
            Reference::Level(at, _) => Some(*at),
            Reference::Upright(..) => None,
        });
        let upright = self.references.iter().filter_map(|r| match r {
            Reference::Upright(at, _) => Some(*at),
            Reference::Level(..) => None,
        });
        let x = self.x.range(points().map(|p| p.0).chain(upright));
        let y = self.y.range(points().map(|p| p.1).chain(bands).chain(level));
        (x, y)
    }

    fn band(&self, scene: &mut Scene, frame: Frame, i: usize, series: &Series) {
        let ends: Vec<_> = series.points.iter().zip(&series.band).collect();
        let shown = |&(p, b): &(&(f64, f64), &(f64, f64))| self.x.shows(p.0) && self.y.shows(b.0) && self.y.shows(b.1);
        for part in ends.split(|end| !shown(end)).filter(|part| part.len() > 1) {
            let upper = part.iter().map(|(p, b)| (frame.x(p.0), frame.y(b.1)));
            let lower = part.iter().rev().map(|(p, b)| (frame.x(p.0), frame.y(b.0)));
            let corners: Vec<_> = upper.chain(lower).collect();
            scene.add(Mark::polygon("band", &corners).fill(Paint::Series(i)).opacity(0.18));
        }
    }

    fn line(&self, scene: &mut Scene, frame: Frame, i: usize, series: &Series) {
        let at = |&(x, y): &(f64, f64)| (frame.x(x), frame.y(y));
        for part in series.points.split(|p| !self.shows(*p)).filter(|part| !part.is_empty()) {
            let mut points: Vec<_> = part.iter().map(at).collect();
            if let [(x, y)] = points[..] {
                // A single point is drawn as a short line, because a line without length is invisible.
                points = vec![(x - 3.0, y), (x + 3.0, y)];
            }
            scene.add(parts::line("series", i, points, !self.markers));
        }
        let every = series.points.len().div_ceil(MOST_HOVERS).max(1);
        for (p, point) in series.points.iter().enumerate().filter(|(_, point)| self.shows(**point)) {
            let ((x, y), hovers) = (at(point), p % every == 0);
            let mark = match self.markers {
                true => parts::symbol("point", i, x, y, 4.0),
                false if hovers => Mark::circle("find", x, y, 6.0),
                false => continue,
            };
            scene.add(if hovers { mark.hover(hover_text(series, p)) } else { mark });
        }
    }

    /// Returns the ends of a line across the frame; `None` if its axis cannot show it.
    fn across(&self, frame: Frame, reference: &Reference) -> Option<[(f64, f64); 2]> {
        let Place { left, top, width, height } = frame.inside;
        match *reference {
            Reference::Level(at, _) if self.y.shows(at) => Some([(left, frame.y(at)), (left + width, frame.y(at))]),
            Reference::Upright(at, _) if self.x.shows(at) => Some([(frame.x(at), top), (frame.x(at), top + height)]),
            _ => None,
        }
    }

    /// Draws the reference lines, then their names, so that no line crosses the name of another.
    fn references(&self, scene: &mut Scene, frame: Frame) {
        let shown = || self.references.iter().filter_map(|r| Some((r, self.across(frame, r)?)));
        for (_, [from, to]) in shown() {
            scene.add(Mark::line("reference", from, to).stroke(Paint::Ink, 1.0).dash(Some([4.0, 3.0])));
        }
        for (reference, [from, to]) in shown() {
            let (Reference::Level(_, name) | Reference::Upright(_, name)) = reference;
            let name = font::cut(&clean(name), 11.0, false, frame.inside.width * 0.7);
            let long = font::width(&name, 11.0, false);
            let places = match reference {
                Reference::Level(..) => [(to.0 - 4.0 - long, to.1 - 5.0), (from.0 + 4.0, to.1 - 5.0)],
                Reference::Upright(..) => [(from.0 + 5.0, from.1 + 12.0), (from.0 - 5.0 - long, from.1 + 12.0)],
            };
            let (x, y) = self.free(frame, places, long);
            scene.add(Mark::text("reference", x, y, name).size(11.0).rim());
        }
    }

    /// Chooses, of two places for a name (left end and baseline), the one inside the frame that hides fewer points.
    fn free(&self, frame: Frame, places: [(f64, f64); 2], long: f64) -> (f64, f64) {
        let Place { left, width, .. } = frame.inside;
        let hidden = |&(x, y): &(f64, f64)| {
            let points = self.series.iter().flat_map(|s| &s.points).filter(|p| self.shows(**p));
            let under = |p: &&(f64, f64)| {
                let (px, py) = (frame.x(p.0), frame.y(p.1));
                (x - 4.0..=x + long + 4.0).contains(&px) && (y - 14.0..=y + 6.0).contains(&py)
            };
            points.filter(under).count()
        };
        let inside = places.iter().filter(|(x, _)| *x >= left && x + long <= left + width);
        inside.min_by_key(|place| hidden(place)).copied().unwrap_or(places[0])
    }
}

fn hover_text(series: &Series, p: usize) -> String {
    let (x, y) = series.points[p];
    let band =
        series.band.get(p).map_or_else(String::new, |(low, high)| format!(" [{}, {}]", value(*low), value(*high)));
    let name = clean(&series.name);
    let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
    format!("{name}({}, {}){band}", value(x), value(y))
}
