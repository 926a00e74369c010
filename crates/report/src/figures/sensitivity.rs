//! `sensitivity`: norms of the sensitivity field, and its projections on a direction.

use resolvent_field::Labelled;

use super::read::{heatmap, number, observable};
use crate::{Figure, Heatmap, Map};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let subtitle = match number(result, "value") {
        Some(value) => format!("{} = {value:.4}", observable(result)),
        None => observable(result),
    };
    let along = format!("Sensitivity along {}", result.fact("direction"));
    [
        ("norm", "Sensitivity field", "|dJ/dh[l,t]|", Map::Sequential),
        ("directional", along.as_str(), "<dJ/dh[l,t], direction>", Map::Diverging),
    ]
    .into_iter()
    .filter_map(|(name, title, unit, map)| {
        let map = heatmap(title, result.array(name)?, labels, map)?;
        Some(Heatmap { subtitle: subtitle.clone(), unit: unit.to_owned(), ..map }.into())
    })
    .collect()
}
