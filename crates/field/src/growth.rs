//! Transient growth: how much a block can amplify a source at one token, beside what its eigenvalues say.
//!
//! ```text
//! A[l, t] = dh[l+1, t] / dh[l, t] = 1 + B,      G(l, t; 0, t) = A[l-1, t] .. A[0, t]
//! ```
//!
//! A normal matrix amplifies by its largest eigenvalue at most. Any other one may amplify more at first: the
//! eigenvalues of blocks do not bound the growth of a source.

mod block;

use rayon::prelude::*;
use resolvent_model::{Linearization, Mode, Run, gaussian};

use crate::certificate::{Certificate, SAME, adjoint, narrow, worse};
use crate::dense::{svd, wide};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::linear_map::LinearMap;
use crate::operator::Operator;
use crate::place::{inside, shape};

use block::{Block, apply, product};

/// Measures the growth of sources at some tokens (N of them), at their own token: block by block, and from level 0 on.
///
/// Arrays `[L, N]` of the operator A of each block, with `B = A - 1`: `gain`, the largest singular value of A;
/// `radius`, the largest size of its eigenvalues; `numerical_abscissa`, the largest eigenvalue of `(B + B^T) / 2`,
/// which is the rate at which a source can grow at first; `abscissa`, the largest real part of the eigenvalues of B,
/// the rate in the long run; `departure`, from 0 for a normal B to 1: `sqrt(|B|_F^2 - sum |lambda|^2) / |B|_F`. Arrays
/// `[L+1, N]` of the product of the blocks below each level: `growth`, its largest singular value; `by_radius` and
/// `by_gain`, the products of `radius` and of `gain`. `tokens [N]` are the tokens.
///
/// Certificates: the product of all blocks is the Green operator from level 0 to level L (`composition`); the adjoint
/// identity.
///
/// # Errors
/// A token outside of the prompt, none, a device error, or a check that fails.
pub fn growth(run: &Run, tokens: &[usize]) -> Result<Labelled> {
    let (levels, _, d) = shape(run);
    tokens.iter().try_for_each(|&token| inside((0, token), run))?;
    if tokens.is_empty() {
        return Err(Error::Input("no token is given; name one or more".to_owned()));
    }
    let linear = run.linearize(Mode::Exact);
    let (blocks, count) = (levels - 1, tokens.len());
    let mut operators = Vec::with_capacity(blocks * count);
    for level in 0..blocks {
        for &token in tokens {
            operators.push(operator(&linear, (level, token))?);
        }
    }
    let found: Vec<Block> = operators.par_iter().map(|a| Block::new(a, d)).collect::<Result<_>>()?;
    // Products from level 0, token by token.
    let of_token = |n: usize| -> Result<(Vec<f64>, Vec<f64>)> {
        let (mut whole, mut grown) = (block::identity(d), vec![1.0]);
        for level in 0..blocks {
            whole = product(&operators[level * count + n], &whole, d);
            grown.push(svd(&whole, d)?.values[0]);
        }
        Ok((whole, grown))
    };
    let products: Vec<(Vec<f64>, Vec<f64>)> = (0..count).into_par_iter().map(of_token).collect::<Result<_>>()?;
    let composition = composition(&linear, tokens, &products)?;
    let by_block = |of: fn(&Block) -> f64| narrow(&found.iter().map(of).collect::<Vec<_>>());
    let along = |of: fn(&Block) -> f64| {
        let mut all = vec![1.0; count];
        for level in 0..blocks {
            let next: Vec<f64> = (0..count).map(|n| all[level * count + n] * of(&found[level * count + n])).collect();
            all.extend(next);
        }
        narrow(&all)
    };
    let grown: Vec<f64> = (0..levels).flat_map(|level| products.iter().map(move |(_, grown)| grown[level])).collect();
    let (axes, whole) = ([("block", blocks), ("token", count)], [("level", levels), ("token", count)]);
    Labelled::new("growth", run)
        .with("gain", &axes, by_block(|block| block.gain))
        .with("radius", &axes, by_block(|block| block.radius))
        .with("numerical_abscissa", &axes, by_block(|block| block.numerical_abscissa))
        .with("abscissa", &axes, by_block(|block| block.abscissa))
        .with("departure", &axes, by_block(|block| block.departure))
        .with("growth", &whole, narrow(&grown))
        .with("by_radius", &whole, along(|block| block.radius))
        .with("by_gain", &whole, along(|block| block.gain))
        .with("tokens", &[("token", count)], tokens.iter().map(|&token| token as f32).collect())
        .certify(composition)?
        .certify(adjoint(&linear, 1)?)
}

/// Returns the operator of a block at one token, `[d, d]`: rows are components of its output.
fn operator(linear: &Linearization<'_>, (level, token): (usize, usize)) -> Result<Vec<f64>> {
    let (_, _, d) = shape(linear.run());
    let map = Operator::new(linear, &[(level, token)], &[(level + 1, token)])?;
    let unit = |i: usize| (0..d).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
    let columns = map.apply(&(0..d).map(unit).collect::<Vec<Vec<f32>>>())?;
    Ok((0..d * d).map(|i| f64::from(columns[i % d][i / d])).collect())
}

/// Compares the product of all blocks, applied to a random vector at each token, with the Green operator.
fn composition(linear: &Linearization<'_>, tokens: &[usize], products: &[(Vec<f64>, Vec<f64>)]) -> Result<Certificate> {
    let (levels, _, d) = shape(linear.run());
    let (x, mut worst) = (gaussian(1, d), 0.0);
    for (&token, (whole, _)) in tokens.iter().zip(products) {
        let map = Operator::new(linear, &[(0, token)], &[(levels - 1, token)])?;
        let direct = wide(&map.apply(std::slice::from_ref(&x))?[0]);
        let parts = apply(whole, &wide(&x));
        let apart: f64 = parts.iter().zip(&direct).map(|(a, b)| (a - b).powi(2)).sum();
        let size: f64 = direct.iter().map(|x| x * x).sum();
        worst = worse(worst, (apart / size.max(f64::MIN_POSITIVE)).sqrt());
    }
    Ok(Certificate::new("composition", worst, SAME))
}
