//! `locate`: the posterior of the place of a source, and what can be told apart.

use resolvent_field::Labelled;

use super::read::heatmap;
use crate::{Figure, Heatmap, Map};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let maps = [
        ("posterior", "Where the source is", "posterior"),
        ("identifiable", "Which places can be identified", "mean posterior of the own place"),
    ];
    let map = |(name, title, unit): (&str, &str, &str)| {
        let map = heatmap(title, result.array(name)?, labels, Map::Sequential)?;
        Some(Figure::from(Heatmap { unit: unit.to_owned(), ..map }))
    };
    maps.into_iter().filter_map(map).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_drawn() {
        let axes = [("level", 2), ("token", 3)];
        let result = Labelled::default().note("analysis", "locate").with("posterior", &axes, vec![0.0; 6]);
        assert_eq!(figures(&result, &[]).len(), 1);
        assert_eq!(figures(&result.with("identifiable", &axes, vec![1.0; 6]), &[]).len(), 2);
    }
}
