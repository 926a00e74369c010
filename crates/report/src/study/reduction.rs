//! Errors of reduced descriptions: over ranks, for each task, and over training prompts.

use resolvent_field::{Labelled, compared_rank, dimensions, stats};

use super::data::{Results, array, means};
use crate::reductions::{BASES, Errors};
use crate::{Axis, Cell, Grid, Lines, Reference, Section, Series, Table};

/// Positions of the bases: one for all tokens, and one for each role.
const ONE: usize = 0;
const BY_ROLE: usize = 1;

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("reduction");
    let errors: Vec<(&str, Errors<'_>)> =
        all.iter().filter_map(|(task, result)| Some((*task, Errors::of(result)?))).collect();
    let Some((_, first)) = errors.first() else { return section };
    let Some(rank) = compared_rank(first.ranks) else { return section };
    let k = first.ranks[rank];
    section
        .figure(
            Grid::new("", vec![over_ranks(&errors, ONE).into(), over_ranks(&errors, BY_ROLE).into()]),
            "Actual effects of held-out patches, predicted through k directions of the middle level; directions come from \
             other prompts. Balanced directions are both moved and matter; POD takes what moves, the active subspace what \
             matters. Controls: balanced directions of shuffled pairs, and random directions. Means over tasks; eight or \
             more tasks have the 95 % interval of balanced directions.",
        )
        .figure(
            table(&all, &errors, (rank, k)),
            format!(
                "Relative errors of each task with k = {k}, and the smallest rank whose error is within 0.05 of that of all \
                 directions."
            ),
        )
        .figure(
            over_prompts(&all, (rank, k)),
            "Balanced directions by role, from parts of the training prompts.",
        )
}

/// Draws the errors of all methods over ranks, as means over tasks.
fn over_ranks(errors: &[(&str, Errors<'_>)], basis: usize) -> Lines {
    let mut plot = Lines::new(BASES[basis], Axis::log("directions k"), Axis::linear("relative error"));
    plot.markers = true;
    let floor: Vec<f64> = errors.iter().map(|(_, e)| f64::from(e.value("floor"))).collect();
    plot.references = vec![Reference::Level(stats::mean(&floor), "all directions".to_owned())];
    let (_, first) = &errors[0];
    for (method, title) in first.methods() {
        let of = |e: &Errors<'_>| e.over_ranks("error", (basis, method)).iter().map(|&x| f64::from(x)).collect();
        let rows: Vec<Vec<f64>> = errors.iter().map(|(_, e)| of(e)).collect();
        let series = means(title, &rows, |i| f64::from(first.ranks[i]));
        // The other bands would hide each other.
        plot.series.push(if title == "balanced" { series } else { series.with_band(Vec::new()) });
    }
    plot
}

fn table(all: &[(&str, &Labelled)], errors: &[(&str, Errors<'_>)], (rank, k): (usize, f32)) -> Table {
    let columns = [
        "task",
        "all directions",
        "balanced, one basis",
        "balanced, by role",
        "POD, by role",
        "random, by role",
        "dimension, one basis",
        "dimension, by role",
    ];
    let mut table = Table::new(format!("Errors of each task, k = {k}"), &columns);
    for ((task, errors), (_, result)) in errors.iter().zip(all) {
        let error = |basis: usize, wanted: &str| {
            let found = errors.methods().find(|(_, title)| *title == wanted);
            found.map_or(f32::NAN, |(method, _)| errors.over_ranks("error", (basis, method))[rank])
        };
        let numbers = [
            errors.value("floor"),
            error(ONE, "balanced"),
            error(BY_ROLE, "balanced"),
            error(BY_ROLE, "POD"),
            error(BY_ROLE, "random"),
        ];
        let words = dimensions(result).into_iter().map(Cell::from);
        table = table.row([Cell::from(*task)].into_iter().chain(numbers.map(Cell::from)).chain(words));
    }
    table
}

/// Draws the error of each task over the number of training prompts, at one rank.
fn over_prompts(all: &[(&str, &Labelled)], (rank, k): (usize, f32)) -> Lines {
    let mut plot = Lines::new(
        format!("Error over training prompts, k = {k}"),
        Axis::log("training prompts"),
        Axis::linear("relative error"),
    );
    plot.markers = true;
    for (task, result) in all {
        let (prompts, errors) = (array(result, "learning_prompts"), array(result, "learning"));
        let ranks = array(result, "ranks").len().max(1);
        let mut points: Vec<(f64, f64)> =
            prompts.into_iter().zip(errors.into_iter().skip(rank).step_by(ranks)).collect();
        // Parts of few prompts may have as many prompts as the next one.
        points.dedup_by_key(|point| point.0);
        plot.series.push(Series::new(*task, points));
    }
    plot
}
