//! Displacements of patches: clean values of a kind's sites, and their differences from the corrupted values.

use resolvent_model::{Edit, Linearization, Observable, Run, Site, Source, captures};

use crate::certificate::dot;
use crate::error::Result;
use crate::noise;
use crate::site_kind::SiteKind;

/// The clean values of a kind's sites at every token, and their differences from the corrupted values.
///
/// Patches are numbered in the order of the kind's axes: site, then token.
pub(crate) struct Displacements {
    sites: Vec<Site>,
    tokens: usize,
    /// Clean values of each site, `[T, width]`.
    clean: Vec<Vec<f32>>,
    /// `y_clean - y_corrupted` of each site, `[T, width]`.
    delta: Vec<Vec<f32>>,
    /// The corrupted run's levels, `[T, d]` each.
    field: Vec<Vec<f32>>,
}

impl Displacements {
    /// Reads the sites from two runs that were prepared for them.
    pub(crate) fn new([clean, corrupted]: [&Run; 2], kind: SiteKind) -> Result<Self> {
        let sites = kind.sites(corrupted.model().config());
        let of_both: Vec<Site> = sites.iter().chain(&corrupted.levels()).copied().collect();
        let mut captured = captures(&[(clean, &sites), (corrupted, &of_both)])?.into_iter();
        let (clean, mut corrupted_values) = (captured.next().unwrap_or_default(), captured.next().unwrap_or_default());
        let field = corrupted_values.split_off(sites.len());
        let minus = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
        let delta = clean.iter().zip(&corrupted_values).map(minus).collect();
        Ok(Self { sites, tokens: corrupted.tokens().len(), clean, delta, field })
    }

    /// Returns the number of patches.
    pub(crate) fn len(&self) -> usize {
        self.sites.len() * self.tokens
    }

    /// Returns the site and the token of a patch.
    pub(crate) fn place(&self, patch: usize) -> (Site, usize) {
        (self.sites[patch / self.tokens], patch % self.tokens)
    }

    fn row<'a>(&self, values: &'a [Vec<f32>], patch: usize) -> &'a [f32] {
        let values = &values[patch / self.tokens];
        let width = values.len() / self.tokens;
        &values[patch % self.tokens * width..][..width]
    }

    /// Returns `y_clean - y_corrupted` of a patch.
    pub(crate) fn delta(&self, patch: usize) -> &[f32] {
        self.row(&self.delta, patch)
    }

    /// Returns the edit of a patch, or no edit if both runs have the same value there. A run with such a patch is the
    /// base run, and another computation of it could differ in its last bits.
    pub(crate) fn edits(&self, patch: usize) -> Vec<Edit> {
        let (site, token) = self.place(patch);
        match self.delta(patch).iter().all(|x| *x == 0.0) {
            true => Vec::new(),
            false => vec![Edit::put(site, token, self.row(&self.clean, patch).to_vec())],
        }
    }

    /// Returns the displacement of a patch as a source.
    pub(crate) fn source(&self, patch: usize) -> Source {
        let (site, token) = self.place(patch);
        Source { site, token, vector: self.delta(patch).to_vec() }
    }

    /// Returns `<chi, y_clean - y_corrupted>` of all patches, where chi is the sensitivity of `observable` at `linear`.
    pub(crate) fn along_sensitivity(&self, linear: &Linearization<'_>, observable: &Observable) -> Result<Vec<f64>> {
        Ok(self.along(linear, observable, &[])?.0)
    }

    /// Returns [`Displacements::along_sensitivity`] and the noise floor of `observable`, from one backward pass.
    pub(crate) fn along_sensitivity_with_floor(
        &self,
        linear: &Linearization<'_>,
        observable: &Observable,
    ) -> Result<(Vec<f64>, f64)> {
        let levels = &linear.run().levels();
        let (products, square) = self.along(linear, observable, levels)?;
        Ok((products, noise::unit(linear.run().model().config()) * square.sqrt()))
    }

    /// Returns `<chi, y_clean - y_corrupted>` of all patches, and the sum of the squared products `chi_i h_i` at
    /// `levels`.
    fn along(&self, linear: &Linearization<'_>, observable: &Observable, levels: &[Site]) -> Result<(Vec<f64>, f64)> {
        let (mut products, mut square) = (vec![0.0; self.len()], 0.0);
        let sites: Vec<Site> = self.sites.iter().chain(levels).copied().collect();
        linear.vjp_at(&[linear.run().seeds(observable)?], &sites, &mut |chunk| {
            if let Some(level) = chunk.site.checked_sub(self.sites.len()) {
                let h = &self.field[level];
                let from = chunk.token * (h.len() / self.tokens);
                square += noise::square(chunk.rows, &h[from..]);
                return;
            }
            let first = chunk.site * self.tokens + chunk.token;
            let width = self.delta[chunk.site].len() / self.tokens;
            for (i, chi) in chunk.rows.chunks(width).enumerate() {
                products[first + i] = dot(chi, self.delta(first + i));
            }
        })?;
        Ok((products, square))
    }
}
