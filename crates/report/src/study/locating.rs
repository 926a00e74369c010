//! Sources whose places are inferred from their effects.

use resolvent_field::Labelled;

use super::data::{Results, array, list};
use crate::{Axis, Grid, Lines, Section, Series};

/// The lines of the plot: a kind of source, and its name.
const KINDS: [(&str, &str); 3] = [
    ("linear", "random, to first order"),
    ("patch", "patches to the other prompt"),
    ("permuted", "control: numbers in another order"),
];

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("locating");
    if all.is_empty() {
        return section;
    }
    section.figure(
        Grid::new("", vec![by_level(&all, 0.0, "Found").into(), by_level(&all, 4.0, "Among the first five").into()]),
        "Share of sources whose place is the most probable one, and among the five most probable ones, by the level of the source, \
         over all tasks. Observed are 64 logits of the last token, with noise of 1 % of their change.",
    )
}

/// Draws the share of sources of each level with at most `most` places before the right one.
fn by_level(all: &[(&str, &Labelled)], most: f64, title: &str) -> Lines {
    let mut plot = Lines::new(title, Axis::whole("level of the source"), Axis::linear("share of sources"));
    plot.markers = true;
    for (name, legend) in KINDS {
        // By level: sources, and those that count.
        let mut levels: Vec<(f64, [f64; 2])> = Vec::new();
        for (_, result) in all {
            let kind = list(result, "kinds").iter().position(|kind| kind == name);
            let (kinds, ranks) = (array(result, "kind"), array(result, "rank"));
            for ((level, k), rank) in array(result, "level").into_iter().zip(kinds).zip(ranks) {
                if Some(k as usize) != kind {
                    continue;
                }
                let hit = f64::from(u8::from(rank <= most));
                match levels.iter_mut().find(|(l, _)| *l == level) {
                    Some((_, [sources, hits])) => (*sources, *hits) = (*sources + 1.0, *hits + hit),
                    None => levels.push((level, [1.0, hit])),
                }
            }
        }
        levels.sort_by(|a, b| a.0.total_cmp(&b.0));
        plot.series
            .push(Series::new(legend, levels.into_iter().map(|(l, [sources, hits])| (l, hits / sources)).collect()));
    }
    plot
}
