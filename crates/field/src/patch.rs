//! Activation patching: puts the clean run's value into a corrupted run, one site and token at a time.
//!
//! A patch with the value that is already there has the effect 0, exactly, and is not computed.
//!
//! The effect is `J(patched) - J(corrupted)`. To first order it is `<chi, y_clean - y_corrupted>`, where chi is the
//! corrupted run's sensitivity at the site. All patched runs share the corrupted run: each computes only its causal
//! cone.

use resolvent_model::{Edit, EditedRun, Mode, Observable, Run, values, values_of};

use crate::certificate::{Certificate, adjoint, alone, narrow, same, worse};
use crate::displacements::Displacements;
use crate::distinct::distinct;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::noise;
use crate::predictors::pass;
use crate::site_kind::SiteKind;
use crate::stats::Pairs;

/// Two runs to patch between, and the observable.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The run that values come from.
    pub clean: &'a Run,
    /// The run that the values are put into.
    pub corrupted: &'a Run,
    /// The observable.
    pub observable: &'a Observable,
}

impl Case<'_> {
    /// Checks that the runs can be paired.
    ///
    /// # Errors
    /// Runs of different models or lengths.
    pub fn check(&self) -> Result<()> {
        let (clean, corrupted) = (self.clean.tokens().len(), self.corrupted.tokens().len());
        if clean != corrupted {
            return Err(Error::Input(format!(
                "the clean prompt has {clean} tokens and the corrupted one {corrupted}; give prompts of the same length"
            )));
        }
        if self.clean.model().hash() != self.corrupted.model().hash() {
            return Err(Error::Input("the clean and the corrupted run belong to different models".to_owned()));
        }
        Ok(())
    }
}

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
    let mut swept = Vec::with_capacity(cases.len());
    for case in cases {
        case.check()?;
        swept.push(first_order_effects(*case, kind)?);
    }
    let unpatched: &[Edit] = &[];
    let variants: Vec<EditedRun<'_>> = cases
        .iter()
        .zip(&swept)
        .flat_map(|(case, effects)| {
            let edits = [unpatched].into_iter().chain(effects.edits.iter().map(Vec::as_slice));
            edits.map(|edits| EditedRun { run: case.corrupted, edits, observable: case.observable })
        })
        .collect();
    let operations = || cases.first().map_or(0.0, |case| case.corrupted.model().device().flops());
    let before = operations();
    let mut values = values_of(&variants)?.into_iter();
    let operations = operations() - before;
    for effects in &mut swept {
        let unpatched = values.next().unwrap_or(f64::NAN);
        effects.operations = operations;
        effects.values = values.by_ref().take(effects.edits.len()).collect();
        effects.effect = effects.values.iter().map(|v| (v - unpatched) as f32).collect();
    }
    Ok(swept)
}

/// Returns the patches of one case with their first-order effects, before the patches are run.
fn first_order_effects(Case { clean, corrupted, observable }: Case<'_>, kind: SiteKind) -> Result<Effects> {
    let patches = Displacements::new([clean, corrupted], kind)?;
    let (first_order, floor) = patches.along_sensitivity_with_floor(&corrupted.linearize(Mode::Exact), observable)?;
    let edits = (0..patches.len()).map(|i| patches.edits(i)).collect();
    let first_order = narrow(&first_order);
    Ok(Effects { kind, effect: Vec::new(), first_order, operations: 0.0, floor, values: Vec::new(), edits })
}

/// Computes the patch effects of all places of the field.
///
/// Arrays: `effect [L+1, T]`, `first_order [L+1, T]`, `clean_value [1]` and `corrupted_value [1]`. The metadata have
/// `sweep_cost.KIND`: the operations of the patched runs over those of one forward pass.
///
/// Certificates: three patched runs agree with the same runs alone; patching the observable's own token at the level
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
    let case = Case { clean, corrupted, observable };
    case.check()?;
    let tokens = corrupted.tokens().len();
    let [clean_value, corrupted_value] = both_values([clean, corrupted], observable)?;
    let scale = clean_value.abs().max(corrupted_value.abs()).max(1.0);
    let mut result = Labelled::new("patch", corrupted)
        .note("observable", observable.to_string())
        .note("clean_tokens", clean.tokens().iter().map(u32::to_string).collect::<Vec<_>>().join(","));
    let pass = pass(&case)?;
    let (mut restoration, mut worst) = (None, 0.0);
    for kind in distinct(kinds.iter().copied()) {
        let effects = effects(&[case], kind)?.remove(0);
        if kind == SiteKind::Resid {
            let value = restored(corrupted, observable, (&effects.edits, &effects.values))?;
            restoration = Some((value - clean_value).abs() / scale);
        }
        let agreement = alone(corrupted, observable, &effects.edits, &effects.values)?;
        worst = worse(worst, agreement.value);
        let (agreement, noise) = (effects.pairs().agreement(), effects.noise());
        let text = match agreement.undefined {
            Some(_) => format!("{agreement}; {noise}"),
            None => agreement.to_string(),
        };
        let ([effect, first_order], cost) = (kind.arrays(), effects.operations / pass);
        let axes = kind.axes(corrupted.model().config(), tokens);
        result = result
            .with(effect, &axes, effects.effect)
            .with(first_order, &axes, effects.first_order)
            .note(&format!("agreement.{kind}"), text)
            .note(noise::NAME, format!("{:e}", effects.floor))
            .note(&format!("noise.{kind}"), noise)
            .note(&format!("sweep_cost.{kind}"), format!("{cost:.1}"));
    }
    result = result.with("clean_value", &[("value", 1)], vec![clean_value as f32]).with(
        "corrupted_value",
        &[("value", 1)],
        vec![corrupted_value as f32],
    );
    if let Some(value) = restoration {
        result = result.certify(Certificate::new("restores", value, same(corrupted.model())))?;
    }
    result
        .certify(Certificate::new("alone", worst, same(corrupted.model())))?
        .certify(adjoint(&corrupted.linearize(Mode::Exact), 1)?)
}

/// Returns J where every place that it is read from is patched at once: the value of the other run. `edits` and `values`
/// are those of all places of the field, level by level.
pub(crate) fn restored<E: AsRef<[Edit]>>(
    run: &Run,
    observable: &Observable,
    (edits, values): (&[E], &[f64]),
) -> Result<f64> {
    let at = |(level, token): &(usize, usize)| level * run.tokens().len() + token;
    match &observable.places(run.model().config())[..] {
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
