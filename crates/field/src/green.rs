//! Green functions: the response field `G s` of one source, `response[l', t'] = (dh[l', t'] / dh[l, t]) s`.

use resolvent_model::{Edit, Mode, Run, Site, Source};

use crate::certificate::{Certificate, SLOPE, adjoint, norm, norms};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::sensitivity::shape;

/// The response field of a source `[d]` at (level, token): arrays `response [L+1, T, d]`, `norm [L+1, T]`.
///
/// Certificates: exact zeros outside the causal cone; the adjoint identity; a finite difference of the whole final level.
///
/// # Errors
/// A source that does not fit, a device error, or a check that fails.
pub fn green(run: &Run, level: usize, token: usize, source: &[f32]) -> Result<Labelled> {
    let (levels, tokens, d) = shape(run);
    let config = run.model().config();
    if level >= levels {
        let last = levels - 1;
        let reason = format!("level {level}: the field has levels 0 to {last}");
        return Err(crate::error::Error::Input(reason));
    }
    let site = Site::level(level, config);
    let linear = run.linearize(Mode::Exact);
    let response = linear.jvp(&[[Source { site, token, vector: source.to_vec() }]])?.into_single();
    let norm = norms(&response, d);
    let outside =
        |i: usize| i / tokens < level || i % tokens < token || (i / tokens == level && i % tokens != token);
    let leaked = norm.iter().enumerate().filter(|&(i, &n)| outside(i) && n != 0.0).count();
    let slope = slope(run, (level, token), source, &response[(levels - 1) * tokens * d..])?;
    Labelled::new("green", run)
        .with("response", &[("level", levels), ("token", tokens), ("d", d)], response)
        .with("norm", &[("level", levels), ("token", tokens)], norm)
        .note("source", format!("{level},{token}"))
        .certify(Certificate { name: "causal_zeros", value: leaked as f64, bound: 0.0 })?
        .certify(slope)?
        .certify(adjoint(&linear, 1)?)
}

/// The central difference of h\[L\] along the source, against the response there, relative to its norm.
fn slope(run: &Run, (level, token): (usize, usize), source: &[f32], last: &[f32]) -> Result<Certificate> {
    let (levels, tokens, d) = shape(run);
    let size = norm(source);
    if size == 0.0 {
        return Ok(Certificate { name: "slope", value: 0.0, bound: SLOPE });
    }
    let field = run.field()?;
    let site = Site::level(level, run.model().config());
    let h = norm(&field[(level * tokens + token) * d..][..d]);
    let step = (3e-3 * h / size) as f32;
    let at = |sign: f32| -> Result<Vec<f32>> {
        let edit = Edit::add(site, token, source.iter().map(|x| sign * step * x).collect());
        let edits: Vec<Edit> = run.edits().iter().cloned().chain([edit]).collect();
        Ok(run.model().run(run.tokens(), &edits)?.field()?[(levels - 1) * tokens * d..].to_vec())
    };
    let (up, down) = (at(1.0)?, at(-1.0)?);
    let quotient: Vec<f32> = up.iter().zip(&down).map(|(u, d)| (u - d) / (2.0 * step)).collect();
    let error: Vec<f32> = quotient.iter().zip(last).map(|(q, l)| q - l).collect();
    // Rounding of h[L] by f32, divided by the step, is not the response's fault.
    let noise = 1e-6 * norm(&field[(levels - 1) * tokens * d..]) / f64::from(step);
    let value = (norm(&error) - noise).max(0.0) / norm(last).max(f64::MIN_POSITIVE);
    Ok(Certificate { name: "slope", value, bound: SLOPE })
}
