//! Correlations across scales.

use super::data::{Results, array, list};
use crate::{Axis, Bars, Category, Estimate, Section};

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("scaling");
    let Some((_, result)) = all.first() else { return section };
    let (small, quantities, predictors) =
        (list(result, "small"), list(result, "quantities"), list(result, "predictors"));
    let [values, low, high] = ["correlation", "correlation_low", "correlation_high"].map(|name| array(result, name));
    let mut bars = Bars::new("Held-out correlation with the large model", Axis::linear("Pearson correlation"));
    bars.subtitle = "95 % intervals over prompts".to_owned();
    bars.dots = true;
    bars.groups = predictors.iter().map(|p| p.replace('_', " ")).collect();
    for (m, model) in small.iter().enumerate() {
        for (q, quantity) in quantities.iter().enumerate() {
            let at = |p: usize| (m * quantities.len() + q) * predictors.len() + p;
            let estimate = |p: usize| Some(Estimate::within(*values.get(at(p))?, *low.get(at(p))?, *high.get(at(p))?));
            bars.categories.push(Category {
                name: format!("{model}: {quantity}"),
                estimates: (0..predictors.len()).map(estimate).collect(),
            });
        }
    }
    section.figure(
        bars,
        "Maps of the small model over level and token, resampled at equal relative depth, against those of the large \
         model on held-out prompts: patch effects, logarithms of |dJ/dh|, and token-to-token slices. Predictors: an \
         affine map for each level, the small model's values unchanged, the mean of each level, and a small model with \
         random weights.",
    )
}
