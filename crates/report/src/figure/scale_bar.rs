//! The colour scale of a heatmap: its name, the colours from low to high, and ticks.

use crate::axis::number::power_of_ten;
use crate::axis::ticks;
use crate::colour::{LAST, Map, Paint};
use crate::scene::{Anchor, Mark, Scene, Step, clean, font};

/// The content of the legend beside the scale.
pub(crate) struct Key<'a> {
    /// Meaning of outlined cells, if there are any.
    pub(crate) outline: Option<&'a str>,
    /// Whether there are cells without a value.
    pub(crate) void: bool,
}

/// Length and height of the bar, in pixels.
const LENGTH: f64 = 180.0;
const HEIGHT: f64 = 10.0;

/// Draws the scale from `top` on, with the `name` of the coloured quantity; returns where the next part may begin.
pub(crate) fn draw(
    scene: &mut Scene,
    top: f64,
    (map, (low, high)): (Map, (f64, f64)),
    name: &str,
    key: &Key<'_>,
) -> f64 {
    let (found, power) = ticks::linear((low, high), 4, false);
    // Numbers in cells are divided by the same power of ten.
    let name = match (power, name) {
        (0, name) => clean(name),
        (power, "") => format!("×{}", power_of_ten(power)),
        (power, name) => format!("{} (×{})", clean(name), power_of_ten(power)),
    };
    let mut y = top;
    if !name.is_empty() {
        y += 16.0;
        let name = font::cut(&name, 12.0, false, scene.width);
        scene.add(Mark::text("axis", 0.0, y - 5.0, name).fill(Paint::Muted));
    }
    let part = LENGTH / (f64::from(LAST) + 1.0);
    for step in 0..=LAST {
        let x = f64::from(step) * part;
        // Each step extends under the next, so that no seams are visible.
        let width = if step == LAST { part } else { part + 1.0 };
        scene.add(Mark::rect("scale", [x, y, width, HEIGHT]).fill(Paint::Cell(map, step)));
    }
    scene.add(Mark::rect("scale-rim", [0.0, y, LENGTH, HEIGHT]).stroke(Paint::Axis, 0.5));
    for tick in found {
        let x = (tick.at - low) / (high - low) * LENGTH;
        scene.add(Mark::line("grid", (x, y + HEIGHT), (x, y + HEIGHT + 3.0)).stroke(Paint::Axis, 1.0));
        // Labels at the ends stay within the drawing.
        let half = font::width(&tick.label, 11.0, false) / 2.0;
        let (x, anchor) = if x < half { (0.0, Anchor::Start) } else { (x, Anchor::Middle) };
        let label = Mark::text("tick", x, y + HEIGHT + 14.0, tick.label).size(11.0).fill(Paint::Muted);
        scene.add(label.anchor(anchor));
    }
    draw_key(scene, y, key);
    y + HEIGHT + 26.0
}

/// Draws small cells with their meaning, to the right of the bar.
fn draw_key(scene: &mut Scene, y: f64, key: &Key<'_>) {
    let mut x = LENGTH + 28.0;
    let outline = key.outline.map(|text| (text, false));
    let void = key.void.then_some(("no value", true));
    for (text, void) in [outline, void].into_iter().flatten() {
        let text = font::cut(&clean(text), 12.0, false, (scene.width - x - 20.0).max(40.0));
        let (at, width) = ([x, y - 1.0, 14.0, 12.0], font::room(&text, 12.0, false));
        let cell = Mark::rect("key", at);
        if void {
            scene.add(cell.fill(Paint::Void));
            scene.add(Mark::path("void", slash(at).to_vec()).stroke(Paint::Axis, 1.0));
        } else {
            scene.add(cell.stroke(Paint::Ink, 2.0));
        }
        scene.add(Mark::text("legend", x + 20.0, y + 9.0, text));
        x += 20.0 + width + 14.0;
    }
}

/// Returns the stroke through a cell without a value.
pub(crate) fn slash([x, y, width, height]: [f64; 4]) -> [Step; 2] {
    let (x, y, half) = (x + width / 2.0, y + height / 2.0, 0.25 * width.min(height));
    [Step::Move(x - half, y + half), Step::Line(x + half, y - half)]
}
