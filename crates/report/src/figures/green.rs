//! `green`: how far a source reaches.

use resolvent_field::Labelled;

use super::{fact, heatmap};
use crate::{Figure, Map};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let norm = result.array("norm");
    let map = norm.and_then(|norm| heatmap("Response field", norm, labels, Map::Sequential)).map(|mut map| {
        map.unit = "|G s|".to_owned();
        let source = fact(result, "source");
        let what = match (fact(result, "direction"), fact(result, "unit")) {
            ("", _) => String::new(),
            (direction, "true") => format!(": {direction}, of unit length"),
            (direction, _) => format!(": {direction}"),
        };
        map.subtitle = format!("source at h[{source}]{what}");
        let place = source.split_once(',').and_then(|(l, t)| Some((l.parse().ok()?, t.parse().ok()?)));
        map.marked = place.into_iter().collect();
        map.marked_as = "source".to_owned();
        map
    });
    map.into_iter().map(Figure::from).collect()
}
