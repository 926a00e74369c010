//! `features`: first-order effects of the features at each token, and beside exact effects.

use resolvent_field::Labelled;

use super::read::{observable, prompts};
use crate::{Axis, Figure, Heatmap, Map, Point, Scatter};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let of = |name: &str| result.array(name).map(|array| &array.data[..]);
    let (Some(ids), Some(by_token)) = (of("features"), result.array("first_order_by_token")) else { return Vec::new() };
    if ids.is_empty() {
        return Vec::new();
    }
    let on = match result.metadata.contains_key("prompts") {
        true => format!("mean over {}, tokens from the end", prompts(result)),
        false => observable(result),
    };
    let names: Vec<String> = ids.iter().map(|id| format!("{id}")).collect();
    let tokens = by_token.data.len() / ids.len();
    let (mut rows, mut values) = (names.clone(), by_token.data.clone());
    for (name, title) in [("error_first_order", "error"), ("skip_first_order", "skip connection")] {
        if let Some(rest) = of(name).filter(|rest| rest.len() == tokens) {
            rows.push(title.to_owned());
            values.extend(rest);
        }
    }
    let columns = (0..tokens).map(|t| labels.get(t).cloned().unwrap_or_else(|| t.to_string())).collect();
    let mut map = Heatmap::new("First-order effects of features at each token", rows, columns, values);
    (map.map, map.subtitle, map.unit) = (Map::Diverging, on, "first-order effect".to_owned());
    let mut found = vec![Figure::from(map)];
    if let (Some(first), Some(exact)) = (of("first_order"), of("exact")) {
        let mut scatter = Scatter::new(
            "Features: first order and exact effects",
            Axis::linear("first order"),
            Axis::linear("exact effect"),
        );
        let each = names.iter().zip(first).zip(exact);
        let point = |((name, &x), &y): ((&String, &f32), &f32)| Point {
            x: x.into(),
            y: y.into(),
            group: 0,
            label: format!("feature {name}"),
        };
        scatter.points = each.map(point).collect();
        found.push(scatter.prediction().into());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> Labelled {
        Labelled::default()
            .note("analysis", "features")
            .with("features", &[("feature", 2)], vec![70.0, 3.0])
            .with("first_order", &[("feature", 2)], vec![-1.5, 0.25])
            .with("first_order_by_token", &[("feature", 2), ("token", 2)], vec![0.5, -2.0, 0.25, 0.0])
            .with("error_first_order", &[("token", 2)], vec![0.25, 0.5])
    }

    #[test]
    fn features_are_rows_and_the_error_is_the_last_one() {
        let labels = ["The", " cat"].map(str::to_owned);
        let found = figures(&result(), &labels);
        let [Figure::Heatmap(map)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&map.rows[..], &map.columns[..]), (&["70", "3", "error"].map(str::to_owned)[..], &labels[..]));
        assert_eq!(map.values, [0.5, -2.0, 0.25, 0.0, 0.25, 0.5]);
        assert!(figures(&Labelled::default(), &labels).is_empty());
        let none = Labelled::default().with("features", &[("feature", 0)], Vec::new()).with(
            "first_order_by_token",
            &[("feature", 0), ("token", 2)],
            Vec::new(),
        );
        assert!(figures(&none, &labels).is_empty(), "nothing moves");
    }

    #[test]
    fn exact_effects_are_drawn_over_predictions() {
        let found = figures(&result().with("exact", &[("feature", 2)], vec![-1.0, 0.5]).note("prompts", "2"), &[]);
        let [Figure::Heatmap(map), Figure::Scatter(scatter)] = &found[..] else { panic!("{found:?}") };
        assert!(map.subtitle.contains("mean over 2 prompts") && map.columns == ["0", "1"]);
        assert_eq!((scatter.points.len(), scatter.points[0].y, &scatter.points[0].label[..]), (2, -1.0, "feature 70"));
    }
}
