//! By which tokens effects flow.

use super::data::{Results, heatmap, means, rows};
use crate::{Axis, Figure, Grid, Lines, Map, Section};

/// The lines of the plot of shares: an array, and its name.
const SHARES: [(&str, &str); 2] = [("at_changed", "the tokens that differ"), ("at_last", "the last token")];

pub(super) fn section(mut section: Section, results: &Results<'_>) -> Section {
    let all = results.of("flows");
    let Some((task, first)) = all.first() else { return section };
    if let Some(map) = heatmap("Flow", first, "map", Map::Diverging, "part of the change of J") {
        section = section.figure(
            Figure::from(map),
            format!(
                "F[l,t], the part of the change of J that passes through each place: first pair of {task}. The sum over the tokens \
                 of a level is the whole change."
            ),
        );
    }
    let of_all = |array: &str| -> Vec<Vec<f64>> { all.iter().flat_map(|(_, result)| rows(result, array)).collect() };
    let mut tokens = Lines::new("Tokens", Axis::whole("level"), Axis::linear("effective number of tokens"));
    tokens.series.push(means("all tasks", &of_all("tokens"), |l| l as f64));
    let mut shares = Lines::new("Where they are", Axis::whole("level"), Axis::linear("share of |F|"));
    for (array, name) in SHARES {
        shares.series.push(means(name, &of_all(array), |l| l as f64));
    }
    section.figure(
        Grid::new("", vec![tokens.into(), shares.into()]),
        "Tokens that carry the flow, by level: their effective number, and the share of those that differ between the prompts and of \
         the last token. Means and 95 % intervals over all prompts.",
    )
}
