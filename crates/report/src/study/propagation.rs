//! Where responses go, and over how many directions they are spread.

use resolvent_field::Labelled;

use super::data::{Results, array, heatmap, means, medians, rows};
use crate::{Axis, Figure, Grid, Lines, Map, Reference, Section};

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("propagation");
    let Some((task, first)) = all.first() else { return section };
    let maps: Vec<Figure> = [("map", "Along the displacement"), ("map_random", "Random directions, root mean square")]
        .into_iter()
        .filter_map(|(name, title)| heatmap(title, first, name, Map::Sequential, "|G s|"))
        .map(Figure::from)
        .collect();
    let lines = vec![
        geometry(&all, "Energy that stays", "share at the source's token", ["stays", "random_stays"]).into(),
        geometry(&all, "Energy at the last token", "share at the last token", ["last", "random_last"]).into(),
        geometry(&all, "Centroid", "mean distance, tokens", ["centroid", "random_centroid"]).into(),
        spectrum(&all).into(),
        ranks(&all).into(),
    ];
    section
        .figure(
            Grid::new("Response fields", maps),
            format!("The response to a source of unit length at the changed token of the embedding: first pair of {task}."),
        )
        .figure(
            Grid::new("", lines),
            "Sources at the changed token. The first three follow a source in the embedding through the levels, with 95 % intervals \
             over prompts; the spectrum is that of the operator from one place to all tokens of level L; its stable rank is \
             |G|_F^2 / s1^2, the number of directions among which the energy is spread.",
        )
}

/// Draws a share or a distance by level, for sources in the embedding.
fn geometry(all: &[(&str, &Labelled)], title: &str, axis: &str, names: [&str; 2]) -> Lines {
    let mut plot = Lines::new(title, Axis::whole("level"), Axis::linear(axis));
    for (name, legend) in names.into_iter().zip(["displacement", "random directions"]) {
        let from_embedding = all.iter().flat_map(|(_, result)| {
            let levels = array(result, "level");
            rows(result, name).into_iter().zip(levels).filter(|(_, level)| *level == 0.0).map(|(row, _)| row)
        });
        plot.series.push(means(legend, &from_embedding.collect::<Vec<_>>(), |l| l as f64));
    }
    plot
}

fn spectrum(all: &[(&str, &Labelled)]) -> Lines {
    let mut plot = Lines::new("Singular values", Axis::whole("index"), Axis::log("s / s1"));
    plot.subtitle = "median and middle half, by level of the source".to_owned();
    plot.markers = true;
    let mut by_level: Vec<(f64, Vec<Vec<f64>>)> = Vec::new();
    for (_, result) in all {
        for (row, level) in rows(result, "singular").into_iter().zip(array(result, "level")) {
            let scaled: Vec<f64> = row.iter().map(|s| s / row[0]).collect();
            match by_level.iter_mut().find(|(l, _)| *l == level) {
                Some((_, group)) => group.push(scaled),
                None => by_level.push((level, vec![scaled])),
            }
        }
    }
    for (level, group) in by_level {
        let width = group.iter().map(Vec::len).max().unwrap_or(0);
        let at = |i: usize| (i as f64 + 1.0, group.iter().filter_map(|row| row.get(i)).copied().collect());
        plot.series.push(medians(&format!("h{level}"), (0..width).map(at)));
    }
    plot
}

fn ranks(all: &[(&str, &Labelled)]) -> Lines {
    let mut plot = Lines::new("Stable rank", Axis::whole("level of the source"), Axis::log("|G|_F^2 / s1^2"));
    plot.subtitle = "median and middle half over prompts".to_owned();
    plot.markers = true;
    for (task, result) in all {
        let mut groups: Vec<(f64, Vec<f64>)> = Vec::new();
        for (level, rank) in array(result, "level").into_iter().zip(array(result, "stable_rank")) {
            match groups.iter_mut().find(|(l, _)| *l == level) {
                Some((_, group)) => group.push(rank),
                None => groups.push((level, vec![rank])),
            }
        }
        groups.sort_by(|a, b| a.0.total_cmp(&b.0));
        plot.series.push(medians(task, groups));
    }
    let d = all.first().and_then(|(_, result)| result.number("d"));
    plot.references = d.map(|d| Reference::Level(d, "d: all directions alike".to_owned())).into_iter().collect();
    plot
}
