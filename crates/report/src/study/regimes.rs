//! Errors over amplitudes, and radii over depth.

use resolvent_field::{Labelled, jet_radius};

use super::data::{Results, array, labels, list, medians, rows};
use crate::{Axis, Grid, Heatmap, Lines, Map, Point, Reference, Scatter, Section};

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("regimes");
    let Some((task, first)) = all.first() else { return section };
    let directions = list(first, "directions");
    let errors = |title: &str, name: &str| {
        let mut plot =
            Lines::new(title, Axis::log("amplitude, in units of |h[l,t]|"), Axis::log("error of first order"));
        plot.subtitle = "median and middle half of all sources".to_owned();
        plot.markers = true;
        plot.references = vec![Reference::Level(0.2, "20 %".to_owned())];
        let amplitudes = array(first, "amplitudes");
        for (index, direction) in directions.iter().enumerate() {
            let mut groups: Vec<(f64, Vec<f64>)> = amplitudes.iter().map(|&a| (a, Vec::new())).collect();
            for (_, result) in &all {
                for (row, _) in
                    rows(result, name).iter().zip(array(result, "direction")).filter(|(_, d)| *d as usize == index)
                {
                    // A source without any effect has no error.
                    row.iter().zip(&mut groups).filter(|(e, _)| **e > 0.0).for_each(|(e, g)| g.1.push(*e));
                }
            }
            plot.series.push(medians(direction, groups));
        }
        plot
    };
    let mut depth =
        Lines::new("Radius over depth", Axis::whole("level of the source"), Axis::log("linear radius / |h[l,t]|"));
    depth.subtitle = "median and middle half of all sources".to_owned();
    depth.markers = true;
    for (index, direction) in directions.iter().enumerate() {
        depth.series.push(medians(direction, by_level(&all, index)));
    }
    let grid = Grid::new(
        "",
        vec![
            errors("Error of J's response", "error").into(),
            errors("Error of the whole downstream field", "field_error").into(),
            depth.into(),
        ],
    );
    let section = section.figure(
        grid,
        "How far the response to a source of a given size is from the first-order one: of J, and of the field at all levels \
         above the source. Directions: the displacement towards the corrupted prompt, the sensitivity of J, and a random one.",
    );
    let section = section.figure(
        by_jet(&all, &directions),
        "Radius without a sweep: second-order forward mode gives dJ/da and d2J/da2 of a source, and 0.4 |dJ/da / d2J/da2| is \
         where their quotient says that the error reaches 20 %. Sources whose radius was found by bisection.",
    );
    match example(first) {
        Some(map) => section.figure(
            map,
            format!("Linear radius along the displacement, first pair of {task}. Places where the prompts do not differ have none."),
        ),
        None => section,
    }
}

/// Draws radii from jets against radii found by bisection.
fn by_jet(all: &[(&str, &Labelled)], directions: &[String]) -> Scatter {
    let mut plot = Scatter::new(
        "Radius by jet and by bisection",
        Axis::log("radius from the jet"),
        Axis::log("radius found by bisection"),
    );
    plot.groups = directions.to_vec();
    let mut ratios = Vec::new();
    for (task, result) in all {
        let [group, level, token, radius, first, second] =
            ["direction", "level", "token", "radius", "first_order", "second"].map(|name| array(result, name));
        for i in (0..radius.len()).filter(|&i| radius[i].is_finite()) {
            let jet = jet_radius(first[i], second[i]);
            ratios.push((jet / radius[i]).log2().abs());
            let label = format!("{task}, h{}, token {}", level[i], token[i]);
            plot.points.push(Point { x: jet, y: radius[i], group: group[i] as usize, label });
        }
    }
    let share = ratios.iter().filter(|r| **r < 1.0).count() as f64 / ratios.len().max(1) as f64;
    let mut plot = plot.prediction();
    plot.subtitle = format!("{:.0} % within a factor of two, n = {}", 100.0 * share, ratios.len());
    plot
}

/// Returns the radii of one direction, grouped by level.
fn by_level(all: &[(&str, &Labelled)], direction: usize) -> Vec<(f64, Vec<f64>)> {
    let mut groups: Vec<(f64, Vec<f64>)> = Vec::new();
    for (_, result) in all {
        let [directions, levels, radii] = ["direction", "level", "radius"].map(|name| array(result, name));
        for ((_, level), radius) in
            directions.iter().zip(&levels).zip(&radii).filter(|((d, _), _)| **d as usize == direction)
        {
            match groups.iter_mut().find(|(l, _)| l == level) {
                Some((_, group)) => group.push(*radius),
                None => groups.push((*level, vec![*radius])),
            }
        }
    }
    groups.sort_by(|a, b| a.0.total_cmp(&b.0));
    groups
}

/// Draws the radii of the first prompt along the displacement.
fn example(result: &Labelled) -> Option<Heatmap> {
    let [directions, prompts, levels, tokens, radii] =
        ["direction", "prompt", "level", "token", "radius"].map(|name| array(result, name));
    let labels = labels(result);
    let mut seen: Vec<f64> = levels.clone();
    seen.sort_by(f64::total_cmp);
    seen.dedup();
    let mut values = vec![f32::NAN; seen.len() * labels.len()];
    for i in (0..radii.len()).filter(|&i| directions[i] == 0.0 && prompts[i] == 0.0) {
        let row = seen.iter().position(|l| *l == levels[i])?;
        let cell = values.get_mut(row * labels.len() + tokens[i] as usize)?;
        *cell = if radii[i].is_finite() { radii[i] as f32 } else { f32::NAN };
    }
    let mut map = Heatmap::new("Linear radius", seen.iter().map(|l| format!("h{l}")).collect(), labels, values);
    (map.map, map.unit) = (Map::Sequential, "radius / |h[l,t]|".to_owned());
    Some(map)
}
