//! Leading singular triplets of a Green operator between places: `G v_i = s_i u_i`.
//!
//! v_i is a source of unit length, spread over the source places, and u_i is the shape of its response. The operator is
//! never formed: forward and reverse mode apply it to a few vectors at once.

use resolvent_model::{Linearization, Run};

use crate::certificate::{Certificate, SAME, narrow, norm, worse};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::linear_map::{LinearMap, adjoint_of};
use crate::operator::Operator;
use crate::place::{Place, shape};
use crate::readings::{Pair, Reading, Tokens, read_all, to_json};
use crate::rsvd::{Rsvd, RsvdOptions, rsvd};
use crate::store::fits;

/// Leading singular triplets of an operator.
#[derive(Clone, Debug)]
pub struct Spectrum {
    /// Arrays, provenance and certificates.
    pub result: Labelled,
    /// Each triplet at the places where its two vectors are longest, read as logits at the last token.
    pub triplets: Vec<Reading>,
}

/// Computes the k largest singular values of `G(to; from)`, stacked over places.
///
/// Arrays: `svd_values [k]`, `svd_left [k, M, d]`, `svd_right [k, F, d]`,
/// `svd_residual [k, 2]` = `|G v - s u|, |G^T u - s v|`, `svd_range [k, 2]` (lower and upper bound of each value),
/// `svd_bound [1]` (of `|G - U S V^T|`), `svd_to [M, 2]` and `svd_from [F, 2]`. The metadata say how the values were
/// computed (`svd_route`).
///
/// Certificates: the adjoint identity of the operator; `G^T u = s v` for all triplets. By construction the second is
/// exact up to rounding, for triplets of any accuracy.
///
/// # Errors
/// Places outside of the field, no source place that reaches a target, a rank larger than that of the operator, vectors
/// larger than the memory, a device error, or a check that fails.
pub fn spectrum(linear: &Linearization<'_>, from: &[Place], to: &[Place], options: &RsvdOptions) -> Result<Spectrum> {
    let run = linear.run();
    let d = shape(run).2;
    let operator = Operator::new(linear, from, to)?;
    let reaches = |(l, t): Place| to.iter().any(|&(to_l, to_t)| to_l >= l && to_t >= t);
    if !from.iter().any(|&place| reaches(place)) {
        return Err(Error::Input("no source reaches a target, so the operator is zero; see --from, --to".to_owned()));
    }
    let options = affordable(&operator, run, options)?;
    let found = rsvd(&operator, &options)?;
    let (k, largest) = (options.rank, found.values[0].max(f64::MIN_POSITIVE));
    let triplets = found.residual.iter().fold(0.0, |m, r| worse(m, r[1] / largest));
    let readings = read_triplets(linear, &found, [from, to])?;
    let places = |places: &[Place]| places.iter().flat_map(|&(l, t)| [l as f32, t as f32]).collect::<Vec<f32>>();
    let flat = |pairs: &[[f64; 2]]| narrow(&pairs.iter().flatten().copied().collect::<Vec<f64>>());
    let axes = |n| [("triplet", k), ("place", n), ("d", d)];
    let result = Labelled::new("slice", run)
        .with("svd_values", &[("triplet", k)], narrow(&found.values))
        .with("svd_left", &axes(to.len()), found.left.concat())
        .with("svd_right", &axes(from.len()), found.right.concat())
        .with("svd_residual", &[("triplet", k), ("side", 2)], flat(&found.residual))
        .with("svd_range", &[("triplet", k), ("end", 2)], flat(&found.range))
        .with("svd_bound", &[("value", 1)], vec![found.bound as f32])
        .with("svd_to", &[("to", to.len()), ("place", 2)], places(to))
        .with("svd_from", &[("from", from.len()), ("place", 2)], places(from))
        .note("svd_bound_fails", format!("{:.1e}", found.failure))
        .note("svd_route", found.route.to_string())
        .note("tolerance", options.tolerance.to_string())
        .note("oversampling", options.oversampling.to_string())
        .note("power", options.power.to_string())
        .note("seed", options.seed.to_string())
        .note("triplets", to_json(&readings, linear))
        .certify(adjoint_of(&operator, 1)?)?
        .certify(Certificate::new("triplets", triplets, SAME))?;
    Ok(Spectrum { result, triplets: readings })
}

/// Returns options with which the search fits in memory. The dense matrix is not used if it is too large, and the
/// number of iterations is limited by the available memory.
fn affordable(operator: &Operator<'_>, run: &Run, options: &RsvdOptions) -> Result<RsvdOptions> {
    let (rows, columns) = (operator.rows(), operator.columns());
    let (most, memory) = (rows.min(columns), run.model().device().batch_bytes());
    let mut options = *options;
    // Bytes of the matrix in f32, of the matrix in f64, and of its singular vectors.
    let dense = 24 * rows * columns + operator.scratch(most);
    if most <= options.exact && dense as u64 > memory {
        options.exact = 0;
    }
    if most > options.exact {
        // Bytes of the vectors of both sides, in f32 and, while they are made orthonormal, in f64.
        let width = options.rank.saturating_add(options.oversampling).min(most).max(options.probes);
        let needed = |blocks: usize| {
            12 * blocks.saturating_mul(width).min(most) * (rows + columns) + operator.scratch(width + options.rank)
        };
        fits(run, needed(1) as u64, "the vectors take", "")?;
        let room = (1..=options.power).take_while(|&more| needed(more + 1) as u64 <= memory);
        options.power = room.last().unwrap_or(0);
    }
    Ok(options)
}

/// Reads each triplet at the places where its vectors are longest.
fn read_triplets(linear: &Linearization<'_>, found: &Rsvd, [from, to]: [&[Place]; 2]) -> Result<Vec<Reading>> {
    let (_, tokens, d) = shape(linear.run());
    let longest = |x: &[f32], places: &[Place]| -> (Place, Vec<f32>) {
        let sizes: Vec<f64> = x.chunks(d).map(norm).collect();
        let best = (0..sizes.len()).fold(0, |best, i| if sizes[i] > sizes[best] { i } else { best });
        (places[best], x[best * d..(best + 1) * d].to_vec())
    };
    let (mut pairs, mut ends) = (Vec::new(), Vec::new());
    for ((value, u), v) in found.values.iter().zip(&found.left).zip(&found.right) {
        let ((to, response), (from, source)) = (longest(u, to), longest(v, from));
        pairs.push(Pair { linear, position: tokens - 1, vectors: [source, response] });
        ends.push((from, to, *value as f32));
    }
    let read = read_all(&pairs)?.into_iter().zip(ends);
    let reading = |([reads, writes], (from, to, value)): (Tokens, (Place, Place, f32))| Reading {
        from,
        to,
        value,
        effective_rank: None,
        reads,
        writes,
    };
    Ok(read.map(reading).collect())
}
