//! `regime`: errors over amplitudes, and radii over the field.

use resolvent_field::Labelled;

use super::read::{observable, place};
use crate::{Axis, Figure, Heatmap, Lines, Map, Reference, Series};

/// Most sources that have a line of their own; with more, their quartiles are drawn.
const LINES: usize = 8;

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let (sites, amplitudes, errors) = (of("sites"), of("amplitudes"), of("error"));
    let unit = result.fact("amplitude_unit");
    let mut plot = Lines::new(
        "Error of the first-order response",
        Axis::log(format!("amplitude, in units of {unit}")),
        Axis::log("relative error"),
    );
    plot.subtitle = observable(result);
    plot.markers = true;
    plot.references = vec![Reference::Level(0.2, "20 %".to_owned())];
    let rows: Vec<&[f32]> = errors.chunks(amplitudes.len().max(1)).collect();
    if rows.len() <= LINES {
        for (n, row) in rows.iter().enumerate() {
            let name = place(sites[2 * n] as usize, sites[2 * n + 1] as usize, labels);
            let points = amplitudes.iter().zip(*row).map(|(a, e)| (f64::from(a.abs()), f64::from(*e)));
            plot.series.push(Series::new(name, points.collect()));
        }
    } else {
        let groups = amplitudes.iter().enumerate().map(|(i, a)| {
            (f64::from(a.abs()), rows.iter().map(|row| f64::from(row[i])).filter(|e| *e > 0.0).collect())
        });
        plot.subtitle = format!("{}: median and middle half of {} sources", plot.subtitle, rows.len());
        plot.series.push(crate::study::medians("all sources", groups));
    }
    let mut figures = vec![Figure::from(plot)];
    figures.extend(map(result, labels, (sites, of("radius"))).map(Figure::from));
    figures
}

/// Draws the radii as a map; `None` if there are fewer than three sources or no tokens.
fn map(result: &Labelled, labels: &[String], (sites, radii): (&[f32], &[f32])) -> Option<Heatmap> {
    let levels = sites.iter().step_by(2).fold(0.0f32, |m, l| m.max(*l)) as usize + 1;
    if radii.len() < 3 || labels.is_empty() {
        return None;
    }
    let mut values = vec![f32::NAN; levels * labels.len()];
    for (place, radius) in sites.chunks(2).zip(radii) {
        let cell = values.get_mut(place[0] as usize * labels.len() + place[1] as usize)?;
        *cell = if radius.is_finite() { *radius } else { f32::NAN };
    }
    let mut map =
        Heatmap::new("Linear radius", (0..levels).map(|l| format!("h{l}")).collect(), labels.to_vec(), values);
    map.subtitle = format!("along {}", result.fact("direction"));
    (map.map, map.unit) = (Map::Sequential, format!("amplitude, in units of {}", result.fact("amplitude_unit")));
    Some(map)
}
