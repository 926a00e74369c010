//! Writes a scene as SVG: for a page, whose style sheet defines the colours, or as a file of its own.

use std::fmt::Write;

use super::{Anchor, Mark, Scene, Shape, Step, Stroke, Text, clean};
use crate::colour::{Paint, Theme};

/// The use of an SVG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Part of a page: colours are CSS variables.
    Page,
    /// A file: colours of the light theme on white, a font, and the CSS rule that lets the pointer reach marks under a
    /// text.
    File,
}

/// Widest drawing that a page may scale to the width of a phone. Wider ones would be too small to read; they scroll
/// instead.
const SMALL: f64 = 460.0;

/// Returns the scene as SVG. Hover texts are `<title>` children, which browsers show without a script.
pub(crate) fn svg(scene: &Scene, purpose: Use) -> String {
    let mut out = String::new();
    let (width, height) = (scene.width.ceil(), scene.height.ceil());
    let small = if width <= SMALL { " small" } else { "" };
    let _infallible = write!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="plot{small}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{}""#,
        escape(&scene.description)
    );
    out.push_str(match purpose {
        Use::Page => ">",
        Use::File => {
            r##" font-family="Inter,'Helvetica Neue',Helvetica,Arial,'Liberation Sans',sans-serif"><rect width="100%" height="100%" fill="#ffffff"/><style>text,.void,.marked{pointer-events:none}</style>"##
        }
    });
    let mut writer = Writer { out, theme: (purpose == Use::File).then_some(Theme::Light) };
    for mark in &scene.marks {
        writer.mark(mark);
    }
    writer.out.push_str("</svg>\n");
    writer.out
}

struct Writer {
    out: String,
    theme: Option<Theme>,
}

impl Writer {
    fn mark(&mut self, mark: &Mark) {
        let (name, inside) = match &mark.shape {
            Shape::Rect { x, y, width, height } => {
                self.open("rect", mark.class);
                self.number("x", *x).number("y", *y).number("width", *width).number("height", *height);
                ("rect", None)
            }
            Shape::Circle { x, y, radius } => {
                self.open("circle", mark.class);
                self.number("cx", *x).number("cy", *y).number("r", *radius);
                ("circle", None)
            }
            Shape::Path(steps) => {
                self.open("path", mark.class);
                self.attribute("d", &path(steps));
                ("path", None)
            }
            Shape::Text(text) => {
                self.open("text", mark.class);
                self.text(text);
                ("text", Some(escape(&text.text)))
            }
            Shape::Group { x, y, marks } => {
                self.open("g", mark.class);
                self.attribute("transform", &format!("translate({} {})", short(*x), short(*y)));
                self.out.push('>');
                for mark in marks {
                    self.mark(mark);
                }
                self.out.push_str("</g>\n");
                return;
            }
        };
        self.paints(mark);
        match (&mark.hover, inside) {
            (None, None) => self.out.push_str("/>\n"),
            (hover, inside) => {
                self.out.push('>');
                if let Some(hover) = hover {
                    let _infallible = write!(self.out, "<title>{}</title>", escape(hover));
                }
                let _infallible = writeln!(self.out, "{}</{name}>", inside.unwrap_or_default());
            }
        }
    }

    fn paints(&mut self, mark: &Mark) {
        let rimmed = matches!(&mark.shape, Shape::Text(text) if text.rim);
        let fill = mark.fill.css(self.theme);
        self.attribute("fill", &fill);
        if let Some(Stroke { paint, width, dash }) = mark.stroke {
            let paint = paint.css(self.theme);
            self.attribute("stroke", &paint).number("stroke-width", width);
            if let Some([line, gap]) = dash {
                self.attribute("stroke-dasharray", &format!("{} {}", short(line), short(gap)));
            }
        }
        if rimmed {
            let page = Paint::Surface.css(self.theme);
            self.attribute("stroke", &page).number("stroke-width", 3.0);
            self.attribute("stroke-linejoin", "round").attribute("paint-order", "stroke");
        }
        if mark.opacity < 1.0 {
            self.number("opacity", mark.opacity);
        }
        if mark.fill == Paint::Clear && mark.hover.is_some() {
            self.attribute("pointer-events", "all");
        }
    }

    fn text(&mut self, text: &Text) {
        self.number("x", text.x).number("y", text.y).number("font-size", text.size);
        let anchor = match text.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        if text.anchor != Anchor::Start {
            self.attribute("text-anchor", anchor);
        }
        if text.bold {
            self.attribute("font-weight", "600");
        }
        if text.turn != 0.0 {
            let turn = format!("rotate({} {} {})", short(text.turn), short(text.x), short(text.y));
            self.attribute("transform", &turn);
        }
    }

    fn open(&mut self, name: &str, class: &str) {
        let _infallible = write!(self.out, r#"<{name} class="{class}""#);
    }

    fn number(&mut self, name: &str, value: f64) -> &mut Self {
        self.attribute(name, &short(value))
    }

    /// Writes an attribute. Its value is generated here, so it needs no escaping.
    fn attribute(&mut self, name: &str, value: &str) -> &mut Self {
        let _infallible = write!(self.out, r#" {name}="{value}""#);
        self
    }
}

fn path(steps: &[Step]) -> String {
    let mut d = String::new();
    for step in steps {
        let _infallible = match step {
            Step::Move(x, y) => write!(d, "M{} {}", short(*x), short(*y)),
            Step::Line(x, y) => write!(d, "L{} {}", short(*x), short(*y)),
            Step::Close => write!(d, "Z"),
        };
    }
    d
}

/// Formats a coordinate to a hundredth of a pixel.
fn short(x: f64) -> String {
    let text = format!("{x:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_owned()
}

/// Escapes a text for XML and HTML, in an element or in quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
