//! `lens`: the probability of the model's answer at every place, and the divergence from it.

use resolvent_field::Labelled;

use super::read::{heatmap, number, observable};
use crate::{Axis, Figure, Heatmap, Lines, Map, Series};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let maps = [
        ("answer", "probability of the answer", "probability"),
        ("kl", "divergence from the answer", "KL(p[L,t] || p[l,t]), nats"),
    ];
    let map = |(name, title, unit): (&str, &str, &str)| {
        let title = format!("{}: {title}", lens(result));
        let map = heatmap(title, result.array(name)?, labels, Map::Sequential)?;
        Some(Figure::from(Heatmap { unit: unit.to_owned(), ..map }))
    };
    maps.into_iter().filter_map(map).chain(values(result)).collect()
}

/// Returns the name of the lens.
fn lens(result: &Labelled) -> &'static str {
    if result.fact("averaged_over").is_empty() { "Logit lens" } else { "Lens of averaged operators" }
}

/// Returns J over levels; `None` if the result has none.
fn values(result: &Labelled) -> Option<Figure> {
    number(result, "value")?;
    let values = result.array("value")?.data.iter().enumerate().filter(|(_, j)| j.is_finite());
    let mut lines = Lines::new(
        format!("{}: the observable", lens(result)),
        Axis::linear("level"),
        Axis::linear(observable(result)),
    );
    lines.series.push(Series::new("J", values.map(|(level, &j)| (level as f64, f64::from(j))).collect()));
    Some(lines.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_come_with_the_observable_over_levels() {
        let axes = [("level", 2), ("token", 3)];
        let result = Labelled::default()
            .note("analysis", "lens")
            .with("answer", &axes, vec![0.0, 0.25, 0.5, 1.0, 1.0, 0.5])
            .with("kl", &axes, vec![3.0, 2.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(figures(&result, &[]).len(), 2);
        let found = figures(&result.with("value", &[("level", 2)], vec![-1.0, 2.0]), &[]);
        let [Figure::Heatmap(answer), Figure::Heatmap(_), Figure::Lines(lines)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((answer.title.as_str(), answer.values[5]), ("Logit lens: probability of the answer", 0.5));
        assert_eq!(lines.series[0].points, [(0.0, -1.0), (1.0, 2.0)]);
    }
}
