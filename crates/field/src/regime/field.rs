//! The error of the first-order response of the whole field.

use resolvent_model::{Edit, Site, Source, SourcedRun, fields_of};

use super::probe::Probe;
use super::setup::Setup;
use crate::derivatives::responses_all;
use crate::error::Result;
use crate::noise;
use crate::place::shape;

/// The most responses in memory, in elements: 64 MiB.
const RESPONSES: usize = 16 << 20;

/// Returns `|h(a) - h - a G v| / |a G v|` over the levels above each source, `[probes, amplitudes]`.
pub(super) fn field_errors(setup: &Setup<'_>, amplitudes: &[f32]) -> Result<Vec<f32>> {
    let (mut errors, mut rest) = (Vec::with_capacity(setup.probes.len() * amplitudes.len()), &setup.probes[..]);
    while !rest.is_empty() {
        let mut size = 0;
        let fits = |probe: &&Probe| {
            size += setup.cases[probe.of].field.len();
            size <= RESPONSES
        };
        let (part, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        errors.extend(errors_of(setup, part, amplitudes)?);
        rest = later;
    }
    Ok(errors)
}

/// Returns the errors of some probes, whose responses fit in memory.
fn errors_of(setup: &Setup<'_>, probes: &[Probe], amplitudes: &[f32]) -> Result<Vec<f32>> {
    let Some(model) = probes.first().map(|probe| setup.cases[probe.of].run.model()) else { return Ok(Vec::new()) };
    let (sizes, unit) = (model.sizes(), noise::unit(model.sizes()));
    let sources: Vec<[Source; 1]> = probes.iter().map(|probe| [probe.source(1.0)]).collect();
    let sourced = probes.iter().zip(&sources);
    let sourced = sourced.map(|(probe, sources)| SourcedRun { run: setup.cases[probe.of].run, sources });
    let responses = responses_all(&sourced.collect::<Vec<_>>())?;
    let edit = |probe| amplitudes.iter().map(move |&a| (probe, Probe::edit(probe, f64::from(a))));
    let edits: Vec<(&Probe, [Edit; 1])> = probes.iter().flat_map(edit).collect();
    let edited = edits.iter().map(|(probe, edits)| (setup.cases[probe.of].run, &edits[..]));
    let levels: Vec<Site> = (0..=sizes.layers).map(|level| Site::level(level, sizes)).collect();
    let mut sums = vec![[0.0f64; 3]; edits.len()];
    fields_of(&edited.collect::<Vec<_>>(), &levels, &mut |chunk| {
        let n = chunk.sequence / amplitudes.len();
        let case = &setup.cases[probes[n].of];
        if chunk.site <= probes[n].place.0 {
            return;
        }
        let (_, tokens, d) = shape(case.run);
        let at = (chunk.site * tokens + chunk.token) * d;
        let a = f64::from(amplitudes[chunk.sequence % amplitudes.len()]);
        let [apart, size, rounding] = &mut sums[chunk.sequence];
        for ((x, h), r) in chunk.rows.iter().zip(&case.field[at..]).zip(&responses[n][at..]) {
            let linear = a * f64::from(*r);
            *apart += (f64::from(*x) - f64::from(*h) - linear).powi(2);
            *size += linear * linear;
            *rounding += (unit * f64::from(*h)).powi(2);
        }
    })?;
    let error = |[apart, size, rounding]: &[f64; 3]| match apart {
        0.0 => 0.0,
        apart if apart <= rounding => f32::NAN,
        apart => (apart / size).sqrt() as f32,
    };
    Ok(sums.iter().map(error).collect())
}
