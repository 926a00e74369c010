//! `invert`: sizes of the sources, and their energy compared with the baselines.

use resolvent_field::Labelled;

use super::read::observable;
use crate::{Axis, Bars, Category, Estimate, Figure, Heatmap, Map};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    [map(result, labels).map(Figure::from), Some(energies(result).into()), changes(result).map(Figure::from)]
        .into_iter()
        .flatten()
        .collect()
}

/// Draws the sizes of the sources relative to the field.
fn map(result: &Labelled, labels: &[String]) -> Option<Heatmap> {
    let (sites, sizes) = (&result.array("sites")?.data, &result.array("relative")?.data);
    let levels = sites.iter().step_by(2).fold(0.0f32, |m, l| m.max(*l)) as usize + 1;
    let mut values = vec![0.0; levels * labels.len()];
    for (place, size) in sites.chunks(2).zip(sizes) {
        *values.get_mut(place[0] as usize * labels.len() + place[1] as usize)? = *size;
    }
    let rows = (0..levels).map(|l| format!("h{l}")).collect();
    let mut map = Heatmap::new("Sources", rows, labels.to_vec(), values);
    map.subtitle = observable(result);
    (map.map, map.unit) = (Map::Sequential, "|s| / |h[l,t]|".to_owned());
    Some(map)
}

/// Draws the energy of the solution and of the baselines.
fn energies(result: &Labelled) -> Bars {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let mut bars = Bars::new("Energy", Axis::log("sum of |s|²"));
    bars.subtitle = "for the same predicted change".to_owned();
    bars.dots = true;
    bars.groups = vec!["energy".to_owned()];
    let row = |(name, energy): (&str, f32)| Category {
        name: name.replace('_', " "),
        estimates: vec![Some(Estimate::new(energy.into()))],
    };
    let found = of("energy").iter().map(|&e| ("found", e));
    let names = result.list("baselines").unwrap_or_default();
    let baselines = names.into_iter().zip(of("baseline_energy").iter().copied());
    bars.categories = found.chain(baselines).map(row).collect();
    bars
}

/// Draws predicted and achieved changes of the first goal; goals of the field are vectors and have no bar.
fn changes(result: &Labelled) -> Option<Bars> {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let (target, goals) = (f64::from(*of("target").first()?), of("target").len());
    let mut bars = Bars::new("Change of J", Axis::linear("first goal"));
    bars.groups = ["predicted", "achieved by the model"].map(str::to_owned).to_vec();
    bars.references = vec![(target, "goal".to_owned())];
    let row = |name: &str, predicted: f32, achieved: f32| Category {
        name: name.replace('_', " "),
        estimates: [predicted, achieved].map(|x| Some(Estimate::new(x.into()))).to_vec(),
    };
    bars.categories.push(row("found", *of("predicted").first()?, *of("achieved").first()?));
    let each = of("baseline_predicted").chunks(goals).zip(of("baseline_achieved").chunks(goals));
    for (name, (predicted, achieved)) in result.list("baselines").unwrap_or_default().into_iter().zip(each) {
        bars.categories.push(row(name, predicted[0], achieved[0]));
    }
    Some(bars)
}
