//! Sources at places, along their directions.

use resolvent_model::{Edit, Run, Site, Source};

use crate::certificate::{dot, norm};
use crate::error::{Error, Result};
use crate::place::{Place, inside, overflows, shape};

/// A source at a place, scaled so that amplitude 1 is the unit that the options select.
pub(super) struct Probe {
    /// Index of its case.
    pub(super) of: usize,
    pub(super) place: Place,
    pub(super) site: Site,
    /// The source at amplitude 1, `[d]`.
    pub(super) vector: Vec<f32>,
    /// Length of `vector`.
    pub(super) size: f64,
}

impl Probe {
    pub(super) fn source(&self, amplitude: f64) -> Source {
        let vector = self.vector.iter().map(|&x| (amplitude * f64::from(x)) as f32).collect();
        Source { site: self.site, token: self.place.1, vector }
    }

    pub(super) fn edit(&self, amplitude: f64) -> [Edit; 1] {
        let Source { site, token, vector } = self.source(amplitude);
        [Edit::add(site, token, vector)]
    }

    /// Returns level and token, as result files store them.
    pub(super) fn indices(&self) -> [f32; 2] {
        [self.place.0 as f32, self.place.1 as f32]
    }

    /// Returns the row of a field `[L+1, T, d]` at the place.
    pub(super) fn row<'a>(&self, field: &'a [f32], run: &Run) -> &'a [f32] {
        let (_, tokens, d) = shape(run);
        &field[(self.place.0 * tokens + self.place.1) * d..][..d]
    }

    /// Returns dJ/da by the sensitivities chi.
    pub(super) fn first_order(&self, chi: &[f32], run: &Run) -> f64 {
        dot(self.row(chi, run), &self.vector)
    }
}

/// Returns the probes of `sites` in a run with its field `[L+1, T, d]`, for some amplitudes. If `absolute` is false,
/// the unit is |h\[l, t\]|. `of` is the index of the case.
pub(super) fn probes(
    of: usize,
    (run, field): (&Run, &[f32]),
    sites: &[(Place, Vec<f32>)],
    (amplitudes, absolute): (&[f32], bool),
) -> Result<Vec<Probe>> {
    let (_, tokens, d) = shape(run);
    let wrong = amplitudes.iter().find(|a| !a.is_finite() || **a == 0.0);
    if let Some(a) = wrong {
        return Err(Error::Input(format!("invalid amplitude {a}: expected a finite number other than 0")));
    }
    let largest = amplitudes.iter().fold(0.0f32, |largest, a| largest.max(a.abs()));
    let mut probes = Vec::with_capacity(sites.len());
    for ((level, token), direction) in sites {
        inside((*level, *token), run)?;
        if direction.len() != d || norm(direction) == 0.0 {
            let reason = format!("the direction at {level},{token} needs {d} numbers that are not all zero");
            return Err(Error::Input(reason));
        }
        let h = norm(&field[(level * tokens + token) * d..][..d]);
        let unit = if absolute { 1.0 } else { h };
        let vector: Vec<f32> = direction.iter().map(|&x| (unit * f64::from(x)) as f32).collect();
        let (place, site) = ((*level, *token), Site::level(*level, run.model().sizes()));
        let size = norm(&vector);
        if size * f64::from(largest) > f64::from(f32::MAX) {
            return Err(overflows(largest, size, (*level, *token)));
        }
        probes.push(Probe { of, place, site, vector, size });
    }
    Ok(probes)
}
