//! Runs between two prompts, for predictions that average derivatives along the way.

use resolvent_model::{Edit, EditedPrompt, Run, Site, captures};

use crate::case::Case;
use crate::error::Result;

/// Runs the corrupted prompt of each case with its embeddings moved by `share` of the way to the clean ones. Values at
/// `sites` can be read.
pub(crate) fn between(cases: &[Case<'_>], sites: &[Site], share: f32) -> Result<Vec<Run>> {
    between_at(Site::ResidPre(0), cases, sites, share)
}

/// Runs the corrupted prompt of each case with all rows of `moved_site` moved by `share` of the way to the clean ones. Values
/// at `sites` can be read.
pub(crate) fn between_at(moved_site: Site, cases: &[Case<'_>], sites: &[Site], share: f32) -> Result<Vec<Run>> {
    let Some(first) = cases.first() else { return Ok(Vec::new()) };
    let (model, at) = (first.corrupted.model(), [moved_site]);
    let d = model.sizes().d;
    let both = cases.iter().flat_map(|case| [(case.clean, &at[..]), (case.corrupted, &at[..])]);
    let captured = captures(&both.collect::<Vec<_>>())?;
    let mut edits: Vec<Vec<Edit>> = Vec::with_capacity(cases.len());
    for (case, both) in cases.iter().zip(captured.chunks(2)) {
        let rows = both[0][0].chunks(d).zip(both[1][0].chunks(d)).enumerate();
        let moved = rows.map(|(t, (theirs, ours))| {
            let by = theirs.iter().zip(ours).map(|(a, b)| share * (a - b)).collect();
            Edit::add(moved_site, t, by)
        });
        edits.push(case.corrupted.edits().iter().cloned().chain(moved).collect());
    }
    let with = cases.iter().zip(&edits);
    let prompts: Vec<EditedPrompt<'_>> =
        with.map(|(case, edits)| EditedPrompt { tokens: case.corrupted.tokens(), edits }).collect();
    Ok(model.run_edited(&prompts, sites)?)
}
