//! Bases: the projectors of one method.

use super::projector::{Method, Projector};
use super::rows::Spectra;
use super::snapshots::Snapshot;
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
