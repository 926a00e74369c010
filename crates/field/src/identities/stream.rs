//! Identities of the residual stream.

use resolvent_model::{Mode, Observable, Run, Site, Source, gaussian};

use super::read;
use crate::certificate::{dot, worse};
use crate::derivatives::derivatives;
use crate::error::Result;
use crate::place::shape;

/// Returns the figure of [`shift_of`] for a sensitivity field in a mode.
pub(super) fn shift(run: &Run, observable: &Observable, mode: Mode) -> Result<f64> {
    let chi = derivatives(run, observable, mode, &run.levels())?;
    Ok(shift_of(chi.iter().map(Vec::as_slice), shape(run).2))
}

/// Returns the largest `|<chi[l,t], 1>|` over the level's largest sum of `|chi[l,t]_i|`, given the levels `[T, d]` of a
/// sensitivity field.
///
/// A cotangent of one token also has terms from others, which may cancel there: the size of the level covers them.
pub(super) fn shift_of<'a>(levels: impl Iterator<Item = &'a [f32]>, d: usize) -> f64 {
    let mut figure = 0.0;
    for level in levels {
        let rows = level.chunks(d).map(|row| {
            let sum: f64 = row.iter().map(|&x| f64::from(x)).sum();
            [sum.abs(), row.iter().map(|&x| f64::from(x.abs())).sum()]
        });
        let [sum, size] =
            rows.fold([0.0, f64::MIN_POSITIVE], |[a, b], [sum, size]: [f64; 2]| [worse(a, sum), worse(b, size)]);
        figure = worse(figure, sum / size);
    }
    figure
}

/// Returns the largest distance at a level between the response to constant vectors, and these, over the response to
/// random vectors of the same sizes. Each token has a constant of its own at level 0; the response is linear, so one
/// pass covers all places.
///
/// A norm subtracts the mean up to rounding. What is left propagates like any other vector, hence the comparison.
pub(super) fn constant(run: &Run, mode: Mode) -> Result<f64> {
    let (levels, tokens, d) = shape(run);
    let (constants, noise) = (gaussian(0, tokens), gaussian(1, tokens * d));
    let sources = |row: &dyn Fn(usize) -> Vec<f32>| -> Vec<Source> {
        (0..tokens).map(|token| Source { site: Site::ResidPre(0), token, vector: row(token) }).collect()
    };
    let constant = sources(&|t| vec![constants[t]; d]);
    let random = sources(&|t| noise[t * d..(t + 1) * d].iter().map(|x| constants[t] * x).collect());
    let mut squares = vec![[0.0f64; 2]; levels];
    run.linearize(mode).jvp_at(&[constant, random], &run.levels(), &mut |chunk| {
        for (row, c) in chunk.rows.chunks(d).zip(&constants[chunk.token..]) {
            let expected = if chunk.sequence == 0 { f64::from(*c) } else { 0.0 };
            let square: f64 = row.iter().map(|&x| (f64::from(x) - expected).powi(2)).sum();
            squares[chunk.site][chunk.sequence] += square;
        }
    })?;
    let figures = squares.iter().map(|[apart, size]| (apart / size.max(f64::MIN_POSITIVE)).sqrt());
    Ok(figures.fold(0.0, worse))
}

/// Returns the largest `|<h, chi> - c <h, chi'>|` at level L over the sizes of these terms, where chi' has the scales
/// of norms frozen. Of a layer norm, h is the field without its mean.
pub(super) fn final_scale(run: &Run, observable: &Observable, mode: Mode) -> Result<f64> {
    let (sizes, model, d) = (run.model().sizes(), run.model().architecture(), shape(run).2);
    let site = [Site::level(sizes.layers, sizes)];
    let [h, chi] = read(run, observable, mode, &site)?;
    let frozen = derivatives(run, observable, Mode::FrozenNorm, &site)?;
    let mut figure = 0.0;
    for ((h, chi), frozen) in h[0].chunks(d).zip(chi[0].chunks(d)).zip(frozen[0].chunks(d)) {
        let mean = if model.subtracts_means() { h.iter().map(|&x| f64::from(x)).sum::<f64>() / d as f64 } else { 0.0 };
        let h: Vec<f32> = h.iter().map(|&x| (f64::from(x) - mean) as f32).collect();
        let left = model.eps() / (dot(&h, &h) / d as f64 + model.eps());
        let size = sizes_of(&h, chi) + sizes_of(&h, frozen);
        figure = worse(figure, (dot(&h, chi) - left * dot(&h, frozen)).abs() / size.max(f64::MIN_POSITIVE));
    }
    Ok(figure)
}

/// Returns the sum of the sizes of the terms of `<a, b>`.
pub(super) fn sizes_of(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) * f64::from(b)).abs()).sum()
}
