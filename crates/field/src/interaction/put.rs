//! Interactions of patches that are put in place.
//!
//! Let patch i be upstream of patch j. With both put in place, j has its clean value whatever i does. So i acts in a
//! run R_j in which j is frozen at its corrupted value, and s_j is added there. With `e_j` the effects in R_j,
//!
//! ```text
//! e(i, j) - e(i) - e(j) = [e_j(i, j) - e_j(i) - e_j(j)] + [e_j(i) - e(i)]
//! ```
//!
//! The first bracket is `s_i^T H_j s_j` to second order. The second bracket is what i does through j: its first and
//! second order in R_j minus those in the run itself. If neither patch is upstream of the other, both brackets are
//! those of added displacements.

use resolvent_model::{Along, Edit, EditedPrompt, Mode, ProbedRun, Run, Site, Source, along_of, captures, hvp_of};

use crate::case::Case;
use crate::certificate::{dot, narrow, symmetry};
use crate::displacements::Displacements;
use crate::distinct::distinct;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::site_kind::SiteKind;
use crate::stats::Pairs;

use super::{InteractionCase, Joined, joined, products};

/// Patches of one kind between two runs, all pairs of which interact.
pub(super) struct Patches<'a> {
    pub(super) case: Case<'a>,
    pub(super) all: &'a Displacements,
    /// Which of them, one or more; no two are equal, and each changes its value.
    pub(super) chosen: &'a [usize],
}

/// Computes interactions as [`super::interactions_all`] does, for patches of a kind.
///
/// On the diagonal a patch is paired with itself. Putting a value in place twice is the same as once, so the
/// interaction is minus the effect.
pub(super) fn interactions_all(patches: &[Patches<'_>], kind: SiteKind) -> Result<Vec<Result<Labelled>>> {
    let source = |of: &Patches<'_>| of.chosen.iter().map(|&i| of.all.source(i)).collect();
    let sources: Vec<Vec<Source>> = patches.iter().map(source).collect();
    let whole = patches.iter().zip(&sources).map(|(of, sources)| {
        let Case { corrupted: run, observable, .. } = of.case;
        InteractionCase { run, observable, sources }
    });
    let whole: Vec<InteractionCase<'_>> = whole.collect();
    let (mut maps, triangles): (Vec<Vec<f64>>, Vec<_>) = products(&whole)?.into_iter().unzip();
    upstream(patches, (&whole, kind), &mut maps)?;
    let edits = patches.iter().map(|of| {
        let edits = of.chosen.iter().map(|&i| of.all.edits(i)).collect::<Result<Vec<Vec<Edit>>>>()?;
        Ok(edits.concat())
    });
    let edits: Vec<Vec<Edit>> = edits.collect::<Result<_>>()?;
    let compared: Vec<_> = maps.iter().map(|map| (&map[..], apart(map))).collect();
    let joints = whole.iter().zip(&edits).zip(&compared).map(|((case, edits), (map, agreed))| Joined {
        run: case.run,
        observable: case.observable,
        edits,
        map,
        agreed,
    });
    let results = joined(&joints.collect::<Vec<_>>())?;
    let checked = |((result, triangles), case): ((Result<Labelled>, _), &InteractionCase<'_>)| {
        let check = symmetry(&case.run.linearize(Mode::Exact), case.observable, 1)?;
        result?.certify(triangles)?.certify(check)
    };
    Ok(results.into_iter().zip(triangles).zip(&whole).map(checked).collect())
}

/// Returns what compares a map with the interactions of joint runs. A patch is not joined with itself. So the diagonal
/// is set to zero on both sides, which excludes it from the statistics.
fn apart(map: &[f64]) -> impl Fn(&[f32], f64) -> Pairs {
    let (map, n) = (narrow(map), map.len().isqrt());
    move |actual, floor| {
        let off = |x: &[f32]| -> Vec<f32> {
            x.iter().enumerate().map(|(k, &x)| if k / n == k % n { 0.0 } else { x }).collect()
        };
        Pairs::above(&off(&map), &off(actual), floor)
    }
}

/// A run in which the place of a patch is frozen.
struct Frozen {
    /// The number of the case, and the patch among its chosen ones.
    case: usize,
    patch: usize,
    /// The chosen patches upstream of it.
    before: Vec<usize>,
    edits: Vec<Edit>,
}

impl Frozen {
    /// Returns the source of a chosen patch, alone in this run.
    fn probed<'a>(&self, run: &'a Run, patch: usize, cases: &[InteractionCase<'a>]) -> ProbedRun<'a> {
        let InteractionCase { observable, sources, .. } = cases[self.case];
        ProbedRun { run, sources: &sources[patch..=patch], observable }
    }
}

/// Replaces the interactions of patches on one path, and of each patch with itself.
fn upstream(
    patches: &[Patches<'_>],
    (cases, kind): (&[InteractionCase<'_>], SiteKind),
    maps: &mut [Vec<f64>],
) -> Result<()> {
    let Some(first) = cases.first() else { return Ok(()) };
    let model = first.run.model();
    let probed = cases.iter().flat_map(|case| {
        let InteractionCase { run, observable, sources } = *case;
        sources.iter().map(move |source| ProbedRun { run, sources: std::slice::from_ref(source), observable })
    });
    let mut free = along_of(&probed.collect::<Vec<_>>())?.into_iter().map(|along| effect(&along));
    let free: Vec<Vec<f64>> = cases.iter().map(|case| free.by_ref().take(case.sources.len()).collect()).collect();

    let frozen = frozen(patches, cases, kind)?;
    for part in model.passes(&frozen, |frozen| cases[frozen.case].run.tokens().len()) {
        let prompts = part.iter().map(|of| EditedPrompt { tokens: cases[of.case].run.tokens(), edits: &of.edits });
        let runs = model.run_edited(&prompts.collect::<Vec<_>>(), &kind.sites(model.sizes()))?;
        // What each patch upstream does, and the pairs of patches.
        let through =
            runs.iter().zip(part).flat_map(|(run, of)| of.before.iter().map(move |&i| of.probed(run, i, cases)));
        let mut through = along_of(&through.collect::<Vec<_>>())?.into_iter();
        for of in part {
            let (map, n) = (&mut maps[of.case], cases[of.case].sources.len());
            for (&i, along) in of.before.iter().zip(through.by_ref()) {
                map[i * n + of.patch] = effect(&along) - free[of.case][i];
            }
        }
        add_products(part, &runs, cases, maps)?;
        for Frozen { case, patch: j, before, .. } in part {
            let (map, n) = (&mut maps[*case], cases[*case].sources.len());
            before.iter().for_each(|&i| map[j * n + i] = map[i * n + j]);
        }
    }
    for (map, free) in maps.iter_mut().zip(&free) {
        free.iter().enumerate().for_each(|(i, effect)| map[i * free.len() + i] = -effect);
    }
    Ok(())
}

/// Adds `s_i^T H_j s_j` of each pair to the maps.
fn add_products(part: &[Frozen], runs: &[Run], cases: &[InteractionCase<'_>], maps: &mut [Vec<f64>]) -> Result<()> {
    let sites = distinct(part.iter().flat_map(|of| of.before.iter().map(|&i| cases[of.case].sources[i].site)));
    let probed = runs.iter().zip(part).map(|(run, of)| of.probed(run, of.patch, cases));
    hvp_of(&probed.collect::<Vec<_>>(), &sites, &mut |chunk| {
        let Frozen { case, patch: j, before, .. } = &part[chunk.sequence];
        let sources = cases[*case].sources;
        for &i in before.iter().filter(|&&i| sources[i].site == sites[chunk.site]) {
            let (token, vector) = (sources[i].token, &sources[i].vector);
            if let Some(h) = chunk.row(token, vector.len()) {
                maps[*case][i * sources.len() + j] += dot(vector, h);
            }
        }
    })?;
    Ok(())
}

/// Returns the response along a source to second order.
fn effect(along: &Along) -> f64 {
    along.first + 0.5 * along.second
}

/// Returns the runs in which a patch with others upstream is frozen at its own value: all values are the same, and no
/// path leads through that place.
fn frozen(patches: &[Patches<'_>], cases: &[InteractionCase<'_>], kind: SiteKind) -> Result<Vec<Frozen>> {
    let sites: Vec<Vec<Site>> = cases.iter().map(|case| distinct(case.sources.iter().map(|s| s.site))).collect();
    let values = captures(&cases.iter().zip(&sites).map(|(case, sites)| (case.run, &sites[..])).collect::<Vec<_>>())?;
    let mut frozen = Vec::new();
    for (case, (of, InteractionCase { run, sources, .. })) in patches.iter().zip(cases).enumerate() {
        // Sites of a kind are ordered by layer, with the same number in each.
        let each = of.all.len() / kind.axes(run.model().sizes(), 1)[0].1;
        let layer = |i: usize| of.chosen[i] / each;
        for (patch, Source { site, token, vector }) in sources.iter().enumerate() {
            let is_before = |&i: &usize| layer(i) < layer(patch) && sources[i].token <= *token;
            let before: Vec<usize> = (0..sources.len()).filter(is_before).collect();
            let own = sites[case].iter().position(|s| s == site).filter(|_| !before.is_empty());
            let Some(own) = own else { continue };
            let value = values[case][own][token * vector.len()..][..vector.len()].to_vec();
            let edits = run.edits().iter().cloned().chain([Edit::put(*site, *token, value)]).collect();
            frozen.push(Frozen { case, patch, before, edits });
        }
    }
    Ok(frozen)
}
