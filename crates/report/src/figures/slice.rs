//! `slice`: singular values of the strongest blocks, and effective ranks of all blocks.

use resolvent_field::Labelled;

use super::read::place;
use crate::{Axis, Figure, Lines, Series};

/// Most blocks that have a line of their own.
const LINES: usize = 6;

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let (pairs, values) = (of("pairs"), of("singular_values"));
    let count = pairs.len() / 4;
    let width = values.len() / count.max(1);
    if width == 0 {
        return Vec::new();
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
