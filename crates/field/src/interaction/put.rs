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

use resolvent_model::{Along, Edit, Mode, Run, RunOptions, Site, Source};

use crate::case::Case;
use crate::certificate::{dot, narrow, symmetry};
use crate::displacements::Displacements;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::site_kind::SiteKind;
use crate::stats::Pairs;

use super::{InteractionCase, Joined, joined, products};

/// Computes interactions as [`super::interactions`] does, for the patches `chosen` among those of a kind.
///
/// On the diagonal a patch is paired with itself. Putting a value in place twice is the same as once, so the
/// interaction is minus the effect.
pub(super) fn interactions(
    case: &Case<'_>,
    (patches, kind): (&Displacements, SiteKind),
    chosen: &[usize],
) -> Result<Labelled> {
    if chosen.is_empty() {
        return Err(Error::Input("interactions need one patch or more with an effect to first order".to_owned()));
    }
    let Case { corrupted: run, observable, .. } = *case;
    let n = chosen.len();
    let linear = run.linearize(Mode::Exact);
    let sources: Vec<Source> = chosen.iter().map(|&i| patches.source(i)).collect();
    let whole = InteractionCase { run, observable, sources: &sources };
    let (mut map, triangles) = products(&[whole])?.remove(0);
    let alone: Vec<[Source; 1]> = sources.iter().map(|s| [s.clone()]).collect();
    let effect = |a: &Along| a.first + 0.5 * a.second;
    let free: Vec<f64> = linear.along(&alone, observable)?.iter().map(effect).collect();

    // Sites of a kind are ordered by layer, with the same number in each.
    let sizes = run.model().sizes();
    let each = patches.len() / kind.axes(sizes, 1)[0].1;
    let upstream = |i: usize, j: usize| chosen[i] / each < chosen[j] / each && sources[i].token <= sources[j].token;
    for j in 0..n {
        let before: Vec<usize> = (0..n).filter(|&i| upstream(i, j)).collect();
        if before.is_empty() {
            continue;
        }
        let frozen = frozen(run, kind, &sources[j])?;
        let linear = frozen.linearize(Mode::Exact);
        let some: Vec<[Source; 1]> = before.iter().map(|&i| alone[i].clone()).collect();
        let through = linear.along(&some, observable)?;
        for (&i, along) in before.iter().zip(&through) {
            map[i * n + j] = effect(along) - free[i];
        }
        let mut sites: Vec<Site> = before.iter().map(|&i| sources[i].site).collect();
        sites.sort_unstable();
        sites.dedup();
        linear.hvp_at(&alone[j..=j], observable, &sites, &mut |chunk| {
            for &i in before.iter().filter(|&&i| sources[i].site == sites[chunk.site]) {
                let (token, vector) = (sources[i].token, &sources[i].vector);
                if let Some(h) = chunk.row(token, vector.len()) {
                    map[i * n + j] += dot(vector, h);
                }
            }
        })?;
        for &i in &before {
            map[j * n + i] = map[i * n + j];
        }
    }
    for i in 0..n {
        map[i * n + i] = -free[i];
    }
    let edits = chosen.iter().map(|&i| patches.edits(i)).collect::<Result<Vec<Vec<Edit>>>>()?.concat();
    // A patch is not joined with itself. So the diagonal is set to zero on both sides, which excludes it from the
    // statistics.
    let pairs = |actual: &[f32], floor: f64| {
        let off = |x: &[f32]| x.iter().enumerate().map(|(k, &x)| if k / n == k % n { 0.0 } else { x }).collect();
        let (predicted, actual): (Vec<f32>, Vec<f32>) = (off(&narrow(&map)), off(actual));
        Pairs::above(&predicted, &actual, floor)
    };
    let joint = Joined { run, observable, edits: &edits, map: &map, agreed: &pairs };
    joined(&[joint])?.remove(0)?.certify(triangles)?.certify(symmetry(&linear, observable, 1)?)
}

/// Runs the prompt with the place of a source frozen at its own value: all values are the same, and no path leads
/// through that place.
fn frozen(run: &Run, kind: SiteKind, source: &Source) -> Result<Run> {
    let (site, token, width) = (source.site, source.token, source.vector.len());
    let value = run.capture(site)?[token * width..(token + 1) * width].to_vec();
    let edits = run.edits().iter().cloned().chain([Edit::put(site, token, value)]).collect();
    let options = RunOptions { edits, sites: kind.sites(run.model().sizes()) };
    Ok(run.model().run_with(run.tokens(), &options)?)
}
