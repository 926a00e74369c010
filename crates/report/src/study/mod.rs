//! The page of a study: statements with verdicts, and a section for each with its figures.

mod data;
mod inverse;
mod patching;
mod predictors;
mod propagation;
mod reduction;
mod regimes;
mod scaling;
#[cfg(test)]
mod tests;
mod transfers;

use resolvent_field::study::{self, Done, Study, statements};

use crate::{Page, Section, Statement, Verdict};

use data::Results;
pub(crate) use data::medians;

/// What a study was of: the parts of the page that its results do not hold.
#[derive(Clone, Debug, Default)]
pub struct Studied {
    /// Name of the model.
    pub model: String,
    /// The model in words: layers, width.
    pub shape: String,
    /// The tasks, with the number of prompt pairs of each.
    pub tasks: Vec<(String, usize)>,
    /// The command that makes these results.
    pub command: String,
    /// What was left out, and why; may be empty.
    pub left_out: String,
}

impl Studied {
    /// What `study` is of; `command` is what makes its results.
    pub fn new(study: &Study<'_>, command: &str) -> Self {
        let (model, config) = (study.model(), study.model().config());
        let left_out = match study.left_out {
            (0, _) => String::new(),
            (left, all) => format!(
                "{left} of {all} pairs do not fit this model and were left out: their prompts differ in length as its \
                 tokens, or an answer is not one token."
            ),
        };
        Self {
            model: model.name().to_owned(),
            shape: format!("{} blocks, width {}, {} heads", config.n_layer, config.n_embd, config.n_head),
            tasks: study.tasks().iter().map(|(name, pairs)| (name.clone(), pairs.len())).collect(),
            command: command.to_owned(),
            left_out,
        }
    }
}

/// Adds the figures of a statement to its section.
type Fill = fn(Section, &Results<'_>) -> Section;

/// The page of a study's results.
pub fn study_page(studied: &Studied, done: &[Done]) -> Page {
    let tasks: Vec<String> = studied.tasks.iter().map(|(name, n)| format!("{name} ({n} pairs)")).collect();
    let mut lead = format!(
        "The residual stream of `{}` ({}) as a field h[l,t], and how sources put into it propagate: {}. J is the logit of the \
         clean prompt's answer less that of the corrupted prompt's, at the last token.\n\nEvery number carries the checks that \
         its analysis passed; they are listed at the end. Intervals are 95 % bootstraps over prompts.",
        studied.model,
        studied.shape,
        tasks.join(", ")
    );
    if !studied.left_out.is_empty() {
        lead.push_str("\n\n");
        lead.push_str(&studied.left_out);
    }
    let mut page = Page::new(format!("Transformer Field Theory: {}", studied.model), lead);
    let results = Results::new(done);
    let parts: [(&str, &str, Fill); 7] = [
        ("linear regime", "Linear regime", regimes::section),
        ("sensitivities predict patches", "Sensitivities and patches", patching::section),
        ("structured propagation", "Propagation", propagation::section),
        ("reduced descriptions", "Reduced descriptions", reduction::section),
        ("answers are carried over", "Transfer of answers", transfers::section),
        ("patches can be chosen", "Choosing where to patch", inverse::section),
        ("small predicts large", "Across scales", scaling::section),
    ];
    for statement in statements(done) {
        let Some((_, heading, section)) = parts.iter().find(|(name, ..)| *name == statement.name) else {
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
        page.sections.push(section(Section::new(*heading).text(text), &results));
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
    for step in done {
        page.origin(&step.name, &step.result);
    }
    page.footer = format!("Made by `{}`, resolvent {}.", studied.command, env!("CARGO_PKG_VERSION"));
    page
}

/// A statement's figure with its interval.
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
