//! What a patch puts in place: the values of a kind's sites in two runs, and their difference.

use resolvent_model::{Edit, Linearization, Observable, Run, Site, Source};

use crate::certificate::dot;
use crate::error::Result;
use crate::noise;
use crate::site_kind::SiteKind;

/// Values of the sites of a kind in a clean and a corrupted run, at every token. Patches are numbered in the order of the
/// kind's axes: site, then token.
pub(crate) struct Displacements {
    sites: Vec<Site>,
    tokens: usize,
    /// By site, `[T, width]`.
    clean: Vec<Vec<f32>>,
    /// y_clean - y_corrupted, by site, `[T, width]`.
    delta: Vec<Vec<f32>>,
}

impl Displacements {
    /// Of runs that were prepared for the sites.
    pub(crate) fn new([clean, corrupted]: [&Run; 2], kind: SiteKind) -> Result<Self> {
        let sites = kind.sites(corrupted.model().config());
        let (clean, from) = (clean.captures(&sites)?, corrupted.captures(&sites)?);
        let less = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
        let delta = clean.iter().zip(&from).map(less).collect();
        Ok(Self { sites, tokens: corrupted.tokens().len(), clean, delta })
    }

    /// How many patches there are.
    pub(crate) fn len(&self) -> usize {
        self.sites.len() * self.tokens
    }

    /// Site and token of a patch.
    pub(crate) fn place(&self, patch: usize) -> (Site, usize) {
        (self.sites[patch / self.tokens], patch % self.tokens)
    }

    fn row<'a>(&self, values: &'a [Vec<f32>], patch: usize) -> &'a [f32] {
        let values = &values[patch / self.tokens];
        let width = values.len() / self.tokens;
        &values[patch % self.tokens * width..][..width]
    }

    /// `y_clean - y_corrupted` of a patch.
    pub(crate) fn delta(&self, patch: usize) -> &[f32] {
        self.row(&self.delta, patch)
    }

    /// The patch itself; no edit where both runs have the same value there. A run with such a patch is the base run, and
    /// computed again it could differ from that in its last bits.
    pub(crate) fn edits(&self, patch: usize) -> Vec<Edit> {
        let (site, token) = self.place(patch);
        match self.delta(patch).iter().all(|x| *x == 0.0) {
            true => Vec::new(),
            false => vec![Edit::put(site, token, self.row(&self.clean, patch).to_vec())],
        }
    }

    /// The displacement of a patch as a source.
    pub(crate) fn source(&self, patch: usize) -> Source {
        let (site, token) = self.place(patch);
        Source { site, token, vector: self.delta(patch).to_vec() }
    }

    /// `<chi, y_clean - y_corrupted>` of all patches, chi the sensitivity of `observable` at `linear`.
    pub(crate) fn along_sensitivity(&self, linear: &Linearization<'_>, observable: &Observable) -> Result<Vec<f64>> {
        Ok(self.along(linear, observable, &[])?.0)
    }

    /// [`Displacements::along_sensitivity`], and the noise floor of `observable`, from the same backward pass.
    pub(crate) fn along_sensitivity_with_floor(
        &self,
        linear: &Linearization<'_>,
        observable: &Observable,
    ) -> Result<(Vec<f64>, f64)> {
        // Above level 0, which would make the pass longer where all sites are in the blocks.
        let levels = &linear.run().levels()[1..];
        let (products, square) = self.along(linear, observable, levels)?;
        Ok((products, noise::unit(linear.run().model().config()) * square.sqrt()))
    }

    /// `<chi, y_clean - y_corrupted>` of all patches, and the sum of the squared products `chi_i h_i` at `levels`.
    fn along(&self, linear: &Linearization<'_>, observable: &Observable, levels: &[Site]) -> Result<(Vec<f64>, f64)> {
        let (mut products, mut square) = (vec![0.0; self.len()], 0.0);
        let field = linear.run().captures(levels)?;
        let sites: Vec<Site> = self.sites.iter().chain(levels).copied().collect();
        linear.vjp_at(&[linear.run().seeds(observable)?], &sites, &mut |chunk| {
            if let Some(level) = chunk.site.checked_sub(self.sites.len()) {
                let h = &field[level];
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
