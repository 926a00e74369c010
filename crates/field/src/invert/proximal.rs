//! Accelerated proximal gradient (Beck and Teboulle 2009).

use crate::certificate::norm;
use crate::error::Result;
use crate::linear_map::LinearMap;

use super::goal::System;

/// Largest number of steps for one minimum.
const STEPS: usize = 200;

/// Minimises `1/2 |A x - b|^2` plus a function whose proximal map is `prox`. `prox` takes x and the length of a step.
pub(super) fn proximal(
    system: &System<'_>,
    start: Vec<f32>,
    prox: &mut dyn FnMut(&mut [f32], f64),
) -> Result<Vec<f32>> {
    let step = 1.0 / largest(system)?.max(f64::MIN_POSITIVE);
    let (mut x, mut y, mut t) = (start.clone(), start, 1.0f64);
    for _ in 0..STEPS {
        let rest: Vec<f32> = system.rest(&y)?.iter().map(|r| -r).collect();
        let gradient = system.apply_transpose(&[rest])?.remove(0);
        let mut next: Vec<f32> =
            y.iter().zip(&gradient).map(|(y, g)| (f64::from(*y) - step * f64::from(*g)) as f32).collect();
        prox(&mut next, step);
        let moved: Vec<f32> = next.iter().zip(&x).map(|(n, x)| n - x).collect();
        // Drop momentum that points uphill (O'Donoghue and Candes 2015).
        let uphill: f64 = y.iter().zip(&next).zip(&moved).map(|((y, n), m)| f64::from((y - n) * m)).sum();
        let later = if uphill > 0.0 { 1.0 } else { (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0 };
        let momentum = if uphill > 0.0 { 0.0 } else { (t - 1.0) / later };
        y = next.iter().zip(&moved).map(|(n, m)| (f64::from(*n) + momentum * f64::from(*m)) as f32).collect();
        let done = norm(&moved) <= 1e-6 * norm(&next);
        (x, t) = (next, later);
        if done {
            break;
        }
    }
    Ok(x)
}

/// Returns an upper estimate of the largest eigenvalue of `A^T A`, by power iteration. It includes a margin of 20 %,
/// because a step that is too long diverges.
fn largest(system: &System<'_>) -> Result<f64> {
    let mut x = resolvent_model::gaussian(1, system.columns());
    let mut value = 0.0;
    for _ in 0..12 {
        let size = norm(&x);
        if size == 0.0 {
            return Ok(0.0);
        }
        x.iter_mut().for_each(|x| *x = (f64::from(*x) / size) as f32);
        let y = system.apply(std::slice::from_ref(&x))?;
        x = system.apply_transpose(&y)?.remove(0);
        value = norm(&x);
    }
    Ok(1.2 * value)
}
