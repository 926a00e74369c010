//! How much of an answer displacements carry.

use resolvent_field::Labelled;

use super::data::{Results, heatmap, means, rows};
use crate::{Axis, Figure, Grid, Lines, Map, Reference, Section};

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("transfers");
    let Some((task, first)) = all.first() else { return section };
    let maps: Vec<Figure> = [("map", "Transfer fraction"), ("map_random", "Random directions of the same length")]
        .into_iter()
        .filter_map(|(name, title)| {
            let mut map = heatmap(title, first, name, Map::Diverging, "fraction of the answer")?;
            map.limit = Some(1.0);
            Some(map)
        })
        .map(Figure::from)
        .collect();
    let lines: Vec<Figure> =
        [("best", "Best token of each level"), ("at_changed", "The changed token"), ("at_last", "The last token")]
            .into_iter()
            .map(|(name, title)| by_level(&all, name, title).into())
            .collect();
    section
        .figure(
            Grid::new("", maps),
            format!(
                "J of the corrupted prompt with the clean prompt's h[l,t] put in at one place, from 0 (nothing) to 1 (the clean \
                 prompt's J): first pair of {task}."
            ),
        )
        .figure(
            Grid::new("", lines),
            "Fractions by level, means and 95 % intervals over all prompts, beside vectors of the same length: random ones, and \
             displacements to other prompts of the task.",
        )
}

fn by_level(all: &[(&str, &Labelled)], name: &str, title: &str) -> Lines {
    let mut plot = Lines::new(title, Axis::whole("level"), Axis::linear("fraction of the answer"));
    plot.width = 340.0;
    plot.references = vec![Reference::Level(1.0, String::new())];
    for (prefix, legend) in [("", "displacement"), ("shuffled_", "to other prompts"), ("random_", "random")] {
        let of_all: Vec<Vec<f64>> =
            all.iter().flat_map(|(_, result)| rows(result, &format!("{prefix}{name}"))).collect();
        plot.series.push(means(legend, &of_all, |l| l as f64));
    }
    plot
}
