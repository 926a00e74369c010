//! `growth`: the growth of a source from level 0, beside the products of radii and of gains, and the departure of each
//! block.

use resolvent_field::Labelled;

use crate::{Axis, Figure, Lines, Series};

pub(super) fn figures(result: &Labelled) -> Vec<Figure> {
    let count = result.array("tokens").map_or(0, |tokens| tokens.data.len());
    // The first token is drawn; a table has the others.
    let series = |name: &str, legend: &str| {
        let data = result.array(name)?.data.iter().step_by(count.max(1)).enumerate();
        Some(Series::new(legend, data.map(|(level, &x)| (level as f64, f64::from(x))).collect()))
    };
    let plot = |title: &str, x: &str, y: Axis, series: Vec<Option<Series>>| {
        let mut lines = Lines::new(title, Axis::whole(x), y);
        lines.series = series.into_iter().flatten().collect();
        lines.markers = true;
        (!lines.series.is_empty()).then(|| Figure::from(lines))
    };
    let grown = vec![
        series("growth", "growth"),
        series("by_radius", "product of radii"),
        series("by_gain", "product of gains"),
    ];
    let blocks = vec![series("gain", "gain"), series("radius", "radius")];
    let both = [
        plot("Growth of a source from level 0", "level", Axis::log("largest |G s| / |s|"), grown),
        plot("Blocks", "block", Axis::log("largest |A s| / |s|, and largest eigenvalue"), blocks),
        plot(
            "Departure from normality",
            "block",
            Axis::linear("0: normal; 1: all eigenvalues are 0"),
            vec![series("departure", "departure")],
        ),
    ];
    both.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_drawn() {
        let (block, level) = ([("block", 1), ("token", 2)], [("level", 2), ("token", 2)]);
        let result = Labelled::default()
            .with("gain", &block, vec![2.0, 3.0])
            .with("radius", &block, vec![1.5, 2.5])
            .with("departure", &block, vec![0.5, 0.25])
            .with("growth", &level, vec![1.0, 1.0, 2.0, 3.0])
            .with("tokens", &[("token", 2)], vec![0.0, 1.0]);
        let found = figures(&result);
        let [Figure::Lines(grown), Figure::Lines(_), Figure::Lines(departure)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(grown.series[0].points, [(0.0, 1.0), (1.0, 2.0)]);
        assert_eq!(departure.series[0].points, [(0.0, 0.5)]);
        assert!(figures(&Labelled::default()).is_empty());
    }
}
