//! What the directions are chosen from: displacements, sensitivities and probes of all tokens of one role, as rows.

use super::snapshots::Snapshot;
use crate::certificate::dot;
use crate::dense::{Dense, inner, svd, wide};
use crate::error::Result;

/// Rows `[_, d]` of one role, or of all roles. Rows of zeros, of tokens that nothing moves, are left out.
#[derive(Clone, Default)]
pub(super) struct Rows {
    /// Displacements.
    pub(super) moved: Vec<f64>,
    /// Sensitivities.
    pub(super) chi: Vec<f64>,
    /// Probes, whose second moments are `G^T G` up to a factor.
    pub(super) probes: Vec<f64>,
}

impl Rows {
    /// Returns the rows of each of `roles` roles over some snapshots, whose rows have `d` elements. Second moments of
    /// displacements and sensitivities have the weight `|<chi, x>|^power` of their token.
    pub(super) fn of(snapshots: &[&Snapshot], (roles, d): (usize, usize), power: f64) -> Vec<Self> {
        let mut all = vec![Self::default(); roles];
        for snapshot in snapshots {
            let tokens = snapshot.roles.len();
            for (token, &role) in snapshot.roles.iter().enumerate() {
                let row = |rows: &'_ [f32], at: usize| -> Vec<f64> { wide(&rows[at * d..(at + 1) * d]) };
                let at = token * d..(token + 1) * d;
                let along = dot(&snapshot.moved[at.clone()], &snapshot.chi[at]).abs();
                // 0^0 is 1.
                let weight = along.powf(power).sqrt();
                let weighted = |rows: &[f32]| row(rows, token).iter().map(|x| weight * x).collect();
                add(&mut all[role].moved, weighted(&snapshot.moved));
                add(&mut all[role].chi, weighted(&snapshot.chi));
                for probe in 0..snapshot.probes.len() / (tokens * d) {
                    add(&mut all[role].probes, row(&snapshot.probes, probe * tokens + token));
                }
            }
        }
        all
    }

    /// Returns the rows of all roles together.
    pub(super) fn joined(all: &[Self]) -> Self {
        let joined = |of: fn(&Self) -> &Vec<f64>| all.iter().flat_map(of).copied().collect();
        Self { moved: joined(|r| &r.moved), chi: joined(|r| &r.chi), probes: joined(|r| &r.probes) }
    }

    /// Decomposes the rows.
    pub(super) fn spectra(self, d: usize) -> Result<Spectra> {
        let (moved, chi) = (Spectrum::new(&self.moved, d)?, Spectrum::new(&self.chi, d)?);
        Ok(Spectra { moved, chi, probes: self.probes })
    }

    /// Returns the spectra of some sets of tokens: of all tokens together (`by_role` false), or of each role.
    pub(super) fn spectra_of(all: Vec<Self>, by_role: bool, d: usize) -> Result<Vec<Spectra>> {
        let sets = if by_role { all } else { vec![Self::joined(&all)] };
        sets.into_iter().map(|one| one.spectra(d)).collect()
    }
}

/// Adds a row, if it is not zero.
fn add(rows: &mut Vec<f64>, row: Vec<f64>) {
    if row.iter().any(|x| *x != 0.0) {
        rows.extend(row);
    }
}

/// Eigenvalues below this share of the largest are rounding.
const NEGLIGIBLE: f64 = 1e-12;

/// The second moments `sum x x^T` of n rows x: their eigenvalues that are not rounding, at most n, and eigenvectors.
/// They come from the rows, so that few rows of many elements cost little.
pub(super) struct Spectrum {
    /// Eigenvalues, largest first.
    pub(super) values: Vec<f64>,
    /// Their eigenvectors, each of `[d]`.
    pub(super) vectors: Vec<Vec<f64>>,
    /// Sum of all eigenvalues.
    pub(super) trace: f64,
}

impl Spectrum {
    /// Decomposes the second moments of rows `[_, d]`.
    pub(super) fn new(rows: &[f64], d: usize) -> Result<Self> {
        let trace = inner(rows, rows);
        if rows.is_empty() {
            return Ok(Self { values: Vec::new(), vectors: Vec::new(), trace });
        }
        let Dense { values, right, .. } = svd(rows, d)?;
        let values: Vec<f64> = values.iter().map(|s| s * s).collect();
        let largest = values.first().copied().unwrap_or(0.0);
        let found = values.iter().take_while(|value| **value > NEGLIGIBLE * largest).count();
        Ok(Self { values: values[..found].to_vec(), vectors: right.into_iter().take(found).collect(), trace })
    }
}

/// Second moments, decomposed once for all methods.
pub(super) struct Spectra {
    /// Of displacements.
    pub(super) moved: Spectrum,
    /// Of sensitivities.
    pub(super) chi: Spectrum,
    /// The probes as they are: only few methods need them.
    pub(super) probes: Vec<f64>,
}
