//! Superposition: whether the responses to two sources add up.
//!
//! With `e(s) = J(h + s) - J(h)`, the interaction of a pair is `e(s1 + s2) - e(s1) - e(s2)`: zero for a linear model,
//! and `s1^T H s2` to second order. Its size relative to `|e(s1)| + |e(s2)|` is the superposition error.

use resolvent_model::{Edit, Mode, Observable, Run};

use crate::certificate::{alone, narrow};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::noise;

/// Computes the responses to each of `sources`, which may be any edits at any sites, and to both sources of each of
/// `pairs` together.
///
/// Arrays: `single [N]`, `pairs [P, 2]` (indices into `sources`), `joint [P]`, `sum [P]`, `interaction [P]` = joint -
/// sum and `error [P]` = |interaction| / (|e1| + |e2|).
///
/// The edits of a pair are applied in the order of the pair, so two edits at one place compose.
///
/// Certificate: three pairs run alone give the same joint responses.
///
/// # Errors
/// A pair with an index outside of `sources`, an edit that does not fit, a device error, or a check that fails.
pub fn superposition(
    run: &Run,
    observable: &Observable,
    sources: &[Edit],
    pairs: &[(usize, usize)],
) -> Result<Labelled> {
    let last = sources.len();
    if let Some((a, b)) = pairs.iter().find(|(a, b)| *a >= last || *b >= last) {
        return Err(Error::Input(format!(
            "the pair {a},{b} names a source that was not given; there are {last}, counted from 0"
        )));
    }
    let joined = |&(a, b): &(usize, usize)| vec![sources[a].clone(), sources[b].clone()];
    let variants: Vec<Vec<Edit>> = sources.iter().map(|s| vec![s.clone()]).chain(pairs.iter().map(joined)).collect();
    let value = run.value(observable)?;
    let values = run.values_under(&variants, observable)?;
    let responses: Vec<f64> = values.iter().map(|v| v - value).collect();
    let (single, joint) = responses.split_at(sources.len());
    let sums: Vec<f64> = pairs.iter().map(|&(a, b)| single[a] + single[b]).collect();
    let sizes = pairs.iter().map(|&(a, b)| single[a].abs() + single[b].abs());
    let interaction: Vec<f64> = joint.iter().zip(&sums).map(|(j, s)| j - s).collect();
    let relative = |(i, size): (&f64, f64)| if *i == 0.0 { 0.0 } else { (i.abs() / size) as f32 };
    let error: Vec<f32> = interaction.iter().zip(sizes).map(relative).collect();
    let agreement = alone(run, observable, &variants[sources.len()..], &values[sources.len()..])?;
    let places = pairs.iter().flat_map(|&(a, b)| [a as f32, b as f32]).collect();
    let floor = noise::floor(run, &run.linearize(Mode::Exact).gradient(observable)?)?;
    Labelled::new("superposition", run)
        .with("single", &[("source", sources.len())], narrow(single))
        .with("pairs", &[("pair", pairs.len()), ("source", 2)], places)
        .with("joint", &[("pair", pairs.len())], narrow(joint))
        .with("sum", &[("pair", pairs.len())], narrow(&sums))
        .with("interaction", &[("pair", pairs.len())], narrow(&interaction))
        .with("error", &[("pair", pairs.len())], error)
        .note("observable", observable.to_string())
        .note(noise::NAME, format!("{floor:e}"))
        .note("sites", sources.iter().map(|s| format!("{}@{}", s.site, s.token)).collect::<Vec<_>>().join(" "))
        .certify(agreement)
}
