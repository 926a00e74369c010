//! What a page consists of.

use resolvent_field::Labelled;

use crate::{Figure, Table};

/// A page. In its texts, a part between backticks is code, and a blank line begins a paragraph. There is no other
/// markup.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The heading.
    pub title: String,
    /// The introduction: what the page is about, and what was found.
    pub lead: String,
    /// Claims with their verdicts: the table at the top.
    pub statements: Vec<Statement>,
    /// The sections of the body.
    pub sections: Vec<Section>,
    /// Where the numbers come from: an entry for each result.
    pub origins: Vec<Origin>,
    /// The last line.
    pub footer: String,
}

/// A statement with its verdict.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The claim, as a sentence.
    pub claim: String,
    /// Whether the claim holds.
    pub verdict: Verdict,
    /// What qualifies the verdict, in a few words; may be empty.
    pub beside: String,
    /// The figure on which the verdict is based: `Pearson 0.93`.
    pub figure: String,
    /// Its interval or the number of cases: `0.91 to 0.95`.
    pub interval: String,
    /// Heading of the section with the evidence; empty if there is none.
    pub section: String,
}

/// The verdict on a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The statement holds.
    Holds,
    /// The statement holds in part, under conditions that its section gives.
    Partly,
    /// The statement does not hold.
    Fails,
    /// The data do not decide.
    Undecided,
}

/// A section with a heading that can be linked to.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// The content below the heading.
    pub blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Block {
    /// Paragraphs.
    Text(String),
    /// A figure with its caption.
    Figure(Figure, String),
    /// Paragraphs and figures under a summary of one line. They are hidden until the reader opens them.
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
    /// Creates a page without content.
    pub fn new(title: impl Into<String>, lead: impl Into<String>) -> Self {
        Self { title: title.into(), lead: lead.into(), ..Self::default() }
    }

    /// Adds the provenance and the certificates of a result.
    pub fn origin(&mut self, name: impl Into<String>, result: &Labelled) {
        let facts = result.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let checks = result.certificates.iter();
        let checks = checks.map(|c| (c.name.to_string(), [c.value, c.noise, c.bound])).collect();
        self.origins.push(Origin { name: name.into(), facts, checks });
    }
}

impl Section {
    /// Creates a section without content.
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

    /// Adds a table under a summary. The table is hidden until the reader opens it.
    #[must_use]
    pub fn details(mut self, summary: impl Into<String>, table: Table) -> Self {
        self.blocks.push(Block::Details(summary.into(), vec![Block::Figure(table.into(), String::new())]));
        self
    }
}
