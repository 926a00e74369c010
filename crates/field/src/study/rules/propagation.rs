//! The rule of structured propagation.

use crate::study::samples::{Results, array, list, medians, rows};
use crate::study::statement::{Better, Rule, Statement};

pub(super) fn anisotropic(results: &Results<'_>) -> Statement {
    let d = list(results, "d").first().and_then(|d| d.parse::<f64>().ok()).unwrap_or(0.0);
    let ranks = |level: Option<f64>| {
        medians(results, 3, |result| {
            let each = array(result, "level").into_iter().zip(array(result, "stable_rank"));
            each.map(|(at, rank)| if level.is_none_or(|level| level == at) { rank } else { f64::NAN }).collect()
        })
    };
    let mut levels: Vec<f64> = results.iter().flat_map(|(_, result)| array(result, "level")).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    let mut beside: Vec<_> =
        levels.into_iter().map(|level| ranks(Some(level)).named(format!("of sources at h{level}"))).collect();
    let captured = medians(results, 3, |result| array(result, "captured"));
    let stays =
        medians(results, 3, |result| rows(result, "stays").iter().filter_map(|row| row.last().copied()).collect());
    beside.push(captured.named("share of the energy in eight singular values"));
    beside.push(stays.named("share of the energy of a displacement at its own token in level L"));
    let figure = ranks(None);
    let high = figure.interval.high;
    Rule {
        name: "structured propagation",
        claim: "Responses propagate anisotropically: a few directions carry most of what a place sends to the end.",
        measure: "stable rank of the operator from a place to all of level L: |G|_F^2 / s1^2",
        rule: "holds if the interval lies below d / 10; partly if it lies below d / 3",
        better: Better::Lower,
    }
    .statement(figure, (beside, format!("there are {d:.0} directions")), [high < d / 10.0, high < d / 3.0])
}
