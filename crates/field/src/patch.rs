//! Activation patching: puts the clean run's value into a corrupted run, one site and token at a time.
//!
//! A patch with the value that is already there has the effect 0, exactly, and is not computed.
//!
//! The effect is `J(patched) - J(corrupted)`. To first order it is `<chi, y_clean - y_corrupted>`, where chi is the
//! corrupted run's sensitivity at the site. All patched runs share the corrupted run: each computes only its causal
//! cone.

use resolvent_engine::counted;
use resolvent_model::{Change, Edit, EditedRun, Mode, Observable, Run, Site, values, values_of};

use crate::case::Case;
use crate::certificate::{Certificate, adjoint_all, alone_of, narrow, same, worse};
use crate::displacements::{Displacements, along_sensitivities_with_floors};
use crate::distinct::distinct;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::noise;
use crate::predictors::pass;
use crate::site_kind::SiteKind;
use crate::stats::Pairs;

/// Effects of patching every site of a kind at every token, in the order of the kind's axes.
#[derive(Clone, Debug)]
pub struct Effects {
    /// The kind of the sites.
    pub kind: SiteKind,
    /// `J(patched) - J(corrupted)`
    pub effect: Vec<f32>,
    /// `<chi, y_clean - y_corrupted>`
    pub first_order: Vec<f32>,
    /// Operations of the patched runs; if several cases are swept together, of all of them.
    pub operations: f64,
    /// The noise floor: the size of an effect that rounding alone can cause.
    pub floor: f64,
    /// J of the patched runs.
    values: Vec<f64>,
    /// The edit of each patch; no edit if both runs have the same value.
    edits: Vec<Vec<Edit>>,
}

impl Effects {
    /// Pairs first-order predictions with the effects, to the noise floor; see [`Pairs::above`].
    ///
    /// If both are exactly zero, the runs have equal values or J does not depend on the place. Such pairs are left out.
    pub fn pairs(&self) -> Pairs {
        Pairs::above(&self.first_order, &self.effect, self.floor)
    }

    /// Returns the number of patches that change nothing, since both runs have the same value.
    fn same(&self) -> usize {
        self.edits.iter().filter(|edits| edits.is_empty()).count()
    }

    /// Adds the effects to the result of their case. `passes` are the operations of one forward pass of each case.
    fn add_to(self, result: Labelled, axes: &[(&'static str, usize)], passes: f64) -> Labelled {
        let (kind, noise, agreement) = (self.kind, self.noise(), self.pairs().agreement());
        let text = match agreement.undefined {
            Some(_) => format!("{agreement}; {noise}"),
            None => agreement.to_string(),
        };
        let [effect, first_order] = kind.arrays();
        result
            .with(effect, axes, self.effect)
            .with(first_order, axes, self.first_order)
            .note(&format!("agreement.{kind}"), text)
            .note(noise::NAME, format!("{:e}", self.floor))
            .note(&format!("noise.{kind}"), noise)
            .note(&format!("sweep_cost.{kind}"), format!("{:.1}", self.operations / passes))
    }

    /// Describes what the noise floor and equal values exclude from the statistics.
    fn noise(&self) -> String {
        let (all, floor) = (self.effect.len(), self.floor);
        let moved = self.effect.iter().filter(|e| **e != 0.0 && f64::from(e.abs()) <= floor).count();
        format!(
            "{} of {all} values are the same in both runs; {moved} effects are below the noise floor {floor:.1e}",
            self.same()
        )
    }
}

/// Computes the effects of each case. Runs of one batch are swept together.
///
/// # Errors
/// Runs that do not pair, a site that the runs were not prepared for, or a device error.
pub fn effects(cases: &[Case<'_>], kind: SiteKind) -> Result<Vec<Effects>> {
    cases.iter().try_for_each(Case::check)?;
    let mut swept = first_order_effects(cases, kind)?;
    let unpatched: &[Edit] = &[];
    let variants: Vec<EditedRun<'_>> = cases
        .iter()
        .zip(&swept)
        .flat_map(|(case, effects)| {
            let edits = [unpatched].into_iter().chain(effects.edits.iter().map(Vec::as_slice));
            edits.map(|edits| EditedRun { run: case.corrupted, edits, observable: case.observable })
        })
        .collect();
    let (values, work) = counted(|| values_of(&variants));
    let (mut values, operations) = (values?.into_iter(), work.flops);
    for effects in &mut swept {
        let unpatched = values.next().unwrap_or(f64::NAN);
        effects.operations = operations;
        effects.values = values.by_ref().take(effects.edits.len()).collect();
        effects.effect = effects.values.iter().map(|v| (v - unpatched) as f32).collect();
    }
    Ok(swept)
}

/// Returns the patches of each case with their first-order effects, before the patches are run.
fn first_order_effects(cases: &[Case<'_>], kind: SiteKind) -> Result<Vec<Effects>> {
    let patches = Displacements::of_all(cases, kind)?;
    let readings: Vec<(&Run, &Observable)> = cases.iter().map(Case::reading).collect();
    let first_order = along_sensitivities_with_floors(&patches, &readings)?;
    let effects = patches.iter().zip(first_order).map(|(patches, (first_order, floor))| {
        let first_order = narrow(&first_order);
        let edits = (0..patches.len()).map(|i| patches.edits(i)).collect::<Result<_>>()?;
        Ok(Effects { kind, effect: Vec::new(), first_order, operations: 0.0, floor, values: Vec::new(), edits })
    });
    effects.collect()
}

/// Computes the patch effects of all places of the field.
///
/// Arrays: `effect [L+1, T]`, `first_order [L+1, T]`, `clean_value [1]` and `corrupted_value [1]`. The metadata have
/// `sweep_cost.KIND`: the operations of the patched runs over those of one forward pass.
///
/// Certificates: three patched runs agree with the same runs alone; of patterns, three agree with runs in which the
/// weights of the keys are put in place; patching the observable's own token at the level
/// that it is read from restores the clean value; the adjoint identity behind the first-order field.
///
/// # Errors
/// Runs of different models or lengths, an observable that does not fit, a device error, or a check that fails.
pub fn patch(clean: &Run, corrupted: &Run, observable: &Observable) -> Result<Labelled> {
    patch_at(clean, corrupted, observable, &[SiteKind::Resid])
}

/// Computes the patch effects at sites of several kinds; see [`patch`].
///
/// Besides `effect` and `first_order` of the field, there are arrays such as `effect.attn_out [L, T]` and
/// `effect.z [L, H, T]`. Both runs must have been prepared for the sites of the kinds. A repeated kind counts once.
///
/// # Errors
/// As [`patch`], or sites that the runs were not prepared for.
pub fn patch_at(clean: &Run, corrupted: &Run, observable: &Observable, kinds: &[SiteKind]) -> Result<Labelled> {
    Ok(patch_all(&[Case { clean, corrupted, observable }], kinds)?.remove(0))
}

/// Computes the patch effects of several cases of one model, of any lengths, and returns a result for each; see
/// [`patch_at`]. Runs of one batch share passes.
///
/// Three patched runs among all of them are computed alone; the check is the same in each result. `sweep_cost.KIND` is
/// the operations of all patched runs over those of one forward pass of each case.
///
/// # Errors
/// As [`patch_at`], for any of the cases.
pub fn patch_all(cases: &[Case<'_>], kinds: &[SiteKind]) -> Result<Vec<Labelled>> {
    cases.iter().try_for_each(Case::check)?;
    let Some(first) = cases.first() else { return Ok(Vec::new()) };
    let (model, kinds) = (first.corrupted.model(), distinct(kinds.iter().copied()));
    let both = cases.iter().flat_map(|case| [(case.clean, case.observable), (case.corrupted, case.observable)]);
    let both = values(&both.collect::<Vec<_>>())?;
    let passes = cases.iter().map(pass).sum::<Result<f64>>()?;
    let corrupted: Vec<&Run> = cases.iter().map(|case| case.corrupted).collect();
    let adjoints = adjoint_all(Mode::Exact, &corrupted, 1)?;
    let mut results: Vec<Labelled> = cases.iter().map(|case| case.named("patch")).collect();
    let (mut restorations, mut worst, mut as_patterns) = (Vec::new(), 0.0, None);
    for &kind in &kinds {
        let effects = effects(cases, kind)?;
        if kind == SiteKind::Resid {
            restorations = restored_all(cases, &effects)?;
        }
        let edited = cases.iter().zip(&effects).flat_map(|(case, effects)| {
            effects.edits.iter().map(|edits| EditedRun { run: case.corrupted, edits, observable: case.observable })
        });
        let swept: Vec<f64> = effects.iter().flat_map(|effects| effects.values.iter().copied()).collect();
        worst = worse(worst, alone_of(model, &edited.collect::<Vec<_>>(), &swept)?.value);
        if kind == SiteKind::Pattern {
            as_patterns = Some(put_as_patterns(cases, &effects)?);
        }
        let with = |((result, case), effects): ((Labelled, &Case<'_>), Effects)| {
            let axes = kind.axes(model.sizes(), case.corrupted.tokens().len());
            effects.add_to(result, &axes, passes)
        };
        results = results.into_iter().zip(cases).zip(effects).map(with).collect();
    }
    let certified = |(n, result): (usize, Labelled)| {
        let values = [both[2 * n], both[2 * n + 1]];
        let mut result = result.with("clean_value", &[("value", 1)], vec![values[0] as f32]).with(
            "corrupted_value",
            &[("value", 1)],
            vec![values[1] as f32],
        );
        if let Some(restored) = restorations.get(n) {
            let scale = values[0].abs().max(values[1].abs()).max(1.0);
            result = result.certify(Certificate::new("restores", (restored - values[0]).abs() / scale, same(model)))?;
        }
        if let Some(value) = as_patterns {
            result = result.certify(Certificate::new("as_patterns", value, same(model)))?;
        }
        result.certify(Certificate::new("alone", worst, same(model)))?.certify(adjoints[n].clone())
    };
    results.into_iter().enumerate().map(certified).collect()
}

/// Returns the largest difference between J of three patches of patterns and J of runs in which the weights themselves
/// are put in place, relative to the largest size of J.
fn put_as_patterns(cases: &[Case<'_>], effects: &[Effects]) -> Result<f64> {
    let edited = |n: usize| (0..effects[n].edits.len()).filter(move |&i| !effects[n].edits[i].is_empty());
    let patches: Vec<(usize, usize)> = (0..cases.len()).flat_map(|n| edited(n).map(move |i| (n, i))).collect();
    let last = patches.len().saturating_sub(1);
    let mut worst = 0.0;
    for &(n, i) in [0, last / 2, last].iter().filter_map(|&k| patches.get(k)) {
        let (Case { clean, corrupted, observable }, effects) = (cases[n], &effects[n]);
        let Some(Edit { site, token, .. }) = effects.edits[i].first() else { continue };
        let (block, head, tokens) = (site.layer(), site.head().unwrap_or(0), corrupted.tokens().len());
        let row = clean.pattern(block)?[(head * tokens + token) * tokens..][..tokens].to_vec();
        let put = corrupted.model().key_edits(Site::Pattern(block, head, 0), *token, &Change::Put(row))?;
        let edits: Vec<Edit> = corrupted.edits().iter().cloned().chain(put).collect();
        let value = corrupted.model().run(corrupted.tokens(), &edits)?.value(observable)?;
        let scale = effects.values.iter().fold(1.0f64, |most, value| most.max(value.abs()));
        worst = worse(worst, (value - effects.values[i]).abs() / scale);
    }
    Ok(worst)
}

/// Returns J of each case where every place that it is read from is patched at once: the value of the clean run.
/// `effects` are those of all places of the field.
fn restored_all(cases: &[Case<'_>], effects: &[Effects]) -> Result<Vec<f64>> {
    let restored = |(case, effects): (&Case<'_>, &Effects)| {
        restored(case.corrupted, case.observable, (&effects.edits, &effects.values))
    };
    cases.iter().zip(effects).map(restored).collect()
}

/// Returns J where every place that it is read from is patched at once: the value of the other run. `edits` and
/// `values` are those of all places of the field, level by level.
pub(crate) fn restored<E: AsRef<[Edit]>>(
    run: &Run,
    observable: &Observable,
    (edits, values): (&[E], &[f64]),
) -> Result<f64> {
    let at = |(level, token): &(usize, usize)| level * run.tokens().len() + token;
    match &observable.places(run.model().sizes())[..] {
        [place] => Ok(values[at(place)]),
        places => {
            let together: Vec<Edit> = places.iter().flat_map(|place| edits[at(place)].as_ref().to_vec()).collect();
            Ok(run.values_under(&[together], observable)?[0])
        }
    }
}

/// Returns J of two runs.
pub(crate) fn both_values(runs: [&Run; 2], observable: &Observable) -> Result<[f64; 2]> {
    let values = values(&runs.map(|run| (run, observable)))?;
    Ok([values[0], values[1]])
}
