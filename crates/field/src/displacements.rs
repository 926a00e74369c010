//! Displacements of patches: clean values of a kind's sites, and their differences from the corrupted values.
//!
//! The output of a head is linear in its pattern: `z[t] = sum over k of a[t,k] v[k]`. So a patch of a row of the
//! pattern adds
//! `sum over k of (a_clean[t,k] - a_corrupted[t,k]) v[k]` to z, with the values v of the corrupted run.

use resolvent_model::{Edit, Mode, Observable, Patterns, Run, Seed, SeededRun, Site, Source, captures, vjp_of};

use crate::case::Case;
use crate::certificate::{dot, narrow};
use crate::error::Result;
use crate::noise;
use crate::site_kind::SiteKind;

/// The clean values of a kind's sites at every token, and their differences from the corrupted values.
///
/// Patches are numbered in the order of the kind's axes: site, then token.
pub(crate) struct Displacements {
    sites: Vec<Site>,
    tokens: usize,
    clean: Clean,
    /// `y_clean - y_corrupted` of each site, `[T, width]`.
    delta: Vec<Vec<f32>>,
    /// The corrupted run's levels, `[T, d]` each.
    field: Vec<Vec<f32>>,
}

/// The clean values of each site.
enum Clean {
    /// `[T, width]` each.
    Read(Vec<Vec<f32>>),
    /// In this run, beside the corrupted one.
    OnDevice(Run),
    /// Not known: the displacements are added.
    Added,
}

impl Displacements {
    /// Reads the sites from the runs of each case, which were prepared for them.
    pub(crate) fn of_all(cases: &[Case<'_>], kind: SiteKind) -> Result<Vec<Self>> {
        let Some(first) = cases.first() else { return Ok(Vec::new()) };
        let sizes = first.corrupted.model().sizes();
        let (sites, is_pattern) = (kind.sites(sizes), kind == SiteKind::Pattern);
        let (of_clean, of_corrupted) = match is_pattern {
            true => (Vec::new(), SiteKind::V.sites(sizes)),
            false => (sites.clone(), sites.clone()),
        };
        let of_both: Vec<Site> = of_corrupted.iter().chain(&first.corrupted.levels()).copied().collect();
        let wanted = cases.iter().flat_map(|case| [(case.clean, &of_clean[..]), (case.corrupted, &of_both[..])]);
        let mut captured = captures(&wanted.collect::<Vec<_>>())?.into_iter();
        let both = cases.iter().filter(|_| is_pattern).flat_map(|case| [case.clean, case.corrupted]);
        let patterns = Patterns::of(&both.collect::<Vec<&Run>>())?;
        let mut of = |(n, case): (usize, &Case<'_>)| {
            let tokens = case.corrupted.tokens().len();
            let (clean, mut values) = (captured.next().unwrap_or_default(), captured.next().unwrap_or_default());
            let field = values.split_off(of_corrupted.len());
            if is_pattern {
                let delta = of_patterns(case, (&patterns, n), &values)?;
                return Ok(Self { sites: sites.clone(), tokens, clean: Clean::Added, delta, field });
            }
            let minus = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
            let delta = clean.iter().zip(&values).map(minus).collect();
            // Runs of one batch share their values on the device.
            let clean = match case.clean.shares_batch(case.corrupted) {
                true => Clean::OnDevice(case.clean.clone()),
                false => Clean::Read(clean),
            };
            Ok(Self { sites: sites.clone(), tokens, clean, delta, field })
        };
        cases.iter().enumerate().map(&mut of).collect()
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
    ///
    /// # Errors
    /// A site that the clean run was not prepared for.
    pub(crate) fn edits(&self, patch: usize) -> Result<Vec<Edit>> {
        let (site, token) = self.place(patch);
        Ok(match self.delta(patch).iter().all(|x| *x == 0.0) {
            true => Vec::new(),
            false => match &self.clean {
                Clean::Read(values) => vec![Edit::put(site, token, self.row(values, patch).to_vec())],
                Clean::OnDevice(run) => vec![Edit::take(site, token, run.row_on_device(site, token)?)],
                Clean::Added => vec![Edit::add(site, token, self.delta(patch).to_vec())],
            },
        })
    }

    /// Returns the displacement of a patch as a source.
    pub(crate) fn source(&self, patch: usize) -> Source {
        let (site, token) = self.place(patch);
        Source { site, token, vector: self.delta(patch).to_vec() }
    }
}

/// Returns what the clean patterns change in the output of each head of the corrupted run of the n-th case, `[T,
/// d_head]` each. `values` are those of each key head.
fn of_patterns(case: &Case<'_>, (patterns, n): (&Patterns<'_>, usize), values: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
    let (sizes, tokens) = (*case.corrupted.model().sizes(), case.corrupted.tokens().len());
    let (d, shared) = (sizes.d_head, sizes.heads / sizes.kv_heads);
    let mut delta = Vec::with_capacity(sizes.layers * sizes.heads);
    for block in 0..sizes.layers {
        let [clean, corrupted] = [patterns.get(2 * n, block)?, patterns.get(2 * n + 1, block)?];
        for head in 0..sizes.heads {
            let v = &values[block * sizes.kv_heads + head / shared];
            let mut rows = vec![0.0f64; tokens * d];
            for (t, row) in rows.chunks_mut(d).enumerate() {
                let at = (head * tokens + t) * tokens;
                for (k, v) in v.chunks(d).enumerate().take(t + 1) {
                    let moved = f64::from(clean[at + k]) - f64::from(corrupted[at + k]);
                    row.iter_mut().zip(v).for_each(|(z, v)| *z += moved * f64::from(*v));
                }
            }
            delta.push(narrow(&rows));
        }
    }
    Ok(delta)
}

/// Returns `<chi, y_clean - y_corrupted>` of all patches, for each reading of an observable in a run with the
/// displacements of its case. chi is the sensitivity there.
pub(crate) fn along_sensitivities(
    (mode, patches): (Mode, &[Displacements]),
    readings: &[(&Run, &Observable)],
) -> Result<Vec<Vec<f64>>> {
    Ok(along((mode, patches), readings, &[])?.into_iter().map(|(products, _)| products).collect())
}

/// Returns [`along_sensitivities`] in [`Mode::Exact`], and the noise floor of each observable, from one backward pass.
pub(crate) fn along_sensitivities_with_floors(
    patches: &[Displacements],
    readings: &[(&Run, &Observable)],
) -> Result<Vec<(Vec<f64>, f64)>> {
    let Some((run, _)) = readings.first() else { return Ok(Vec::new()) };
    let unit = noise::unit(run.model().sizes());
    let along = along((Mode::Exact, patches), readings, &run.levels())?;
    Ok(along.into_iter().map(|(products, square)| (products, unit * square.sqrt())).collect())
}

/// Returns `<chi, y_clean - y_corrupted>` of all patches of each reading, and the sum of the squared products `chi_i
/// h_i` at `levels`.
fn along(
    (mode, patches): (Mode, &[Displacements]),
    readings: &[(&Run, &Observable)],
    levels: &[Site],
) -> Result<Vec<(Vec<f64>, f64)>> {
    let Some(sites) = patches.first().map(|patches| &patches.sites) else { return Ok(Vec::new()) };
    let mut along: Vec<(Vec<f64>, f64)> = patches.iter().map(|patches| (vec![0.0; patches.len()], 0.0)).collect();
    let wanted: Vec<Site> = sites.iter().chain(levels).copied().collect();
    let seeds: Vec<Vec<Seed>> =
        readings.iter().map(|(run, observable)| run.seeds(observable)).collect::<Result<_, _>>()?;
    let seeded: Vec<SeededRun<'_>> =
        readings.iter().zip(&seeds).map(|((run, _), seeds)| SeededRun { run, seeds }).collect();
    vjp_of(mode, &seeded, &wanted, &mut |chunk| {
        let (patches, (products, square)) = (&patches[chunk.sequence], &mut along[chunk.sequence]);
        let tokens = patches.tokens;
        if let Some(level) = chunk.site.checked_sub(sites.len()) {
            let h = &patches.field[level];
            let from = chunk.token * (h.len() / tokens);
            *square += noise::square(chunk.rows, &h[from..]);
            return;
        }
        let first = chunk.site * tokens + chunk.token;
        let width = patches.delta[chunk.site].len() / tokens;
        for (i, chi) in chunk.rows.chunks(width).enumerate() {
            products[first + i] = dot(chi, patches.delta(first + i));
        }
    })?;
    Ok(along)
}
