//! The operators of one prompt, averaged over its positions, and their check.

use std::ops::Range;

use resolvent_model::{Linearization, Mode, Run, Seed, Site, Source, gaussian};

use super::options::AverageOptions;
use crate::certificate::{ADJOINT, Certificate};
use crate::conditioning::{amplification, conditioned};
use crate::error::{Error, Result};
use crate::place::shape;

/// Returns the positions of a prompt that are averaged.
pub(super) fn positions(tokens: usize, options: AverageOptions) -> Result<Range<usize>> {
    let AverageOptions { skip_first, skip_last } = options;
    let end = tokens.saturating_sub(skip_last);
    match skip_first < end {
        true => Ok(skip_first..end),
        false => Err(Error::Input(format!(
            "{tokens} tokens have no position to average, since the first {skip_first} and the last {skip_last} are \
             left out; leave out fewer, or give longer prompts"
        ))),
    }
}

/// Returns the operators of all levels, `[L+1, d, d]`: rows are components of h\[L\].
pub(super) fn operator(run: &Run, positions: Range<usize>) -> Result<Vec<f64>> {
    let (levels, _, d) = shape(run);
    let linear = run.linearize(Mode::Exact);
    let mut sum = vec![0.0f64; levels * d * d];
    // Cotangents are generated batch by batch: those of all d components would exceed one.
    let most = (linear.batch_rows(levels) / positions.end).max(1);
    for first in (0..d).step_by(most) {
        let unit = |to: usize| (0..d).map(|j| if j == to { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
        let seeds = (first..(first + most).min(d)).map(|to| at_positions(levels - 1, positions.clone(), &unit(to)));
        linear.vjp_at(&seeds.collect::<Vec<_>>(), &run.levels(), &mut |chunk| {
            let row = &mut sum[(chunk.site * d + first + chunk.sequence) * d..][..d];
            for (t, from) in chunk.rows.chunks(d).enumerate() {
                if positions.contains(&(chunk.token + t)) {
                    row.iter_mut().zip(from).for_each(|(sum, x)| *sum += f64::from(*x));
                }
            }
        })?;
    }
    sum.iter_mut().for_each(|x| *x /= positions.len() as f64);
    Ok(sum)
}

/// Returns the cotangent `vector` at every position of a level.
fn at_positions(level: usize, positions: Range<usize>, vector: &[f32]) -> Vec<Seed> {
    positions.map(|token| Seed::Field { level, token, vector: vector.to_vec() }).collect()
}

/// Compares the operator of a level, applied to a random vector, with forward mode: the response of the last level to
/// the vector at every position. The figure is their distance over the length of the response.
pub(super) fn check(run: &Run, positions: Range<usize>, level: usize, operator: &[f64]) -> Result<Certificate> {
    let (levels, _, d) = shape(run);
    let (linear, sizes) = (run.linearize(Mode::Exact), run.model().sizes());
    let x = gaussian(1, d);
    let at = |token| Source { site: Site::level(level, sizes), token, vector: x.clone() };
    let sources: Vec<Source> = positions.clone().map(at).collect();
    let response = response(&linear, &sources, positions.clone())?;
    let count = positions.len() as f64;
    let rows = operator[level * d * d..][..d * d].chunks(d).zip(&response);
    let (mut apart, mut size) = (0.0f64, 0.0f64);
    for (row, wanted) in rows {
        let got = count * row.iter().zip(&x).map(|(a, x)| a * f64::from(*x)).sum::<f64>();
        apart += (got - wanted).powi(2);
        size += wanted.powi(2);
    }
    let (apart, scale) = (apart.sqrt(), size.sqrt().max(f64::MIN_POSITIVE));
    let value = apart / scale;
    let bound = conditioned((value, ADJOINT), (scale, sizes), || {
        // Along random signs, a product with the distance is as large as the distance in the mean square.
        let signs: Vec<f32> = gaussian(2, d).iter().map(|x| x.signum()).collect();
        amplification(&linear, &sources, &at_positions(levels - 1, positions, &signs))
    })?;
    Ok(Certificate::new("tangents", value, bound))
}

/// Returns the response of the last level to sources, summed over positions, `[d]`.
fn response(linear: &Linearization<'_>, sources: &[Source], positions: Range<usize>) -> Result<Vec<f64>> {
    let (levels, _, d) = shape(linear.run());
    let last = &linear.run().levels()[levels - 1..];
    let mut sum = vec![0.0f64; d];
    linear.jvp_at(&[sources], last, &mut |chunk| {
        for (t, row) in chunk.rows.chunks(d).enumerate() {
            if positions.contains(&(chunk.token + t)) {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
    })?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use resolvent_engine::Device;
    use resolvent_model::{Model, RandomWeights, tiny};

    use super::*;

    #[test]
    fn positions_leave_out_both_ends() {
        let options = AverageOptions { skip_first: 2, skip_last: 1 };
        assert_eq!(positions(5, options).ok(), Some(2..4));
        assert_eq!(positions(17, AverageOptions::default()).ok(), None);
        assert_eq!(positions(18, AverageOptions::default()).ok(), Some(16..17));
        let message = positions(3, options).expect_err("none is left").to_string();
        assert!(message.starts_with("3 tokens have no position to average, since the first 2"), "{message}");
        assert!(positions(0, AverageOptions { skip_first: 0, skip_last: 0 }).is_err());
    }

    /// The check passes, and fails for an operator of other positions, or with one wrong element.
    #[test]
    fn the_check_fails_for_another_operator() {
        let model = Model::random(&Device::host(), tiny(), RandomWeights::new(7)).expect("a model");
        let run = model.run(&[3, 1, 4, 1, 5, 9, 2], &[]).expect("runs");
        let mut found = operator(&run, 1..6).expect("computes");
        for level in 0..model.sizes().layers {
            assert!(check(&run, 1..6, level, &found).expect("computes").passes());
            assert!(!check(&run, 2..6, level, &found).expect("computes").passes());
        }
        let d = model.sizes().d;
        found[d * d + 3] += 1e-2;
        assert!(!check(&run, 1..6, 1, &found).expect("computes").passes());
    }

    /// Level L is the identity, and forward mode would see nothing else.
    #[test]
    fn the_last_level_is_the_identity() {
        let model = Model::random(&Device::host(), tiny(), RandomWeights::new(7)).expect("a model");
        let run = model.run(&[3, 1, 4, 1, 5], &[]).expect("runs");
        let (found, d) = (operator(&run, 0..5).expect("computes"), model.sizes().d);
        let last = &found[model.sizes().layers * d * d..];
        assert!(last.iter().enumerate().all(|(i, x)| *x == if i / d == i % d { 1.0 } else { 0.0 }));
    }
}
