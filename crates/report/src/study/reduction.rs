//! Errors of reduced descriptions, over numbers of sites and over ranks.

use resolvent_field::Labelled;

use super::data::{Results, array, means};
use crate::{Axis, Grid, Heatmap, Lines, Map, Reference, Section};

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("reduction");
    let Some((_, first)) = all.first() else { return section };
    let (counts, ranks) = (array(first, "counts"), array(first, "ranks"));
    let (n, k) = (counts.len(), ranks.len());
    // A row has the errors over ranks for one number of sites; a column has those over numbers of sites for one rank.
    let over_ranks = |name: &str, row: usize| -> Vec<Vec<f64>> {
        all.iter().map(|(_, r)| array(r, name)[row * k..(row + 1) * k].to_vec()).collect()
    };
    let over_sites = |name: &str, column: usize| -> Vec<Vec<f64>> {
        all.iter().map(|(_, r)| array(r, name).iter().skip(column).step_by(k).copied().collect()).collect()
    };
    let mut by_rank = plot("Error over rank", "rank of the slices");
    let mut by_site = plot("Error over sites", "sites of the middle level");
    by_rank.series.push(means("all sites", &over_ranks("reduction", n - 1), |i| ranks[i]));
    by_rank.series.push(means("4 sites", &over_ranks("reduction", n - 3), |i| ranks[i]));
    by_rank.series.push(means("4 random sites", &over_ranks("random_sites", n - 3), |i| ranks[i]));
    by_rank.series.push(means("all sites, random directions", &over_ranks("random_directions", n - 1), |i| ranks[i]));
    by_site.series.push(means("all directions", &over_sites("reduction", k - 1), |i| counts[i]));
    by_site.series.push(means("8 directions", &over_sites("reduction", k - 4), |i| counts[i]));
    by_site.series.push(means("all directions, random sites", &over_sites("random_sites", k - 1), |i| counts[i]));
    section
        .figure(
            Grid::new("", vec![by_rank.into(), by_site.into()]),
            "First-order effects of held-out patches, predicted through n tokens of the middle level and k directions of each, \
             against the unreduced first order. Directions are principal components of displacements of other prompts; sites are \
             those of the largest sensitivity. Means and 95 % intervals over tasks.",
        )
        .figure(
            table(&all, &counts, &ranks),
            "Error against the model's own effects, mean over tasks. The last row and column keep everything: what is left there \
             is what first order itself misses.",
        )
}

fn plot(title: &str, axis: &str) -> Lines {
    let mut plot = Lines::new(title, Axis::log(axis), Axis::linear("relative error"));
    plot.markers = true;
    plot.references = vec![Reference::Level(0.2, "20 %".to_owned())];
    plot
}

fn table(all: &[(&str, &Labelled)], counts: &[f64], ranks: &[f64]) -> Heatmap {
    let mut sum = vec![0.0f64; counts.len() * ranks.len()];
    for (_, result) in all {
        sum.iter_mut().zip(array(result, "error")).for_each(|(s, e)| *s += e / all.len() as f64);
    }
    let name = |x: &f64, last: bool| if last { "all".to_owned() } else { x.to_string() };
    let rows = counts.iter().enumerate().map(|(i, x)| format!("n = {}", name(x, i + 1 == counts.len())));
    let columns = ranks.iter().enumerate().map(|(i, x)| format!("k = {}", name(x, i + 1 == ranks.len())));
    let values = sum.iter().map(|&x| x as f32).collect();
    let mut map = Heatmap::new("Error against the model's own effects", rows.collect(), columns.collect(), values);
    (map.map, map.unit) = (Map::Sequential, "relative error".to_owned());
    map.tokens = false;
    map
}
