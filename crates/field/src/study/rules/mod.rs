//! The rules of the statements: which figures of a study's results decide them.

mod circuits;
mod first_order;
mod flows;
mod locating;
mod propagation;
mod reduction;
mod scaling;
mod sources;

use crate::labelled::Labelled;

use super::Done;
use super::statement::Statement;

/// Evaluates all statements on the results of a study.
pub(super) fn statements(done: &[Done]) -> Vec<Statement> {
    let of = |analysis: &str| -> Vec<(&str, &Labelled)> {
        // A step that was left out has no arrays.
        let steps = done.iter().filter(|d| !d.result.arrays.is_empty());
        let named = steps.map(|d| (d.name.split_once('.').unwrap_or((&d.name, "")), &d.result));
        named.filter(|((name, _), _)| *name == analysis).map(|((_, task), result)| (task, result)).collect()
    };
    let mut all = vec![
        first_order::bounded(&of("regimes")),
        first_order::predicted(&of("patching")),
        propagation::anisotropic(&of("propagation")),
        reduction::reduced(&of("reduction")),
        sources::transferred(&of("transfers")),
        sources::inverted(&of("inverse")),
        circuits::circuits(&of("circuits")),
        locating::found(&of("locating")),
        flows::flows(&of("flows")),
    ];
    if let [(_, scaling), ..] = of("scaling")[..] {
        all.push(scaling::scaled(scaling));
    }
    all
}
