//! The page of a study: statements with verdicts, and for each statement a section with figures.

mod data;
mod inverse;
mod left_out;
mod patching;
mod predictors;
mod propagation;
mod reduction;
mod regimes;
mod scaling;
#[cfg(test)]
mod tests;
mod transfers;

use resolvent_field::study::{self, Done, LeftOut, Study, statements};

use crate::{Page, Section, Statement, Verdict};

use data::Results;
pub(crate) use data::medians;

/// Describes a study: the parts of its page that the results do not contain.
#[derive(Clone, Debug, Default)]
pub struct Studied {
    /// Name of the model.
    pub model: String,
    /// The size of the model in words: blocks, width, heads.
    pub shape: String,
    /// The tasks, with the number of prompt pairs of each.
    pub tasks: Vec<(String, usize)>,
    /// The command that produces these results.
    pub command: String,
    /// What was left out, and why.
    pub left_out: Vec<LeftOut>,
}

impl Studied {
    /// Describes `study`; `done` are its results, and `command` produces them.
    pub fn new(study: &Study<'_>, done: &[Done], command: &str) -> Self {
        let (model, sizes) = (study.model(), study.model().sizes());
        Self {
            model: model.name().to_owned(),
            shape: format!("{} blocks, width {}, {} heads", sizes.layers, sizes.d, sizes.heads),
            tasks: study.tasks().iter().map(|(name, pairs)| (name.clone(), pairs.len())).collect(),
            command: command.to_owned(),
            left_out: study.left_out_of(done),
        }
    }
}

/// Adds the figures of a statement to its section.
type Fill = fn(Section, &Results<'_>) -> Section;

/// A statement's name, the heading of its section, the analyses behind it, and its figures.
type Part = (&'static str, &'static str, &'static [&'static str], Fill);

/// Returns the page of a study's results.
pub fn study_page(studied: &Studied, done: &[Done]) -> Page {
    let tasks: Vec<String> = studied.tasks.iter().map(|(name, n)| format!("{name} ({n} pairs)")).collect();
    let mut lead = format!(
        "The residual stream of `{}` ({}) as a field h[l,t], and how sources put into it propagate: {}. J is the logit of the \
         clean prompt's answer less that of the corrupted prompt's, at the last token.\n\nThe checks of every analysis are listed \
         at the end. Intervals are 95 % bootstraps over prompts.",
        studied.model,
        studied.shape,
        tasks.join(", ")
    );
    if let Some(text) = left_out::summary(&studied.left_out) {
        lead.push_str("\n\n");
        lead.push_str(&text);
    }
    let mut page = Page::new(format!("Transformer Field Theory: {}", studied.model), lead);
    let results = Results::new(done);
    let parts: [Part; 7] = [
        ("linear regime", "Linear regime", &["regimes"], regimes::section),
        (
            "sensitivities predict patches",
            "Sensitivities and patches",
            &["patching", "predictors", "superposed"],
            patching::section,
        ),
        ("structured propagation", "Propagation", &["propagation"], propagation::section),
        ("reduced descriptions", "Reduced descriptions", &["reduction"], reduction::section),
        ("answers are carried over", "Transfer of answers", &["transfers"], transfers::section),
        ("patches can be chosen", "Choosing where to patch", &["inverse"], inverse::section),
        ("small predicts large", "Across scales", &["scaling"], scaling::section),
    ];
    for statement in statements(done) {
        let Some((_, heading, analyses, section)) = parts.iter().find(|(name, ..)| *name == statement.name) else {
            continue;
        };
        let text = format!(
            "{} Verdict: {}.\n\nThe {} is {}. Beside it: {}.\n\nRule: {}.",
            statement.claim,
            statement.verdict.name(),
            statement.measure,
            value(&statement),
            statement.detail,
            statement.rule
        );
        let mut whole = Section::new(*heading).text(text);
        if let Some(text) = left_out::of_analyses(&studied.left_out, analyses) {
            whole = whole.text(text);
        }
        page.sections.push(section(whole, &results));
        page.statements.push(Statement {
            claim: statement.claim.to_owned(),
            verdict: match statement.verdict {
                study::Verdict::Holds => Verdict::Holds,
                study::Verdict::Partly => Verdict::Partly,
                study::Verdict::Fails => Verdict::Fails,
                study::Verdict::Unknown => Verdict::Undecided,
            },
            figure: value(&statement),
            interval: statement.measure.to_owned(),
            section: (*heading).to_owned(),
        });
    }
    page.sections.extend(left_out::section(&studied.left_out));
    for step in done {
        page.origin(&step.name, &step.result);
    }
    page.footer = format!("Made by `{}`, resolvent {}.", studied.command, env!("CARGO_PKG_VERSION"));
    page
}

/// Formats a statement's figure with its interval.
fn value(statement: &study::Statement) -> String {
    let shown = |x: f64| match x.abs() {
        _ if x.is_nan() => "no value".to_owned(),
        10.0.. => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    };
    let f = statement.figure;
    if f.estimate.is_nan() {
        return shown(f.estimate);
    }
    format!("{} ({} to {})", shown(f.estimate), shown(f.low), shown(f.high))
}
