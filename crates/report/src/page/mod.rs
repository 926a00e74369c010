//! One HTML document with everything in it: figures, tables, verdicts, where the numbers come from. It needs no network, no
//! script and no font beside itself.

mod render;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

use resolvent_field::Labelled;

use crate::{Error, Figure, Result, Table};

/// A page. Texts are plain; a part between backticks is code, a blank line begins a paragraph.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The heading.
    pub title: String,
    /// What the page is about and what was found.
    pub lead: String,
    /// What was asked, and the answers: the table at the top.
    pub statements: Vec<Statement>,
    /// The body.
    pub sections: Vec<Section>,
    /// Where the numbers come from: a block for each result.
    pub origins: Vec<Origin>,
    /// The last line.
    pub footer: String,
}

/// A statement with its verdict.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What is claimed: a sentence.
    pub claim: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// The figure on which the verdict rests: `Pearson 0.93`.
    pub figure: String,
    /// Its interval or the number of cases: `0.91 to 0.95`.
    pub interval: String,
    /// Heading of the section that shows it; empty if there is none.
    pub section: String,
}

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It holds in part: under conditions that its section gives.
    Partly,
    /// It does not hold.
    Fails,
    /// The data do not decide.
    Undecided,
}

/// A section with a heading that can be linked to.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// What stands below it.
    pub blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Clone, Debug)]
pub enum Block {
    /// Paragraphs.
    Text(String),
    /// A figure with its caption.
    Figure(Figure, String),
    /// What is shown when asked for, under a summary of one line: paragraphs and figures.
    Details(String, Vec<Block>),
}

/// Where a result comes from, and the checks that it passed.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Name of the result.
    pub name: String,
    /// Facts: (name, value).
    pub facts: Vec<(String, String)>,
    /// Checks: name, and figure, noise floor and bound.
    pub checks: Vec<(String, [f64; 3])>,
}

impl Page {
    /// A page without content yet.
    pub fn new(title: impl Into<String>, lead: impl Into<String>) -> Self {
        Self { title: title.into(), lead: lead.into(), ..Self::default() }
    }

    /// Adds provenance and certificates of a result.
    pub fn origin(&mut self, name: impl Into<String>, result: &Labelled) {
        let facts = result.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let checks = result.certificates.iter();
        let checks = checks.map(|c| (c.name.to_string(), [c.value, c.noise, c.bound])).collect();
        self.origins.push(Origin { name: name.into(), facts, checks });
    }

    /// The document.
    ///
    /// # Errors
    /// A fault of ours in the template.
    pub fn html(&self) -> Result<String> {
        render::html(self).map_err(|e| Error::Page(format!("{e:#}")))
    }

    /// Checks that a page could be written to `path`, before the work is done.
    ///
    /// # Errors
    /// An ending other than `.html`, or a directory that is missing or not writable.
    pub fn check_path(path: &Path) -> Result<()> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("html") => Ok(resolvent_field::check_writable(path)?),
            _ => Err(Error::Ending { path: path.to_owned(), what: "a page", endings: ".html" }),
        }
    }

    /// Writes the document whole.
    ///
    /// # Errors
    /// As [`Page::check_path`], or a full disk.
    pub fn write(&self, path: &Path) -> Result<()> {
        Self::check_path(path)?;
        Ok(resolvent_field::write_whole(path, self.html()?.as_bytes())?)
    }
}

impl Section {
    /// A section without content yet.
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), blocks: Vec::new() }
    }

    /// Adds paragraphs.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text(text.into()));
        self
    }

    /// Adds a figure with its caption.
    #[must_use]
    pub fn figure(mut self, figure: impl Into<Figure>, caption: impl Into<String>) -> Self {
        self.blocks.push(Block::Figure(figure.into(), caption.into()));
        self
    }

    /// Adds a table that is shown when asked for.
    #[must_use]
    pub fn details(mut self, summary: impl Into<String>, table: Table) -> Self {
        self.blocks.push(Block::Details(summary.into(), vec![Block::Figure(table.into(), String::new())]));
        self
    }
}
