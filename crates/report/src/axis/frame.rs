//! The frame of a plot with two axes: grid lines, ticks, names, and positions of values.

use super::{Axis, Range, number, ticks::Tick};
use crate::colour::Paint;
use crate::scene::{Anchor, Mark, Scene, clean, font};

/// A rectangle of a drawing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// A drawn frame: its plotting area, and the ranges along its sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) inside: Place,
    x: Range,
    y: Range,
}

/// Size of the labels of ticks, in pixels.
const TICK: f64 = 11.0;
/// Size of the names of axes.
const NAME: f64 = 12.0;
/// Space above the plotting area for the name of the vertical axis, and below it for ticks and the name of the
/// horizontal one.
const ABOVE: f64 = 26.0;
const BELOW: f64 = 40.0;

impl Frame {
    /// Draws a frame at `place`, whose height is that of the plotting area; zero makes the plotting area a square.
    pub(crate) fn draw(scene: &mut Scene, place: Place, x: (&Axis, Range), y: (&Axis, Range)) -> Self {
        let right = 14.0;
        // The number of ticks decides the width of their labels, and so the width of the plotting area. A guess of its
        // height is enough to choose the number.
        let guess = if place.height > 0.0 { place.height } else { place.width - 60.0 };
        let (y_ticks, y_power) = y.1.ticks((guess / 48.0).clamp(2.0, 8.0) as usize);
        let widest = y_ticks.iter().map(|t| font::room(&t.label, TICK, false)).fold(0.0, f64::max);
        let left = place.left + widest + 9.0;
        let width = place.left + place.width - right - left;
        let height = if place.height > 0.0 { place.height } else { width };
        let inside = Place { left, top: place.top + ABOVE, width, height };
        let frame = Self { inside, x: x.1, y: y.1 };
        let (mut x_ticks, x_power) = x.1.ticks((width / 64.0).clamp(2.0, 10.0) as usize);
        frame.unlabel(&mut x_ticks);
        frame.grid(scene, &x_ticks, &y_ticks);
        let name = |axis: &Axis, power: i32, most: f64| {
            let unit = if power == 0 { String::new() } else { format!(" (×{})", number::power_of_ten(power)) };
            let most = most - font::width(&unit, NAME, false) - 20.0;
            format!("{}{unit}", font::cut(&clean(&axis.label), NAME, false, most))
        };
        let label = |x: f64, y: f64, text: String| Mark::text("axis", x, y, text).fill(Paint::Muted).size(NAME);
        scene.add(label(place.left, place.top + 11.0, format!("↑ {}", name(y.0, y_power, place.width))));
        let (end, below) = (left + width, inside.top + height + 34.0);
        let text = format!("{} →", name(x.0, x_power, place.width));
        scene.add(label(end, below, text).anchor(Anchor::End));
        frame
    }

    /// Clears each label that would touch the label before it.
    fn unlabel(&self, ticks: &mut [Tick]) {
        let mut free = f64::NEG_INFINITY;
        for tick in ticks {
            let (at, half) = (self.x(tick.at), font::width(&tick.label, TICK, false) / 2.0);
            if at - half < free {
                tick.label.clear();
            } else {
                free = at + half + 8.0;
            }
        }
    }

    fn grid(&self, scene: &mut Scene, x_ticks: &[Tick], y_ticks: &[Tick]) {
        let Place { left, top, width, height } = self.inside;
        let (right, bottom) = (left + width, top + height);
        let paint = |at: f64, log: bool| if at == 0.0 && !log { Paint::Axis } else { Paint::Rule };
        let label = |x: f64, y: f64, text: &str| Mark::text("tick", x, y, text).size(TICK).fill(Paint::Muted);
        for tick in x_ticks {
            let x = self.x(tick.at);
            let line = Mark::line("grid", (crisp(x), top), (crisp(x), bottom));
            scene.add(line.stroke(paint(tick.at, self.x.log), 1.0));
            scene.add(label(x, bottom + 16.0, &tick.label).anchor(Anchor::Middle));
        }
        for tick in y_ticks {
            let y = self.y(tick.at);
            let line = Mark::line("grid", (left, crisp(y)), (right, crisp(y)));
            scene.add(line.stroke(paint(tick.at, self.y.log), 1.0));
            scene.add(label(left - 7.0, y + 4.0, &tick.label).anchor(Anchor::End));
        }
    }

    /// Returns the horizontal position of a value.
    pub(crate) fn x(&self, value: f64) -> f64 {
        self.inside.left + self.x.share(value) * self.inside.width
    }

    /// Returns the vertical position of a value.
    pub(crate) fn y(&self, value: f64) -> f64 {
        self.inside.top + (1.0 - self.y.share(value)) * self.inside.height
    }

    /// Returns the lower end of everything that the frame drew.
    pub(crate) fn bottom(&self) -> f64 {
        self.inside.top + self.inside.height + BELOW
    }
}

/// Returns the middle of the pixel at a coordinate, where a line of one pixel fills exactly one row of pixels.
pub(crate) fn crisp(at: f64) -> f64 {
    at.floor() + 0.5
}
