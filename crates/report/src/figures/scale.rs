//! `scale`: correlations, and predicted against actual effects.

use resolvent_field::Labelled;

use crate::{Axis, Bars, Category, Estimate, Figure, Point, Scatter};

pub(super) fn figures(result: &Labelled, _: &[String]) -> Vec<Figure> {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let [predictors, quantities] = ["predictors", "quantities"].map(|key| result.list(key).unwrap_or_default());
    let mut bars = Bars::new("Held-out correlation with the large model", Axis::linear("Pearson correlation"));
    bars.subtitle = "95 % intervals over prompts".to_owned();
    bars.dots = true;
    bars.groups = predictors.iter().map(|p| p.replace('_', " ")).collect();
    let [values, low, high] = ["correlation", "correlation_low", "correlation_high"].map(of);
    for (q, quantity) in quantities.into_iter().enumerate() {
        let estimate = |p: usize| {
            let i = q * predictors.len() + p;
            let [value, low, high] = [values.get(i)?, low.get(i)?, high.get(i)?].map(|x| f64::from(*x));
            Some(Estimate::within(value, low, high))
        };
        let estimates = (0..predictors.len()).map(estimate).collect();
        bars.categories.push(Category { name: quantity.to_owned(), estimates });
    }
    let mut scatter = Scatter::new(
        "Effects of patches on held-out prompts",
        Axis::linear("predicted from the small model"),
        Axis::linear("effect in the large model"),
    );
    let points = of("predicted").iter().zip(of("actual"));
    scatter.points = points.map(|(x, y)| Point { x: (*x).into(), y: (*y).into(), ..Point::default() }).collect();
    vec![bars.into(), scatter.prediction().into()]
}
