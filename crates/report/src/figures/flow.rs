//! `flow`: by which places an effect reaches the observable, to first order and of the whole source.

use resolvent_field::Labelled;

use super::read::{heatmap, number, observable};
use crate::{Figure, Heatmap, Map};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let sum = |name: &str| number(result, name).map_or_else(String::new, |sum| format!(", sum over tokens {sum:.4}"));
    [("flow", "Flow, to first order", "effect"), ("secant", "Flow of the whole source", "secant_effect")]
        .into_iter()
        .filter_map(|(name, title, total)| {
            let map = heatmap(title, result.array(name)?, labels, Map::Diverging)?;
            let subtitle = format!("{}{}", observable(result), sum(total));
            Some(Heatmap { subtitle, unit: "part of the effect on J".to_owned(), ..map }.into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_for_each_form() {
        let axes = [("level", 2), ("token", 3)];
        let result = Labelled::default()
            .note("analysis", "flow")
            .with("flow", &axes, vec![0.0, 0.5, 0.0, 0.0, 0.25, 0.25])
            .with("effect", &[("value", 1)], vec![0.5]);
        assert_eq!(figures(&result, &[]).len(), 1);
        let both = result.with("secant", &axes, vec![0.0, 0.4, 0.0, 0.0, 0.1, 0.3]);
        let found = figures(&both, &[]);
        let [Figure::Heatmap(flow), Figure::Heatmap(secant)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((flow.subtitle.as_str(), secant.values[5]), ("J, sum over tokens 0.5000", 0.3));
    }
}
