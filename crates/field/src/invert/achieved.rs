//! What sources achieve: the changes that they cause in forward passes of the model.

use resolvent_model::{Edit, EditedRun, Observable, Run, Site, captures, values, values_of};

use super::goal::{Goal, observables};
use crate::certificate::norm;
use crate::error::Result;
use crate::place::{Place, shape};

/// Sources at the sites of a run, several sets of them, and the goals that they are to reach.
pub(super) struct Tried<'a> {
    pub(super) run: &'a Run,
    pub(super) goals: &'a [Goal],
    pub(super) sites: &'a [Place],
    /// Sets of sources, `[sites d]` each.
    pub(super) x: Vec<&'a [f32]>,
}

/// Returns the sources at `sites` that are not zero, as edits.
pub(super) fn edits(run: &Run, sites: &[Place], x: &[f32]) -> Vec<Edit> {
    let sizes = run.model().sizes();
    let each = sites.iter().zip(x.chunks(sizes.d)).filter(|(_, s)| norm(s) > 0.0);
    each.map(|(&(level, token), s)| Edit::add(Site::level(level, sizes), token, s.to_vec())).collect()
}

/// Returns the changes that each set of sources causes: those of observables first. Runs of one batch share passes.
pub(super) fn achieved(tried: &[Tried<'_>]) -> Result<Vec<Vec<Vec<f32>>>> {
    let of = |Tried { run, sites, x, .. }: &Tried<'_>| x.iter().map(|x| edits(run, sites, x)).collect();
    let all: Vec<Vec<Vec<Edit>>> = tried.iter().map(of).collect();
    let (mut readings, mut edited) = (Vec::<(&Run, &Observable)>::new(), Vec::new());
    for (Tried { run, goals, .. }, sets) in tried.iter().zip(&all) {
        for observable in observables(goals) {
            readings.push((run, observable));
            edited.extend(sets.iter().map(|edits| EditedRun { run, edits, observable }));
        }
    }
    let (mut before, mut after) = (values(&readings)?.into_iter(), values_of(&edited)?.into_iter());
    let mut changes: Vec<Vec<Vec<f32>>> = all.iter().map(|sets| vec![Vec::new(); sets.len()]).collect();
    for (Tried { goals, .. }, changes) in tried.iter().zip(&mut changes) {
        for (_, before) in observables(goals).zip(before.by_ref()) {
            for (changes, after) in changes.iter_mut().zip(after.by_ref()) {
                changes.push((after - before) as f32);
            }
        }
    }
    for ((tried, sets), changes) in tried.iter().zip(&all).zip(&mut changes) {
        for (changes, moved) in changes.iter_mut().zip(moved(tried, sets)?) {
            changes.extend(moved);
        }
    }
    Ok(changes)
}

/// Returns the changes of the field at the places of goals, under each list of edits.
fn moved(Tried { run, goals, .. }: &Tried<'_>, sets: &[Vec<Edit>]) -> Result<Vec<Vec<f32>>> {
    let place = |goal: &Goal| match goal {
        Goal::Field { place, .. } => Some(*place),
        Goal::Observable { .. } => None,
    };
    let ((_, _, d), places) = (shape(run), goals.iter().filter_map(place).collect::<Vec<Place>>());
    let sites: Vec<Site> = places.iter().map(|place| Site::level(place.0, run.model().sizes())).collect();
    if sites.is_empty() {
        return Ok(vec![Vec::new(); sets.len()]);
    }
    let before = captures(&[(run, &sites[..])])?.remove(0);
    let mut changes = vec![vec![0.0; places.len() * d]; sets.len()];
    run.fields_under(sets, &sites, &mut |chunk| {
        let token = places[chunk.site].1;
        let Some(after) = chunk.row(token, d) else { return };
        let rows = after.iter().zip(&before[chunk.site][token * d..][..d]);
        for (change, (after, before)) in changes[chunk.sequence][chunk.site * d..].iter_mut().zip(rows) {
            *change = after - before;
        }
    })?;
    Ok(changes)
}
