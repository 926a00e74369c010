//! Derivatives by sites from backward passes, and response fields from forward ones, which runs of one batch share.

use resolvent_model::{Mode, Observable, Run, Seed, SeededRun, Site, SourcedRun, jvp_of, vjp_of};

use crate::error::Result;
use crate::place::shape;

/// Returns the derivative of the observable by each site at every token, `[T, width]`, from one backward pass.
pub(crate) fn derivatives(run: &Run, observable: &Observable, mode: Mode, sites: &[Site]) -> Result<Vec<Vec<f32>>> {
    Ok(derivatives_all(mode, &[(run, observable)], sites)?.remove(0))
}

/// Returns the [`derivatives`] of each reading.
pub(crate) fn derivatives_all(
    mode: Mode,
    readings: &[(&Run, &Observable)],
    sites: &[Site],
) -> Result<Vec<Vec<Vec<f32>>>> {
    let seeds: Vec<Vec<Seed>> =
        readings.iter().map(|(run, observable)| run.seeds(observable)).collect::<std::result::Result<_, _>>()?;
    let seeded = readings.iter().zip(&seeds).map(|((run, _), seeds)| SeededRun { run, seeds });
    cotangents_all(mode, &seeded.collect::<Vec<_>>(), sites)
}

/// Returns what the seeds of each run give at each site and every token, `[T, width]`.
pub(crate) fn cotangents_all(mode: Mode, seeded: &[SeededRun<'_>], sites: &[Site]) -> Result<Vec<Vec<Vec<f32>>>> {
    let Some(sizes) = seeded.first().map(|one| one.run.model().sizes()) else { return Ok(Vec::new()) };
    let zeros = |run: &Run| sites.iter().map(|site| vec![0.0; run.tokens().len() * site.width(sizes)]).collect();
    let mut found: Vec<Vec<Vec<f32>>> = seeded.iter().map(|one| zeros(one.run)).collect();
    vjp_of(mode, seeded, sites, &mut |chunk| {
        let from = chunk.token * sites[chunk.site].width(sizes);
        found[chunk.sequence][chunk.site][from..][..chunk.rows.len()].copy_from_slice(chunk.rows);
    })?;
    Ok(found)
}

/// Returns the response field `[L+1, T, d]` to the sources of each run.
pub(crate) fn responses_all(sourced: &[SourcedRun<'_>]) -> Result<Vec<Vec<f32>>> {
    let Some(first) = sourced.first() else { return Ok(Vec::new()) };
    let shapes: Vec<(usize, usize, usize)> = sourced.iter().map(|one| shape(one.run)).collect();
    let mut fields: Vec<Vec<f32>> = shapes.iter().map(|(levels, tokens, d)| vec![0.0; levels * tokens * d]).collect();
    jvp_of(Mode::Exact, sourced, &first.run.levels(), &mut |chunk| {
        let (_, tokens, d) = shapes[chunk.sequence];
        let at = (chunk.site * tokens + chunk.token) * d;
        fields[chunk.sequence][at..at + chunk.rows.len()].copy_from_slice(chunk.rows);
    })?;
    Ok(fields)
}
