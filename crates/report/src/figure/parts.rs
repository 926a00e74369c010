//! Parts that several kinds of figures share: headings, legends, notes, lines and symbols.

use crate::colour::{Paint, SERIES};
use crate::scene::{Mark, Scene, clean, font};

/// Font sizes of titles, subtitles and notes.
const TITLE: f64 = 14.0;
const SUBTITLE: f64 = 12.0;
const NOTE: f64 = 11.0;

/// Draws title and subtitle at the top of a scene; returns where the next part may begin.
pub(crate) fn heading(scene: &mut Scene, title: &str, subtitle: &str) -> f64 {
    let mut y = 0.0;
    for line in lines(title, TITLE, true, scene.width) {
        y += 18.0;
        scene.add(Mark::text("title", 0.0, y - 4.0, line).size(TITLE).bold());
    }
    for line in lines(subtitle, SUBTITLE, false, scene.width) {
        y += 17.0;
        scene.add(Mark::text("subtitle", 0.0, y - 4.0, line).fill(Paint::Muted));
    }
    if y > 0.0 { y + 10.0 } else { 0.0 }
}

/// Draws notes from `top` on; returns where they end.
pub(crate) fn notes(scene: &mut Scene, top: f64, notes: &[String]) -> f64 {
    let (mut y, width) = (top, scene.width);
    for line in notes.iter().flat_map(|note| lines(note, NOTE, false, width)) {
        y += 15.0;
        scene.add(Mark::text("note", 0.0, y - 3.0, line).size(NOTE).fill(Paint::Muted));
    }
    y
}

fn lines(text: &str, size: f64, bold: bool, width: f64) -> Vec<String> {
    if text.is_empty() { Vec::new() } else { font::wrap(&clean(text), size, bold, width, 3) }
}

/// How a series is shown in the legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Point,
    Line,
    Bar,
}

/// Draws a legend of named series in rows from `top` on; returns where the next part may begin. A single series needs
/// no legend.
pub(crate) fn legend(scene: &mut Scene, top: f64, names: &[&str], signs: &[Sign]) -> f64 {
    if names.len() < 2 {
        return top;
    }
    let (mut x, mut y) = (0.0, top);
    for (i, name) in names.iter().enumerate() {
        let name = font::cut(&clean(name), SUBTITLE, false, scene.width - 24.0);
        let width = 22.0 + font::room(&name, SUBTITLE, false) + 14.0;
        if x > 0.0 && x + width - 14.0 > scene.width {
            (x, y) = (0.0, y + 19.0);
        }
        let middle = y + 8.0;
        for sign in signs {
            scene.add(match sign {
                Sign::Point => symbol("key", i, x + 8.0, middle, 4.5),
                Sign::Bar => Mark::rect("key", [x + 2.0, middle - 6.0, 12.0, 12.0]).fill(Paint::Series(i)),
                Sign::Line => line("key", i, vec![(x, middle), (x + 16.0, middle)], signs.len() == 1),
            });
        }
        scene.add(Mark::text("legend", x + 22.0, y + 12.0, name));
        x += width;
    }
    y + 27.0
}

/// Draws the legend of points beyond the axes, if there are any; returns where the next part may begin.
pub(crate) fn outside(scene: &mut Scene, top: f64, count: usize) -> f64 {
    if count == 0 {
        return top;
    }
    let points = if count == 1 { "point" } else { "points" };
    scene.add(arrow("key", 0, (8.0, top + 3.5), (0.0, -1.0)).fill(Paint::Muted));
    scene.add(Mark::text("legend", 22.0, top + 12.0, format!("{count} {points} beyond the axes, drawn at the edge")));
    top + 27.0
}

/// Returns an arrow head for a point of series `i` beyond the axes. Its tip is at (x, y) on the edge, and it points
/// in the direction (dx, dy) of the point.
pub(crate) fn arrow(class: &'static str, i: usize, (x, y): (f64, f64), (dx, dy): (f64, f64)) -> Mark {
    let long = f64::hypot(dx, dy).max(f64::MIN_POSITIVE);
    let (dx, dy) = (9.0 * dx / long, 9.0 * dy / long);
    let corner = |side: f64| (x - dx - side * dy / 2.0, y - dy + side * dx / 2.0);
    Mark::polygon(class, &[(x, y), corner(1.0), corner(-1.0)]).fill(Paint::Series(i))
}

/// Returns a line of series `i`. Lines without symbols are `dashed`, so that they differ by their dashes.
pub(crate) fn line(class: &'static str, i: usize, at: Vec<(f64, f64)>, dashed: bool) -> Mark {
    use crate::scene::Step;
    let dashes = [None, Some([7.0, 3.0]), Some([2.0, 2.5]), Some([11.0, 3.0])];
    let steps = at.into_iter().enumerate();
    let steps = steps.map(|(i, (x, y))| if i == 0 { Step::Move(x, y) } else { Step::Line(x, y) });
    let line = Mark::path(class, steps.collect()).stroke(Paint::Series(i), 2.0);
    line.dash(if dashed { dashes[i % dashes.len()] } else { None })
}

/// Returns the symbol of series `i` at (x, y). Series differ in both colour and shape.
pub(crate) fn symbol(class: &'static str, i: usize, x: f64, y: f64, radius: f64) -> Mark {
    // The scales make all areas about equal to that of the circle.
    let around = |corners: &[(f64, f64)], scale: f64| {
        let r = radius * scale;
        Mark::polygon(class, &corners.iter().map(|(dx, dy)| (x + r * dx, y + r * dy)).collect::<Vec<_>>())
    };
    // Each time the colours repeat, the shapes are shifted by one.
    let mark = match (i + i / SERIES) % SERIES {
        0 => Mark::circle(class, x, y, radius),
        1 => around(&[(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)], 0.88),
        2 => around(&[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)], 1.1),
        3 => around(&[(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)], 1.3),
        4 => around(&[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)], 1.1),
        5 => {
            let (a, b) = (0.38, 1.0);
            let cross = [
                (-a, -b),
                (a, -b),
                (a, -a),
                (b, -a),
                (b, a),
                (a, a),
                (a, b),
                (-a, b),
                (-a, a),
                (-b, a),
                (-b, -a),
                (-a, -a),
            ];
            around(&cross, 1.15)
        }
        _ => around(&[(-1.1, -0.6), (1.1, -0.6), (1.1, 0.6), (-1.1, 0.6)], 1.05),
    };
    mark.fill(Paint::Series(i))
}
