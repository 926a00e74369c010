//! The page of a study: statements with verdicts, and for each statement a section with figures.

mod answers;
mod circuits;
mod data;
mod flows;
mod inverse;
mod left_out;
mod locating;
mod nulls;
mod patching;
mod predictors;
mod propagation;
mod reduction;
mod regimes;
mod scaling;
#[cfg(test)]
mod tests;
mod transfers;

use resolvent_field::study::{self, RULES, Study};

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
}

impl Studied {
    /// Describes `study`; `command` produces its results.
    pub fn new(study: &Study<'_>, command: &str) -> Self {
        let (model, sizes) = (study.model(), study.model().sizes());
        Self {
            model: model.name().to_owned(),
            shape: format!("{} blocks, width {}, {} heads", sizes.layers, sizes.d, sizes.heads),
            tasks: study.tasks().iter().map(|(name, pairs)| (name.clone(), pairs.len())).collect(),
            command: command.to_owned(),
        }
    }
}

/// Adds the figures of a statement to its section.
type Fill = fn(Section, &Results<'_>) -> Section;

/// A statement's name, the heading of its section, the analyses behind it, and its figures.
type Part = (&'static str, &'static str, &'static [&'static str], Fill);

/// Returns the page of a study's results.
pub fn study_page(studied: &Studied, found: &study::Results) -> Page {
    let study::Results { done, nulls, left_out } = found;
    let tasks: Vec<String> = studied.tasks.iter().map(|(name, n)| format!("{name} ({n} pairs)")).collect();
    let mut lead = format!(
        "The residual stream of `{}` ({}) as a field h[l,t], and how sources put into it propagate: {}. J is the logit of the \
         clean prompt's answer less that of the corrupted prompt's, at the last token.\n\nThe checks of every analysis are listed \
         at the end. Figures are means over tasks; n is the number of prompts. Intervals are 95 % bootstraps over \
         prompts, and there is none for fewer than eight. Definitions and rules are version {RULES}, fixed before the \
         results. With ten statements, four in ten studies have an interval that misses its true value.\n\n{}",
        studied.model,
        studied.shape,
        tasks.join(", "),
        nulls::about(nulls)
    );
    if let Some(text) = left_out::summary(left_out) {
        lead.push_str("\n\n");
        lead.push_str(&text);
    }
    let mut page = Page::new(format!("Transformer Field Theory: {}", studied.model), lead);
    let results = Results::new(done);
    let parts: [Part; 10] = [
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
        ("circuits are small", "Circuits", &["circuits"], circuits::section),
        ("sources are found", "Finding sources", &["locating"], locating::section),
        ("few tokens carry effects", "Flow of effects", &["flows"], flows::section),
        ("small predicts large", "Across scales", &["scaling"], scaling::section),
    ];
    page.sections.extend(answers::section(&results));
    for statement in found.statements() {
        let Some((_, heading, analyses, section)) = parts.iter().find(|(name, ..)| *name == statement.name) else {
            continue;
        };
        let text = format!(
            "{} Verdict: {}.\n\nThe {} is {}. Beside it: {}.\n\nRule: {}.",
            statement.claim,
            [statement.verdict.name().to_owned(), statement.beside_nulls()].join(", ").trim_end_matches(", "),
            statement.measure,
            value(&statement),
            statement.detail(),
            statement.rule
        );
        let mut whole = Section::new(*heading).text(text);
        if let Some(text) = left_out::of_analyses(left_out, analyses) {
            whole = whole.text(text);
        }
        whole = nulls::table(whole, &statement);
        page.sections.push(section(whole, &results));
        page.statements.push(Statement {
            claim: statement.claim.to_owned(),
            verdict: match statement.verdict {
                study::Verdict::Holds => Verdict::Holds,
                study::Verdict::Partly => Verdict::Partly,
                study::Verdict::Fails => Verdict::Fails,
                study::Verdict::Few | study::Verdict::Unknown => Verdict::Undecided,
            },
            beside: match statement.verdict {
                study::Verdict::Few => format!("{} prompts", statement.prompts),
                _ => statement.beside_nulls(),
            },
            figure: value(&statement),
            interval: statement.measure.to_owned(),
            section: (*heading).to_owned(),
        });
    }
    page.sections.extend(left_out::section(left_out));
    for step in done {
        page.origin(&step.name, &step.result);
    }
    page.footer = format!("Made by `{}`, resolvent {}.", studied.command, env!("CARGO_PKG_VERSION"));
    page
}

/// Formats a statement's figure with its interval and the number of prompts.
fn value(statement: &study::Statement) -> String {
    let figure = statement.figure.to_string();
    if statement.figure.estimate.is_nan() { figure } else { format!("{figure}, n {}", statement.prompts) }
}
