//! `sensitivity`: where J can be moved.

use resolvent_field::Labelled;

use super::{heatmap, number, observable};
use crate::{Figure, Map};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let norm = result.array("norm");
    let map = norm.and_then(|norm| heatmap("Sensitivity field", norm, labels, Map::Sequential)).map(|mut map| {
        map.unit = "|dJ/dh[l,t]|".to_owned();
        map.subtitle = match number(result, "value") {
            Some(value) => format!("{} = {value:.4}", observable(result)),
            None => observable(result),
        };
        map
    });
    map.into_iter().map(Figure::from).collect()
}
