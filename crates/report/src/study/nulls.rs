//! Statements beside their nulls, and their figures by task.

use resolvent_field::stats::Interval;
use resolvent_field::study::{Done, Null, Statement};

use crate::{Cell, Section, Table};

/// Says which nulls were run.
pub(super) fn about(nulls: &[(Null, Vec<Done>)]) -> String {
    let words: Vec<&str> = nulls.iter().map(|(null, _)| null.words()).collect();
    match words.is_empty() {
        true => "No null was run, such as the same network with random weights, so these verdicts may be those of any \
                 network of this shape: leave out `--no-nulls`, or use `study` in place of `demo`."
            .to_owned(),
        false => format!(
            "The same analyses ran on nulls: {}. A statement is beyond a null if the whole interval of this model speaks \
             more for it than that of the null. What is not beyond random weights is no result of training.",
            words.join(", ")
        ),
    }
}

/// Returns the figures of a statement that are known by task, one a row.
fn by_task(statement: &Statement) -> Table {
    let tasks: Vec<&str> = statement.by_task.iter().map(|(task, _)| task.as_str()).collect();
    let row = |name: &str, figures: &[(String, f64)]| {
        let of = |task: &&str| figures.iter().find(|(name, _)| name == task).map_or(f64::NAN, |(_, x)| *x);
        [Cell::from(name)].into_iter().chain(tasks.iter().map(|task| Cell::from(of(task)))).collect::<Vec<_>>()
    };
    let table = Table::new("", &[&[""], &tasks[..]].concat()).row(row(statement.name, &statement.by_task));
    let known = statement.beside.iter().filter(|beside| !beside.by_task.is_empty());
    known.fold(table, |table, beside| table.row(row(&beside.name, &beside.by_task)))
}

/// Adds the figures of each task and of each null to the section of a statement.
pub(super) fn table(section: Section, statement: &Statement) -> Section {
    let section = match statement.by_task.is_empty() {
        true => section,
        false => section.figure(by_task(statement), "The figure of the statement, and those beside it, of each task."),
    };
    if statement.nulls.is_empty() {
        return section;
    }
    let cells = |name: &str, Interval { estimate, low, high }, verdict: &str, beyond: &str| {
        let numbers = [estimate, low, high].map(Cell::from);
        let words = [Cell::from(verdict), Cell::from(beyond)];
        [Cell::from(name)].into_iter().chain(numbers).chain(words).collect::<Vec<_>>()
    };
    let columns = ["", "figure", "low", "high", "verdict by the same rule", "this model is beyond it"];
    let mut table = Table::new("", &columns);
    table = table.row(cells("this model", statement.figure, statement.verdict.name(), ""));
    for null in &statement.nulls {
        let beyond = match null.exceeded {
            Some(true) => "yes",
            Some(false) => "no",
            None => "undecided",
        };
        table = table.row(cells(null.null.words(), null.figure, null.verdict.name(), beyond));
    }
    section.figure(table, "The statement in the nulls.")
}
