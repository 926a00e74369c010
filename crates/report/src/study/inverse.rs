//! The change of J that chosen sources achieve, and their energy.

use resolvent_field::{Labelled, stats};

use super::data::{Results, array, list, means, rows};
use crate::{Axis, Bars, Category, Estimate, Grid, Lines, Reference, Section};

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("inverse");
    let Some((_, first)) = all.first() else { return section };
    let shares: Vec<f64> = list(first, "shares").iter().filter_map(|s| s.parse().ok()).collect();
    let mut plot = Lines::new(
        "What is achieved",
        Axis::linear("goal, as a share of the difference to the other prompt's J"),
        Axis::linear("achieved / goal"),
    );
    plot.markers = true;
    plot.references = vec![Reference::Level(1.0, "as predicted".to_owned())];
    for (task, result) in &all {
        let at = |i: usize| shares.get(i).copied().unwrap_or(f64::NAN);
        plot.series.push(means(task, &rows(result, "achieved"), at));
    }
    section.figure(
        Grid::new("", vec![plot.into(), energies(&all, first).into()]),
        "Sources of least energy at all tokens of the middle level, found by the adjoint in closed form and run \
         through the model: the change of J that they cause, divided by the goal. Right: the energy that other \
         choices need for the same predicted change, divided by the least energy.",
    )
}

fn energies(all: &[(&str, &Labelled)], first: &Labelled) -> Bars {
    let names = list(first, "baselines");
    let mut bars = Bars::new("Energy of other choices", Axis::log("energy / least energy"));
    bars.subtitle = "median and middle half over prompts".to_owned();
    bars.dots = true;
    bars.groups = all.iter().map(|(task, _)| (*task).to_owned()).collect();
    bars.references = vec![(1.0, "least".to_owned())];
    let estimate = |result: &Labelled, b: usize| {
        let values = array(result, "energy_ratio");
        let mine: Vec<f64> =
            values.into_iter().skip(b).step_by(names.len()).filter(|x| x.is_finite() && *x > 0.0).collect();
        let sorted = stats::sorted(&mine);
        let at = |q: f64| stats::quantile(&sorted, q);
        (!sorted.is_empty()).then(|| Estimate::within(at(0.5), at(0.25), at(0.75)))
    };
    bars.categories = names
        .iter()
        .enumerate()
        .map(|(b, name)| Category {
            name: name.replace('_', " "),
            estimates: all.iter().map(|(_, result)| estimate(result, b)).collect(),
        })
        .collect();
    bars
}
