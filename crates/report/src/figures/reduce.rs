//! `reduce`: errors over ranks, for one basis and for one by role.

use resolvent_field::Labelled;

use crate::reductions::{BASES, Errors};
use crate::{Axis, Figure, Grid, Lines, Reference, Series};

pub(super) fn figures(result: &Labelled) -> Vec<Figure> {
    let Some(errors) = Errors::of(result) else { return Vec::new() };
    let plot = |basis: usize| {
        let mut plot = Lines::new(BASES[basis], Axis::log("directions k"), Axis::linear("relative error"));
        plot.subtitle = format!(
            "actual effects of held-out patches, level {}, sensitivities {}; {} prompts",
            result.fact("level"),
            result.fact("sensitivities"),
            result.fact("prompts")
        );
        plot.markers = true;
        let floor = f64::from(errors.value("floor"));
        plot.references = vec![Reference::Level(floor, "all directions".to_owned())];
        let wide = |x: &f32| f64::from(*x);
        for (method, title) in errors.methods() {
            let of = |name: &str| errors.over_ranks(name, (basis, method)).iter().map(wide);
            let points = errors.ranks.iter().map(wide).zip(of("error")).collect();
            let band: Vec<(f64, f64)> = of("error_low").zip(of("error_high")).collect();
            // The other bands would hide each other.
            let drawn = title == "balanced" && band.iter().all(|(low, high)| low.is_finite() && high.is_finite());
            plot.series.push(Series::new(title, points).with_band(if drawn { band } else { Vec::new() }));
        }
        plot
    };
    vec![Grid::new("Reduced descriptions", vec![plot(0).into(), plot(1).into()]).into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_line_in_both_plots() {
        let found = figures(&crate::reductions::tests::result());
        let [Figure::Grid(grid)] = &found[..] else { panic!("{found:?}") };
        let [Figure::Lines(one), Figure::Lines(by_role)] = &grid.figures[..] else { panic!("{grid:?}") };
        assert_eq!((one.series.len(), by_role.series.len()), (2, 2));
        assert_eq!(by_role.series[0].points, [(2.0, 0.375), (8.0, 0.4375)], "balanced is the second method");
        assert_eq!((by_role.series[0].band.len(), by_role.series[1].band.len()), (2, 0));
    }
}
