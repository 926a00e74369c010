//! Interactions of patches as text: maps of the pairs, and figures over all of them.

use std::fmt::Write as _;

use resolvent::Labelled;
use resolvent::field::Prompts;
use resolvent_report::terminal::visible;

/// Figures over all pairs of two patches, with their titles.
const FIGURES: [(&str, &str); 3] = [
    ("interaction_size", "sizes, over those of both effects"),
    ("superadditive", "share that do more than in sum"),
    ("interaction_error", "error of second order"),
];

/// Formats the interactions of one prompt; empty if the result has none.
pub(crate) fn of_prompt(result: &Labelled) -> String {
    let sites = result.sites("interaction_sites").into_iter();
    let names: Vec<String> = sites.map(|(site, token)| format!("{site}@{token}")).collect();
    let mut text = map(result, "interactions", &names);
    for (name, title) in FIGURES {
        if let Some(array) = result.array(name) {
            let _infallible = writeln!(text, "{title:<36} {}", number(array.data[0]));
        }
    }
    if let Some(agreement) = result.metadata.get("agreement.interaction") {
        let _infallible = writeln!(text, "{:<28} {agreement}", "all pairs");
    }
    text
}

/// Formats the means over many prompts; empty if the result has no interactions.
pub(crate) fn of_prompts(result: &Labelled) -> String {
    // There are no means if some prompts have fewer patches than others.
    let count = result.array("interaction_single.mean").and_then(|array| array.axes.last()).map_or(0, |axis| axis.1);
    let places = result.texts("interaction_places");
    let names = match places.is_empty() {
        true => (1..=count).map(|i| format!("strongest, {i}")).collect(),
        false => places,
    };
    let mut text = map(&Prompts::averaged(result), "mean interactions", &names);
    for (name, title) in FIGURES {
        let ends = ["mean", "low", "high"].map(|end| result.array(&format!("{name}.{end}")));
        if let [Some(mean), Some(low), Some(high)] = ends.map(|array| array.map(|array| array.data[0])) {
            let _infallible = write!(text, "{title:<36} {}", number(mean));
            if low.is_finite() {
                let _infallible = write!(text, " ({} to {})", number(low), number(high));
            }
            text.push('\n');
        }
    }
    text
}

/// Formats a map with a row for each patch: to second order and, in brackets, by joint runs.
fn map(result: &Labelled, title: &str, names: &[String]) -> String {
    let (Some(map), Some(actual)) = (result.array("interaction"), result.array("interaction_actual")) else {
        return String::new();
    };
    let how =
        if result.says("interaction_joint", "add") { "displacements, both added" } else { "patches, both put in" };
    let mut text = format!("\n{title} of {how}: to second order (by joint runs)\n");
    let n = map.axes.last().map_or(1, |axis| axis.1);
    for ((row, actual), name) in map.data.chunks(n).zip(actual.data.chunks(n)).zip(names) {
        let _infallible = write!(text, "{:<28}", visible(name));
        for (x, a) in row.iter().zip(actual) {
            let _infallible = write!(text, " {x:>8.3} ({a:>7.3})");
        }
        text.push('\n');
    }
    text
}

fn number(x: f32) -> String {
    if x.is_finite() { format!("{x:.3}") } else { "-".to_owned() }
}
