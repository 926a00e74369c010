//! Second moments of snapshots, one set for each role.

use super::snapshots::Snapshot;
use crate::dense::{Dense, svd};
use crate::error::Result;

/// Second moments `[d, d]` of the rows of one role, or of all roles.
#[derive(Clone)]
pub(super) struct Moments {
    /// `sum x x^T` over displacements x.
    pub(super) moved: Vec<f64>,
    /// `sum chi chi^T` over sensitivities.
    pub(super) chi: Vec<f64>,
    /// `sum y y^T` over probes y, which is `G^T G` up to a factor.
    pub(super) operator: Vec<f64>,
}

impl Moments {
    /// Returns the moments of each of `roles` roles over some snapshots, whose rows have `d` elements.
    pub(super) fn of(snapshots: &[&Snapshot], roles: usize, d: usize) -> Vec<Self> {
        let zeros = || vec![0.0; d * d];
        let mut all = vec![Self { moved: zeros(), chi: zeros(), operator: zeros() }; roles];
        for snapshot in snapshots {
            for (token, &role) in snapshot.roles.iter().enumerate() {
                let row = |rows: &'_ [f32], at: usize| -> Vec<f32> { rows[at * d..(at + 1) * d].to_vec() };
                add(&mut all[role].moved, &row(&snapshot.moved, token));
                add(&mut all[role].chi, &row(&snapshot.chi, token));
                let tokens = snapshot.roles.len();
                for probe in 0..snapshot.probes.len() / (tokens * d) {
                    add(&mut all[role].operator, &row(&snapshot.probes, probe * tokens + token));
                }
            }
        }
        all
    }

    /// Returns the moments of all roles together.
    pub(super) fn sum(all: &[Self]) -> Self {
        let total = |of: fn(&Self) -> &Vec<f64>| {
            let mut sum = vec![0.0; all.first().map_or(0, |first| of(first).len())];
            all.iter().for_each(|one| sum.iter_mut().zip(of(one)).for_each(|(sum, x)| *sum += x));
            sum
        };
        Self { moved: total(|m| &m.moved), chi: total(|m| &m.chi), operator: total(|m| &m.operator) }
    }
}

/// A decomposed matrix of second moments.
pub(super) struct Spectrum {
    pub(super) found: Dense,
    /// Sum of the diagonal.
    pub(super) trace: f64,
}

impl Spectrum {
    fn new(moments: &[f64], d: usize) -> Result<Self> {
        Ok(Self { found: svd(moments, d)?, trace: moments.iter().step_by(d + 1).sum() })
    }
}

/// Second moments, decomposed once for all methods.
pub(super) struct Spectra {
    /// Of displacements.
    pub(super) moved: Spectrum,
    /// Of sensitivities.
    pub(super) chi: Spectrum,
    /// `G^T G [d, d]` up to a factor, as it is: only few methods need it.
    pub(super) operator: Vec<f64>,
}

impl Moments {
    /// Decomposes the moments.
    pub(super) fn spectra(self, d: usize) -> Result<Spectra> {
        Ok(Spectra {
            moved: Spectrum::new(&self.moved, d)?,
            chi: Spectrum::new(&self.chi, d)?,
            operator: self.operator,
        })
    }

    /// Returns the spectra of some sets of tokens: of all tokens together (`by_role` false), or of each role.
    pub(super) fn spectra_of(all: Vec<Self>, by_role: bool, d: usize) -> Result<Vec<Spectra>> {
        let sets = if by_role { all } else { vec![Self::sum(&all)] };
        sets.into_iter().map(|one| one.spectra(d)).collect()
    }
}

/// Adds `x x^T`. Rows of zeros, of tokens that nothing moves, cost nothing.
fn add(sum: &mut [f64], x: &[f32]) {
    for (row, &a) in sum.chunks_mut(x.len()).zip(x).filter(|(_, a)| **a != 0.0) {
        row.iter_mut().zip(x).for_each(|(sum, &b)| *sum += f64::from(a) * f64::from(b));
    }
}
