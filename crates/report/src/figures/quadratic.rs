//! `quadratic`: errors of both orders over amplitudes, and the responses of all samples beside their predictions.

use resolvent_field::Labelled;

use super::read::{named_place, observable};
use crate::{Axis, Figure, Lines, Reference, Series};

pub(super) fn figures(result: &Labelled) -> Vec<Figure> {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let mut plot = Lines::new(
        "Errors of first and second order",
        Axis::log("amplitude, in units of |h[l,t]|"),
        Axis::log("relative error"),
    );
    plot.subtitle = format!("{} at {}", observable(result), named_place(result, "place").1);
    plot.markers = true;
    plot.references = vec![Reference::Level(0.2, "20 %".to_owned())];
    for (name, legend) in [("error_first", "first order"), ("error_second", "second order")] {
        let points = of("amplitudes").iter().zip(of(name)).map(|(a, e)| (f64::from(*a), f64::from(*e)));
        plot.series.push(Series::new(legend, points.collect()));
    }
    let mut spectrum = Lines::new(
        "Curvatures of the directions",
        Axis::whole("direction"),
        Axis::linear("d2J/da2, a in units of |h[l,t]|"),
    );
    let size = of("size").first().map_or(1.0, |h| f64::from(*h));
    let points = of("curvature").iter().enumerate();
    let points = points.map(|(i, q)| (i as f64 + 1.0, f64::from(*q) * size * size)).collect();
    (spectrum.series, spectrum.markers) = (vec![Series::new("curvature", points)], true);
    spectrum.references = vec![Reference::Level(0.0, String::new())];
    match of("amplitudes").is_empty() {
        true => Vec::new(),
        false => vec![Figure::from(plot), Figure::from(spectrum)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_and_the_curvatures_are_drawn() {
        let amplitude = [("amplitude", 2)];
        let result = Labelled::default()
            .with("amplitudes", &amplitude, vec![0.5, 1.0])
            .with("error_first", &amplitude, vec![0.25, 0.5])
            .with("error_second", &amplitude, vec![0.125, 0.5])
            .with("size", &[("value", 1)], vec![2.0])
            .with("curvature", &[("direction", 2)], vec![1.0, -0.5]);
        let found = figures(&result);
        let [Figure::Lines(errors), Figure::Lines(spectrum)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(errors.series[1].points, [(0.5, 0.125), (1.0, 0.5)]);
        assert_eq!(spectrum.series[0].points, [(1.0, 4.0), (2.0, -2.0)]);
        assert!(figures(&Labelled::default()).is_empty());
    }
}
