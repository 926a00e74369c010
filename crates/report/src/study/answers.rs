//! The answers of the model: J of both prompts, and how many pairs of each task are used.

use resolvent_field::stats;

use super::data::{Results, array};
use crate::{Cell, Section, Table};

/// Returns the section; `None` if the study has no answers.
pub(super) fn section(results: &Results<'_>) -> Option<Section> {
    let all = results.of("answers");
    let columns =
        ["task", "pairs", "used", "right for both", "J, clean", "J, corrupted", "median of the absolute difference"];
    let mut table = Table::new("", &columns);
    for (task, result) in &all {
        let [clean, corrupted, usable] = ["clean", "corrupted", "usable"].map(|name| array(result, name));
        let both = || clean.iter().zip(&corrupted);
        let right = both().filter(|(clean, corrupted)| **clean > 0.0 && **corrupted < 0.0).count();
        let ranges: Vec<f64> = both().map(|(clean, corrupted)| (clean - corrupted).abs()).collect();
        let cells = [
            Cell::from(*task),
            Cell::from(clean.len()),
            Cell::from(usable.iter().filter(|usable| **usable == 1.0).count()),
            Cell::from(format!("{:.0} %", 100.0 * right as f64 / clean.len().max(1) as f64)),
            Cell::from(stats::mean(&clean)),
            Cell::from(stats::mean(&corrupted)),
            Cell::from(stats::median(&ranges)),
        ];
        table = table.row(cells);
    }
    let section = Section::new("Answers of the model").text(
        "J is positive if the model prefers the clean prompt's answer. A pair is not used if J is larger for the corrupted \
         prompt, or if its difference is less than a tenth of the task's median.",
    );
    (!all.is_empty()).then(|| section.figure(table, "Pairs of each task, and means of J."))
}
