//! Bases: the projectors of one method, and the errors to expect of them.

use super::projector::{Method, Projector};
use super::rows::{Rows, Spectra};
use super::snapshots::Snapshot;
use crate::certificate::dot;
use crate::error::Result;

/// Projectors of one method: one for all tokens, or one for each role.
pub(super) struct Bases {
    pub(super) projectors: Vec<Projector>,
}

impl Bases {
    /// Computes the projectors of a method from the spectra of each set of tokens. `most` and the seed are as in
    /// [`Projector::new`].
    pub(super) fn new(method: Method, sets: &[Spectra], d: usize, (most, seed): (usize, u64)) -> Result<Self> {
        let one = |(n, spectra): (usize, &Spectra)| {
            // Random directions of each set are others.
            let seed = seed.wrapping_add((n as u64) << 32);
            Projector::new(method, spectra, d, (most, seed))
        };
        Ok(Self { projectors: sets.iter().enumerate().map(one).collect::<Result<_>>()? })
    }

    /// Returns what remains of the sensitivities of a snapshot at a rank.
    pub(super) fn reduced(&self, snapshot: &Snapshot, rank: Option<usize>, d: usize) -> Vec<f32> {
        self.rows(snapshot, d).flat_map(|(projector, chi)| projector.reduced(chi, rank)).collect()
    }

    /// Returns what remains of the sensitivities of a snapshot with all directions of balanced projectors.
    pub(super) fn whole(&self, snapshot: &Snapshot, d: usize) -> Vec<f32> {
        self.rows(snapshot, d).flat_map(|(projector, chi)| projector.whole(chi)).collect()
    }

    /// Returns the sensitivity of each token with the projector of its role.
    fn rows<'a>(&'a self, snapshot: &'a Snapshot, d: usize) -> impl Iterator<Item = (&'a Projector, &'a [f32])> {
        let one = self.projectors.len() == 1;
        let rows = snapshot.chi.chunks(d).zip(&snapshot.roles);
        rows.map(move |(chi, &role)| (&self.projectors[if one { 0 } else { role }], chi))
    }

    /// Returns the relative error that the discarded singular values lead to expect at a rank.
    pub(super) fn said(&self, rank: usize) -> f64 {
        let sum =
            |from: usize| self.projectors.iter().flat_map(|p| p.values.iter().skip(from)).map(|s| s * s).sum::<f64>();
        (sum(rank) / sum(0)).sqrt()
    }
}

/// Parts into which the training prompts are split, so that each is measured with bases of the others.
const FOLDS: usize = 4;

/// Returns the relative errors of balanced bases on training prompts that they have not seen, `[basis, rank]`: of the
/// first-order effect `<chi, x>` of each token's displacement. NaN for fewer prompts than [`FOLDS`].
pub(super) fn cross_validated(learned: &[Snapshot], (roles, d): (usize, usize), ranks: &[usize]) -> Result<Vec<f64>> {
    let mut errors = vec![[0.0f64; 2]; 2 * ranks.len()];
    let most = ranks.last().copied().unwrap_or(0);
    let folds = if learned.len() < FOLDS { 0 } else { FOLDS };
    for fold in 0..folds {
        let part = |own: bool| learned.iter().enumerate().filter(move |(n, _)| (n % FOLDS == fold) == own);
        let others: Vec<&Snapshot> = part(false).map(|(_, snapshot)| snapshot).collect();
        let rows = Rows::of(&others, roles, d);
        for (basis, by_role) in [false, true].into_iter().enumerate() {
            let sets = Rows::spectra_of(rows.clone(), by_role, d)?;
            let bases = Bases::new(Method::Balanced, &sets, d, (most, 0))?;
            for (_, snapshot) in part(true) {
                for (errors, &rank) in errors[basis * ranks.len()..].iter_mut().zip(ranks) {
                    let reduced = bases.reduced(snapshot, Some(rank), d);
                    for ((moved, chi), reduced) in
                        snapshot.moved.chunks(d).zip(snapshot.chi.chunks(d)).zip(reduced.chunks(d))
                    {
                        let effect = dot(moved, chi);
                        errors[0] += (dot(moved, reduced) - effect).powi(2);
                        errors[1] += effect.powi(2);
                    }
                }
            }
        }
    }
    Ok(errors.iter().map(|[square, effect]| (square / effect).sqrt()).collect())
}
