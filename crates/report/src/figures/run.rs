//! `run`: the norm of the field.

use resolvent_field::{Array, Labelled, norms};

use super::read::heatmap;
use crate::{Figure, Map};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let Some(field) = result.array("field") else { return Vec::new() };
    let [level, token, ("d", d)] = field.axes[..] else { return Vec::new() };
    let norm = Array { name: "norm", axes: vec![level, token], data: norms(&field.data, d) };
    let map = heatmap("Norm of the field", &norm, labels, Map::Sequential).map(|mut map| {
        map.unit = "|h[l,t]|".to_owned();
        map
    });
    map.into_iter().map(Figure::from).collect()
}
