//! Second moments of snapshots, one set for each role.

use super::snapshots::Snapshot;

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

/// Adds `x x^T`. Rows of zeros, of tokens that nothing moves, cost nothing.
fn add(sum: &mut [f64], x: &[f32]) {
    for (row, &a) in sum.chunks_mut(x.len()).zip(x).filter(|(_, a)| **a != 0.0) {
        row.iter_mut().zip(x).for_each(|(sum, &b)| *sum += f64::from(a) * f64::from(b));
    }
}
