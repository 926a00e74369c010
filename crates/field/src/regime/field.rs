//! The error of the first-order response of the whole field.

use resolvent_model::{Chunk, Edit, Mode, Run, Source};

use super::probe::Probe;
use crate::error::Result;
use crate::noise;
use crate::place::shape;

/// The most responses in memory, in elements: 64 MiB.
const RESPONSES: usize = 16 << 20;

/// Returns `|h(a) - h - a G v| / |a G v|` over the levels above each source, `[probes, amplitudes]`.
pub(super) fn field_errors(run: &Run, probes: &[Probe], amplitudes: &[f32]) -> Result<Vec<f32>> {
    let (levels, tokens, d) = shape(run);
    let together = (RESPONSES / (levels * tokens * d)).max(1);
    let parts = probes.chunks(together).map(|part| errors_of(run, part, amplitudes));
    Ok(parts.collect::<Result<Vec<_>>>()?.concat())
}

/// Returns the errors of some probes, whose responses fit in memory.
fn errors_of(run: &Run, probes: &[Probe], amplitudes: &[f32]) -> Result<Vec<f32>> {
    let (_, tokens, d) = shape(run);
    let (levels, field, unit) = (run.levels(), run.field()?, noise::unit(run.model().sizes()));
    let sources: Vec<[Source; 1]> = probes.iter().map(|probe| [probe.source(1.0)]).collect();
    let responses = run.linearize(Mode::Exact).jvp(&sources)?.into_single();
    let edits: Vec<[Edit; 1]> =
        probes.iter().flat_map(|probe| amplitudes.iter().map(|&a| probe.edit(f64::from(a)))).collect();
    let mut sums = vec![[0.0f64; 3]; edits.len()];
    run.fields_under(&edits, &levels, &mut |chunk: Chunk<'_>| {
        let probe = chunk.sequence / amplitudes.len();
        if chunk.site <= probes[probe].place.0 {
            return;
        }
        let at = (chunk.site * tokens + chunk.token) * d;
        let response = &responses[probe * field.len() + at..];
        let a = f64::from(amplitudes[chunk.sequence % amplitudes.len()]);
        let [apart, size, rounding] = &mut sums[chunk.sequence];
        for ((x, h), r) in chunk.rows.iter().zip(&field[at..]).zip(response) {
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
