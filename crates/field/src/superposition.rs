//! Superposition: whether the responses to two sources add up.
//!
//! With `e(s) = J(h + s) - J(h)`, the interaction of a pair is `e(s1 + s2) - e(s1) - e(s2)`: zero for a linear model,
//! and `s1^T H s2` to second order. Its size relative to `|e(s1)| + |e(s2)|` is the superposition error.

use resolvent_model::{Edit, EditedRun, Observable, Run, values, values_of};

use crate::certificate::{alone, narrow};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::noise;
use crate::sensitivity::chi_all;

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
    superposition_all(&[Superposed { run, observable, sources, pairs }])?.remove(0)
}

/// Sources of a run, and which of them act in pairs.
#[derive(Clone, Copy)]
pub(crate) struct Superposed<'a> {
    pub(crate) run: &'a Run,
    pub(crate) observable: &'a Observable,
    pub(crate) sources: &'a [Edit],
    pub(crate) pairs: &'a [(usize, usize)],
}

impl Superposed<'_> {
    fn check(&self) -> Result<()> {
        let last = self.sources.len();
        match self.pairs.iter().find(|(a, b)| *a >= last || *b >= last) {
            Some((a, b)) => Err(Error::Input(format!(
                "the pair {a},{b} names a source that was not given; there are {last}, counted from 0"
            ))),
            None => Ok(()),
        }
    }

    /// Returns the edits of each source alone, and then of each pair.
    fn variants(&self) -> Vec<Vec<Edit>> {
        let joined = |&(a, b): &(usize, usize)| vec![self.sources[a].clone(), self.sources[b].clone()];
        self.sources.iter().map(|s| vec![s.clone()]).chain(self.pairs.iter().map(joined)).collect()
    }

    /// Returns the result, given J of the run and of the variants, and the sensitivities of J.
    fn result(&self, variants: &[Vec<Edit>], value: f64, (values, chi): (&[f64], &[f32])) -> Result<Labelled> {
        let Self { run, observable, sources, pairs } = *self;
        let responses: Vec<f64> = values.iter().map(|v| v - value).collect();
        let (single, joint) = responses.split_at(sources.len());
        let sums: Vec<f64> = pairs.iter().map(|&(a, b)| single[a] + single[b]).collect();
        let sizes = pairs.iter().map(|&(a, b)| single[a].abs() + single[b].abs());
        let interaction: Vec<f64> = joint.iter().zip(&sums).map(|(j, s)| j - s).collect();
        let relative = |(i, size): (&f64, f64)| if *i == 0.0 { 0.0 } else { (i.abs() / size) as f32 };
        let error: Vec<f32> = interaction.iter().zip(sizes).map(relative).collect();
        let agreement = alone(run, observable, &variants[sources.len()..], &values[sources.len()..])?;
        let places = pairs.iter().flat_map(|&(a, b)| [a as f32, b as f32]).collect();
        Labelled::new("superposition", run)
            .with("single", &[("source", sources.len())], narrow(single))
            .with("pairs", &[("pair", pairs.len()), ("source", 2)], places)
            .with("joint", &[("pair", pairs.len())], narrow(joint))
            .with("sum", &[("pair", pairs.len())], narrow(&sums))
            .with("interaction", &[("pair", pairs.len())], narrow(&interaction))
            .with("error", &[("pair", pairs.len())], error)
            .note("observable", observable.to_string())
            .note(noise::NAME, format!("{:e}", noise::floor(run, chi)?))
            .note("sites", sources.iter().map(|s| format!("{}@{}", s.site, s.token)).collect::<Vec<_>>().join(" "))
            .certify(agreement)
    }
}

/// Computes the responses of several cases, each as [`superposition`] does. Runs of one batch share passes.
///
/// # Errors
/// A pair that names a source which was not given, an edit that does not fit, or a device error.
pub(crate) fn superposition_all(cases: &[Superposed<'_>]) -> Result<Vec<Result<Labelled>>> {
    cases.iter().try_for_each(Superposed::check)?;
    let variants: Vec<Vec<Vec<Edit>>> = cases.iter().map(Superposed::variants).collect();
    let readings: Vec<(&Run, &Observable)> = cases.iter().map(|case| (case.run, case.observable)).collect();
    let edited = cases.iter().zip(&variants).flat_map(|(case, variants)| {
        variants.iter().map(|edits| EditedRun { run: case.run, edits, observable: case.observable })
    });
    let (unedited, edited) = (values(&readings)?, values_of(&edited.collect::<Vec<_>>())?);
    let (chi, mut edited) = (chi_all(&readings)?, edited.into_iter());
    let each = cases.iter().zip(&variants).zip(unedited).zip(&chi);
    let each = each.map(|(((case, variants), value), chi)| {
        let values: Vec<f64> = edited.by_ref().take(variants.len()).collect();
        case.result(variants, value, (&values, chi))
    });
    Ok(each.collect())
}
