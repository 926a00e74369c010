//! Reports what a study left out: a line in the lead, a line in each section concerned, and a section with the full
//! list.

use resolvent_field::study::LeftOut;

use crate::{Block, Cell, Figure, Section, Table};

/// The heading of the section.
const HEADING: &str = "What was left out";
/// Most omissions that the section of a statement names.
const NAMED: usize = 6;
/// Most omissions in a list that is open from the start.
const SHOWN: usize = 20;

/// Returns a sentence that says how much was left out; `None` if nothing was.
pub(super) fn summary(all: &[LeftOut]) -> Option<String> {
    let failed = all.iter().filter(|l| l.failed).count();
    let of = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let parts: Vec<String> = [
        of(failed, "of the checks or computations failed"),
        of(all.len() - failed, "tasks, pairs or steps could not be analysed"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| format!("{}: see \u{201c}{HEADING}\u{201d}.", parts.join("; ")))
}

/// Returns a sentence that says what the given analyses left out; `None` if they left out nothing.
pub(super) fn of_analyses(all: &[LeftOut], analyses: &[&str]) -> Option<String> {
    let here = |l: &&LeftOut| l.steps.iter().any(|step| analyses.contains(&step.split('.').next().unwrap_or_default()));
    let lines: Vec<String> = all.iter().filter(here).map(ToString::to_string).collect();
    let more = lines.len().saturating_sub(NAMED);
    let mut text = lines.iter().take(NAMED).map(|line| plain(line)).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    (!lines.is_empty()).then(|| format!("Left out here: {text}."))
}

/// Returns the section with the full list, failures first; `None` if nothing was left out.
pub(super) fn section(all: &[LeftOut]) -> Option<Section> {
    let mut order: Vec<&LeftOut> = all.iter().collect();
    order.sort_by_key(|l| !l.failed);
    let mut table = Table::new("", &["what", "steps", "why", "failed"]);
    for l in &order {
        let steps = if l.steps.is_empty() { "all".to_owned() } else { l.steps.join(", ") };
        let failed = if l.failed { "yes" } else { "no" };
        table = table.row([l.what.as_str(), &steps, &l.reason, failed].map(Cell::from));
    }
    let section = Section::new(HEADING)
        .text("A failed check means that its numbers are wrong or imprecise: they are not shown. What could not be analysed has no numbers.");
    match order.len() {
        0 => None,
        1..=SHOWN => Some(section.figure(table, "")),
        n => {
            let mut section = section;
            let list = Block::Figure(Figure::from(table), String::new());
            section.blocks.push(Block::Details(format!("All {n}"), vec![list]));
            Some(section)
        }
    }
}

/// Replaces backticks, which would begin code in a paragraph.
fn plain(line: &str) -> String {
    line.replace('`', "'")
}
