//! `green`: how far a source reaches, and the geometry of its propagation.

use resolvent_field::Labelled;

use super::read::{heatmap, named_place, number};
use crate::axis::number::value;
use crate::study::medians;
use crate::{Axis, Figure, Grid, Heatmap, Lines, Map, Series};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let (place, source) = named_place(result, "source");
    let what = match (result.fact("direction"), result.fact("unit")) {
        ("", _) => String::new(),
        (direction, "true") => format!(": {direction}, of unit length"),
        (direction, _) => format!(": {direction}"),
    };
    let map = |(name, title, unit, subtitle): (&str, &str, &str, String)| {
        let mut map = heatmap(title, result.array(name)?, labels, Map::Sequential)?;
        (map.unit, map.subtitle) = (unit.to_owned(), subtitle);
        map.marked = place.into_iter().collect();
        map.marked_as = "source".to_owned();
        Some(Figure::from(map))
    };
    let maps = [
        ("norm", "Response field", "|G s|", format!("source at {source}{what}")),
        ("block_norm", "Norms of the blocks", "|G(l',t'; l,t)|_F", format!("from {source}, any source")),
    ];
    let drawn = maps.into_iter().filter_map(map);
    drawn.chain(geometry(result)).chain(directions(result)).collect()
}

/// Draws the energy, its distance from the source, and its spread, level by level.
fn geometry(result: &Labelled) -> Option<Figure> {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let energy = of("energy");
    // Levels below the source have no energy, and therefore no geometry.
    let reached: Vec<usize> = (0..energy.len()).filter(|&l| energy[l] > 0.0).collect();
    let (first, last) = (*reached.first()?, *reached.last()?);
    let series = |name: &str, legend: &str| {
        let points = reached.iter().filter_map(|&l| Some((l as f64, f64::from(*of(name).get(l)?))));
        Series::new(legend, points.collect())
    };
    let plot = |title: &str, axis: Axis, series: Vec<Series>| {
        let mut plot = Lines::new(title, Axis::whole("level"), axis);
        (plot.series, plot.markers, plot.height) = (series, true, 200.0);
        plot
    };
    let tokens = Axis::linear("distance in tokens");
    let spread = [("centroid", "centroid"), ("width", "width"), ("front", "front: 90 % of the energy")];
    let mut distance =
        plot("Distance from the source", tokens, spread.map(|(name, legend)| series(name, legend)).to_vec());
    if let Some(velocity) = number(result, "velocity").filter(|v| v.is_finite()) {
        distance.subtitle = format!("velocity {} tokens a level", value(velocity));
    }
    let stays = plot("Energy that stays", Axis::linear("share at the source's token"), vec![series("stays", "")]);
    let energies = plot("Energy", Axis::log("sum of |G s|² over tokens"), vec![series("energy", "")]);
    let mut figures = vec![energies.into(), stays.into(), distance.into()];
    figures.extend(by_distance(result, first, last).map(Figure::from));
    Some(Grid::new("Geometry of propagation", figures).into())
}

/// Draws the shares of each level's energy by distance, up to the largest distance that has energy.
fn by_distance(result: &Labelled, first: usize, last: usize) -> Option<Heatmap> {
    let (array, energy) = (result.array("by_distance")?, &result.array("energy")?.data);
    let tokens = array.axes.last()?.1;
    let level = |l: usize| &array.data[l * tokens..(l + 1) * tokens];
    let end = (first..=last).filter_map(|l| level(l).iter().rposition(|e| *e > 0.0)).max()? + 1;
    let share = |l: usize| level(l)[..end].iter().map(move |e| if energy[l] > 0.0 { e / energy[l] } else { 0.0 });
    let values = (first..=last).flat_map(share).collect();
    let rows = (first..=last).map(|l| format!("h{l}")).collect();
    let columns = (0..end).map(|distance| distance.to_string()).collect();
    let mut map = Heatmap::new("Energy by distance in tokens", rows, columns, values);
    (map.map, map.unit, map.tokens) = (Map::Sequential, "share of the level's energy".to_owned(), false);
    Some(map)
}

/// Draws the lengths of the responses to random directions, and how much they differ.
fn directions(result: &Labelled) -> Vec<Figure> {
    let (Some(gain), Some(anisotropy)) = (result.array("gain"), result.array("anisotropy")) else {
        return Vec::new();
    };
    let levels = anisotropy.data.len();
    let at = |l: usize| gain.data.iter().skip(l).step_by(levels).map(|g| f64::from(*g)).collect::<Vec<_>>();
    let groups = (0..levels).map(|l| (l as f64, at(l))).filter(|(_, gains)| gains.iter().any(|g| *g > 0.0));
    let mut gains = Lines::new("Gain of random directions", Axis::whole("level"), Axis::log("|G s|, |s| = 1"));
    gains.subtitle = format!("median and middle half of {} directions", gain.axes[0].1);
    gains.series = vec![medians("gain", groups)];
    let mut unlike = Lines::new("Anisotropy", Axis::whole("level"), Axis::linear("largest over mean squared gain"));
    let points = anisotropy.data.iter().enumerate().filter(|(_, a)| **a > 0.0);
    unlike.series = vec![Series::new("anisotropy", points.map(|(l, a)| (l as f64, f64::from(*a))).collect())];
    (gains.markers, unlike.markers) = (true, true);
    vec![gains.into(), unlike.into()]
}
