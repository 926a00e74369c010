//! `average`: gain, distance from the identity and spread of the averaged operators, level by level.

use resolvent_field::Labelled;

use super::read::prompts;
use crate::{Axis, Figure, Lines, Series};

pub(super) fn figures(result: &Labelled) -> Vec<Figure> {
    let series = |name: &str, legend: &str| {
        // The last level is the identity, and has no spread: a logarithm leaves zeros out.
        let data = result.array(name)?.data.iter().enumerate().filter(|(_, x)| **x > 0.0);
        Some(Series::new(legend, data.map(|(level, &x)| (level as f64, f64::from(x))).collect()))
    };
    let plot = |title: &str, axis: &str, series: Vec<Option<Series>>| {
        let mut lines = Lines::new(title, Axis::whole("level"), Axis::log(axis));
        lines.series = series.into_iter().flatten().collect();
        lines.markers = true;
        lines.subtitle = format!("{}, {} positions", prompts(result), result.fact("positions"));
        (!lines.series.is_empty()).then(|| Figure::from(lines))
    };
    let sizes = vec![series("gain", "gain |J| / √d"), series("from_identity", "from the identity |J - 1| / √d")];
    let spreads = vec![series("spread", "of a prompt"), series("error", "of the mean")];
    let both = [
        plot("Averaged operators to the last level", "Frobenius norm over √d", sizes),
        plot("Spread over prompts", "standard deviation over |J|", spreads),
    ];
    both.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prompt_has_no_spread() {
        let axis = [("level", 2)];
        let result =
            Labelled::default().with("gain", &axis, vec![2.0, 1.0]).with("from_identity", &axis, vec![1.5, 0.0]);
        let found = figures(&result);
        let [Figure::Lines(lines)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(lines.series[1].points, [(0.0, 1.5)]);
        let result = result.with("spread", &axis, vec![0.5, 0.0]).with("error", &axis, vec![0.1, 0.0]);
        assert_eq!(figures(&result).len(), 2);
    }
}
