//! Renders a [`Page`] as HTML: the values for the template, and their escaping.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, Output, State, context, escape_formatter};

use super::content::{Block, Origin, Page, Statement, Verdict};
use super::text::{anchors, paragraphs, spans};
use crate::axis::number::value;
use crate::colour::{Theme, variables};
use crate::scene::clean;
use crate::{Figure, Table};

/// The style sheet of drawings, without their colours.
const DRAWINGS: &str = include_str!("figure.css");

/// Returns the style sheet that [`Figure::element`] needs: colours for light and dark pages, then rules.
pub fn figure_style() -> String {
    let (light, dark) = (variables(Theme::Light), variables(Theme::Dark));
    format!(":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{DRAWINGS}")
}

pub(super) fn html(page: &Page) -> Result<String, Error> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.set_formatter(escaped);
    env.add_template("page.html", include_str!("page.html"))?;
    let anchors = anchors(page.sections.iter().map(|s| s.heading.as_str()));
    let sections = page.sections.iter().zip(&anchors).map(|(section, anchor)| {
        context! { heading => &section.heading, anchor, nodes => nodes(&section.blocks) }
    });
    let statement = |s: &Statement| {
        let section = page.sections.iter().position(|other| other.heading == s.section);
        let (class, sign, verdict) = verdict(s.verdict);
        context! {
            claim => spans(&s.claim), class, sign, verdict, beside => &s.beside, figure => &s.figure, interval => &s.interval,
            anchor => section.map(|i| anchors[i].as_str()),
        }
    };
    env.get_template("page.html")?.render(context! {
        title => &page.title,
        lead => paragraphs(&page.lead),
        statements => page.statements.iter().map(statement).collect::<Vec<_>>(),
        // A page of one or two sections needs no table of contents.
        contents => page.sections.len() > 2,
        sections => sections.collect::<Vec<_>>(),
        origins => page.origins.iter().map(origin).collect::<Vec<_>>(),
        footer => &page.footer,
        light => unescaped(variables(Theme::Light)),
        dark => unescaped(variables(Theme::Dark)),
        drawings => unescaped(DRAWINGS),
        style => unescaped(include_str!("page.css")),
        script => unescaped(include_str!("page.js")),
    })
}

/// Returns a text of this crate as a value that is not escaped, because it is markup.
fn unescaped(text: impl Into<String>) -> Value {
    Value::from_safe_string(text.into())
}

/// Formats a value for minijinja, which escapes texts. First, line ends and tabs become spaces, and hidden characters
/// are spelt out.
fn escaped(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) if !value.is_safe() => {
            escape_formatter(out, state, &Value::from(clean(&text.replace(['\n', '\t'], " "))))
        }
        _ => escape_formatter(out, state, value),
    }
}

/// Returns the class, the sign and the words of a verdict. Colour alone would not suffice, because some readers
/// cannot distinguish the colours.
fn verdict(verdict: Verdict) -> (&'static str, &'static str, &'static str) {
    match verdict {
        Verdict::Holds => ("holds", "✓", "holds"),
        Verdict::Partly => ("partly", "◐", "holds partly"),
        Verdict::Fails => ("fails", "✗", "fails"),
        Verdict::Undecided => ("undecided", "?", "undecided"),
    }
}

fn nodes(blocks: &[Block]) -> Vec<Value> {
    blocks.iter().map(node).collect()
}

fn node(block: &Block) -> Value {
    match block {
        Block::Text(text) => context! { kind => "text", paragraphs => paragraphs(text) },
        Block::Details(summary, blocks) => context! { kind => "details", summary, nodes => nodes(blocks) },
        Block::Figure(figure, caption) => {
            // The page arranges the parts of a grid, because only the page has a known width.
            let (title, subtitle) = match figure {
                Figure::Grid(grid) => (grid.title.as_str(), grid.subtitle.as_str()),
                _ => ("", ""),
            };
            // A narrow plot leaves room for a caption at its side.
            let side = matches!(figure, Figure::Scatter(_) | Figure::Lines(_) | Figure::Bars(_));
            let (parts, caption) = (parts(figure), spans(caption));
            context! { kind => "figure", title, subtitle, side, parts, caption }
        }
    }
}

/// Returns the drawings and tables of a figure, including those of grids within grids.
fn parts(figure: &Figure) -> Vec<Value> {
    match figure {
        Figure::Grid(grid) => grid.figures.iter().flat_map(parts).collect(),
        Figure::Table(table) => vec![table_part(table)],
        drawn => vec![context! { kind => "drawing", svg => unescaped(drawn.element()) }],
    }
}

fn table_part(table: &Table) -> Value {
    let shown = table.shown();
    let row = |r: usize| -> Vec<Value> { shown.iter().map(|c| Value::from(c.cells[r].as_str())).collect() };
    let columns = shown.iter().map(|c| context! { name => &c.name, numeric => c.numeric });
    context! {
        kind => "table",
        title => &table.title,
        columns => columns.collect::<Vec<_>>(),
        rows => (0..table.rows.len()).map(row).collect::<Vec<_>>(),
    }
}

fn origin(origin: &Origin) -> Value {
    let checks = origin.checks.iter().map(|(name, [figure, noise, bound])| {
        let noise = if *noise > 0.0 { format!("{noise:.0e}") } else { String::new() };
        context! { name, figure => format!("{figure:.1e}"), noise, bound => value(*bound) }
    });
    let facts = origin.facts.iter().map(|(name, value)| context! { name, value });
    let (checks, facts) = (checks.collect::<Vec<_>>(), facts.collect::<Vec<_>>());
    let passed = match checks.len() {
        1 => "1 check passed".to_owned(),
        n => format!("{n} checks passed"),
    };
    context! { name => &origin.name, checks, facts, passed }
}
