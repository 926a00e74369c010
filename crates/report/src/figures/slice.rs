//! `slice`: singular values of the strongest blocks and effective ranks of all blocks, or those of the whole operator.

use resolvent_field::Labelled;

use super::read::place;
use crate::{Axis, Figure, Lines, Reference, Series};

/// Most blocks that have a line of their own.
const LINES: usize = 6;

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let (pairs, values) = (of("pairs"), of("singular_values"));
    let count = pairs.len() / 4;
    let width = values.len() / count.max(1);
    if width == 0 {
        return whole(result).into_iter().map(Figure::from).collect();
    }
    let norm = |n: usize| values[n * width..(n + 1) * width].iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| norm(b).total_cmp(&norm(a)));
    let at = |l: f32, t: f32| place(l as usize, t as usize, labels);
    let mut plot =
        Lines::new("Singular values of the strongest blocks", Axis::whole("index"), Axis::log("singular value"));
    plot.subtitle = format!("{} of {count} blocks", LINES.min(count));
    plot.markers = true;
    for &n in order.iter().take(LINES) {
        let p = &pairs[4 * n..4 * n + 4];
        let points = values[n * width..(n + 1) * width].iter().enumerate();
        let points = points.map(|(i, s)| (i as f64 + 1.0, f64::from(*s))).collect();
        plot.series.push(Series::new(format!("{} from {}", at(p[0], p[1]), at(p[2], p[3])), points));
    }
    let mut rank =
        Lines::new("Effective rank", Axis::whole("levels between source and response"), Axis::linear("effective rank"));
    rank.subtitle = "median and middle half of all blocks".to_owned();
    let mut groups: Vec<(f64, Vec<f64>)> = Vec::new();
    for (p, r) in pairs.chunks(4).zip(of("effective_rank")) {
        let apart = f64::from(p[0] - p[2]);
        match groups.iter_mut().find(|(a, _)| *a == apart) {
            Some((_, group)) => group.push((*r).into()),
            None => groups.push((apart, vec![(*r).into()])),
        }
    }
    groups.sort_by(|a, b| a.0.total_cmp(&b.0));
    rank.series.push(crate::study::medians("blocks", groups));
    vec![plot.into(), rank.into()]
}

/// Draws the singular values of a whole operator with their lower and upper bounds; `None` without any.
fn whole(result: &Labelled) -> Option<Lines> {
    let of = |name: &str| result.array(name).map(|a| &a.data[..]);
    let (values, ranges) = (of("svd_values")?, of("svd_range")?);
    let mut plot =
        Lines::new("Singular values of the operator", Axis::whole("index"), Axis::linear("singular value of G"));
    plot.subtitle = "with bounds of each".to_owned();
    plot.markers = true;
    let points = values.iter().enumerate().map(|(i, s)| (i as f64 + 1.0, f64::from(*s))).collect();
    let band = ranges.chunks(2).map(|range| (f64::from(range[0]), f64::from(range[1]))).collect();
    plot.series = vec![Series::new("", points).with_band(band)];
    let bound = of("svd_bound").and_then(|bound| bound.first());
    plot.references =
        bound.map(|x| Reference::Level(f64::from(*x), "all others are below".to_owned())).into_iter().collect();
    Some(plot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_operator_has_its_values_and_their_bounds() {
        let result = Labelled::default()
            .with("svd_values", &[("triplet", 2)], vec![3.0, 2.0])
            .with("svd_range", &[("triplet", 2), ("end", 2)], vec![2.5, 3.5, 1.5, 2.5])
            .with("svd_bound", &[("value", 1)], vec![1.0]);
        let found = figures(&result, &[]);
        let [Figure::Lines(plot)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(plot.series[0].points, [(1.0, 3.0), (2.0, 2.0)]);
        assert_eq!(plot.series[0].band[1], (1.5, 2.5));
        assert_eq!(plot.references, [Reference::Level(1.0, "all others are below".to_owned())]);
        assert!(figures(&Labelled::default(), &[]).is_empty());
    }
}
