//! Writes a scene as PNG, in the colours of the light theme, on white. Letters are outlines of the embedded font, so
//! the fonts of the machine do not matter. A test compares the picture with an independent renderer's picture of the
//! SVG.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint as Ink, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash, Transform,
};
use ttf_parser::OutlineBuilder;

use super::{Anchor, Mark, Scene, Shape, Step, Text, clean, font};
use crate::colour::{Paint, Theme};
use crate::{Error, Result};

/// Pixels of the picture per pixel of the scene: sharp on dense screens and in print.
const SCALE: f64 = 2.0;
/// Most pixels of a picture; larger scenes are drawn at a smaller scale.
const MOST: f64 = 1e8;
/// The least scale at which labels can be read.
const LEAST: f64 = 0.75;

/// Returns the scene as the bytes of a PNG file.
///
/// # Errors
/// The scene is too large for a picture.
pub(crate) fn png(scene: &Scene) -> Result<Vec<u8>> {
    let scale = SCALE.min((MOST / (scene.width * scene.height)).sqrt());
    let size = |length: f64| (length.ceil() * scale).round() as u32;
    let too_large = || Error::TooLarge { width: scene.width.ceil(), height: scene.height.ceil() };
    if scale < LEAST {
        return Err(too_large());
    }
    let mut pixels = Pixmap::new(size(scene.width), size(scene.height)).ok_or_else(too_large)?;
    pixels.fill(Color::WHITE);
    let scale = scale as f32;
    for mark in &scene.marks {
        draw(&mut pixels, mark, Transform::from_scale(scale, scale));
    }
    pixels.encode_png().map_err(|e| Error::Png(e.to_string()))
}

fn draw(pixels: &mut Pixmap, mark: &Mark, to: Transform) {
    let mut builder = PathBuilder::new();
    match &mark.shape {
        &Shape::Rect { x, y, width, height } => {
            if let Some(rect) = Rect::from_xywh(x as f32, y as f32, width as f32, height as f32) {
                builder.push_rect(rect);
            }
        }
        &Shape::Circle { x, y, radius } => builder.push_circle(x as f32, y as f32, radius as f32),
        Shape::Path(steps) => {
            for step in steps {
                match *step {
                    Step::Move(x, y) => builder.move_to(x as f32, y as f32),
                    Step::Line(x, y) => builder.line_to(x as f32, y as f32),
                    Step::Close => builder.close(),
                }
            }
        }
        Shape::Text(text) => return draw_text(pixels, text, mark, to),
        Shape::Group { x, y, marks } => {
            let to = to.pre_translate(*x as f32, *y as f32);
            return marks.iter().for_each(|mark| draw(pixels, mark, to));
        }
    }
    // A shape without extent has no path.
    let Some(path) = builder.finish() else { return };
    if mark.fill != Paint::Clear {
        fill(pixels, &path, mark.fill, mark.opacity, to);
    }
    if let Some(line) = mark.stroke {
        let dash = line.dash.and_then(|dash| StrokeDash::new(dash.map(|x| x as f32).to_vec(), 0.0));
        let stroke = Stroke { width: line.width as f32, dash, ..Stroke::default() };
        pixels.stroke_path(&path, &ink(line.paint, mark.opacity), &stroke, to, None);
    }
}

fn draw_text(pixels: &mut Pixmap, text: &Text, mark: &Mark, to: Transform) {
    let shown = clean(&text.text);
    let width = font::width(&shown, text.size, text.bold);
    let start = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -width / 2.0,
        Anchor::End => -width,
    };
    let to = to.pre_translate(text.x as f32, text.y as f32).pre_rotate(text.turn as f32);
    let mut letters = Letters {
        path: PathBuilder::new(),
        scale: (text.size / f64::from(font::face(text.bold).units_per_em())) as f32,
        x: start as f32,
    };
    for c in shown.chars() {
        let (advance, glyph) = font::advance(c, text.bold);
        match glyph {
            // A glyph without an outline, such as a space, adds nothing to the path.
            Some(glyph) => _ = font::face(text.bold).outline_glyph(glyph, &mut letters),
            None => letters.unknown((advance * text.size) as f32, text.size as f32),
        }
        letters.x += (advance * text.size) as f32;
    }
    let Some(path) = letters.path.finish() else { return };
    if text.rim {
        let rim = Stroke { width: 3.0, line_join: LineJoin::Round, line_cap: LineCap::Round, ..Stroke::default() };
        pixels.stroke_path(&path, &ink(Paint::Surface, mark.opacity), &rim, to, None);
    }
    fill(pixels, &path, mark.fill, mark.opacity, to);
}

fn fill(pixels: &mut Pixmap, path: &Path, paint: Paint, opacity: f64, to: Transform) {
    pixels.fill_path(path, &ink(paint, opacity), FillRule::Winding, to, None);
}

fn ink(paint: Paint, opacity: f64) -> Ink<'static> {
    let [r, g, b] = paint.colour(Theme::Light).0;
    let mut ink = Ink { anti_alias: true, ..Ink::default() };
    ink.set_color_rgba8(r, g, b, (opacity * 255.0).round() as u8);
    ink
}

/// Places outlines of the font, whose y axis points up, at the current position of a line of text.
struct Letters {
    path: PathBuilder,
    scale: f32,
    x: f32,
}

impl Letters {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }

    /// Draws an empty frame for a letter that the font lacks.
    fn unknown(&mut self, advance: f32, size: f32) {
        let (left, right) = (self.x + 0.08 * size, self.x + advance - 0.08 * size);
        let thick = 0.07 * size;
        for (inset, around) in [(0.0, false), (thick, true)] {
            let (l, r, t, b) = (left + inset, right - inset, -0.72 * size + inset, -inset);
            // The inner frame has the opposite winding, which makes it a hole.
            let corners = if around { [(l, t), (l, b), (r, b), (r, t)] } else { [(l, t), (r, t), (r, b), (l, b)] };
            self.path.move_to(corners[0].0, corners[0].1);
            corners[1..].iter().for_each(|&(x, y)| self.path.line_to(x, y));
            self.path.close();
        }
    }
}

impl OutlineBuilder for Letters {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
