//! `transfer`: fractions of an answer, and those of the controls.

use resolvent_field::Labelled;

use super::read::{heatmap, observable};
use crate::{Figure, Map};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let ends = result
        .array("value")
        .map_or_else(String::new, |a| format!(": prompt {:.4}, donor {:.4}", a.data[0], a.data[1]));
    [
        ("fraction", "Transfer fraction", format!("{}{ends}", observable(result))),
        ("random", "Control: random directions", "mean, at the displacement's length".to_owned()),
        ("shuffled", "Control: other prompts", "mean, at the displacement's length".to_owned()),
    ]
    .into_iter()
    .filter_map(|(name, title, subtitle)| {
        let mut map = heatmap(title, result.array(name)?, labels, Map::Diverging)?;
        // All maps share one scale, on which 1 is the whole answer.
        map.limit = Some(1.0);
        map.unit = "fraction of J(donor) − J(prompt)".to_owned();
        map.subtitle = subtitle;
        Some(map.into())
    })
    .collect()
}
