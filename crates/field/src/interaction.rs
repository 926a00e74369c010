//! Interactions of pairs of sources: what their joint response has beyond the sum of their own.
//!
//! With `e(s) = J(h + s) - J(h)`, the interaction `e(s1 + s2) - e(s1) - e(s2)` is `s1^T H s2` to second order. N
//! Hessian-vector products give all N^2 of them; N (N + 1) / 2 joint runs give the true ones.

use resolvent_model::{Edit, Mode, Observable, Run, Site, Source};

use crate::certificate::{Certificate, dot, narrow, norm, symmetry, worse};
use crate::displacements::Displacements;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::patch::Case;
use crate::site_kind::SiteKind;
use crate::stats::Pairs;
use crate::superposition::superposition;

/// `|<s1, H s2> - <s2, H s1>|` over `|s1| |H s2|`: the same number by two products.
const SAME_PAIR: f64 = 2e-5;

/// Interactions of all pairs of `sources`, which are added at their places: arrays `interaction [N, N]` = s_i^T H s_j,
/// `interaction_actual [N, N]` by joint runs, `single [N]` = e(s_i). On the diagonal a source meets itself: `e(2 s) - 2 e(s)`.
/// The sites are in the metadata, as `SITE@TOKEN` with blanks between them.
///
/// Certificates: the map's two halves agree; the Hessian is symmetric along random directions; joint runs alone.
///
/// # Errors
/// No sources, a source that does not fit, a device error, or a check that fails.
pub fn interactions(run: &Run, observable: &Observable, sources: &[Source]) -> Result<Labelled> {
    if sources.is_empty() {
        return Err(Error::Input("interactions need one source or more".to_owned()));
    }
    let n = sources.len();
    let linear = run.linearize(Mode::Exact);
    let mut sites: Vec<Site> = sources.iter().map(|s| s.site).collect();
    sites.sort_unstable();
    sites.dedup();
    let each: Vec<[Source; 1]> = sources.iter().map(|s| [s.clone()]).collect();
    let (mut map, mut sizes) = (vec![0.0; n * n], vec![0.0f64; n * n]);
    linear.hvp_at(&each, observable, &sites, &mut |slab| {
        for (i, source) in sources.iter().enumerate().filter(|(_, s)| s.site == sites[slab.site]) {
            let width = source.vector.len();
            let row =
                source.token.checked_sub(slab.token).and_then(|t| slab.rows.get(t * width..(t + 1) * width));
            if let Some(h) = row {
                map[i * n + slab.member] = dot(&source.vector, h);
                sizes[i * n + slab.member] = norm(&source.vector) * norm(h);
            }
        }
    })?;
    let apart = (0..n * n).map(|k| {
        let mirror = k % n * n + k / n;
        (map[k] - map[mirror]).abs() / sizes[k].max(sizes[mirror]).max(f64::MIN_POSITIVE)
    });
    let halves = apart.fold(0.0, worse);

    let edits: Vec<Edit> = sources.iter().map(|s| Edit::add(s.site, s.token, s.vector.clone())).collect();
    let pairs: Vec<(usize, usize)> = (0..n).flat_map(|i| (i..n).map(move |j| (i, j))).collect();
    let joint = superposition(run, observable, &edits, &pairs)?;
    let of = |name: &str| joint.array(name).map_or(&[][..], |a| &a.data);
    let mut actual = vec![0.0f32; n * n];
    for (&(i, j), &x) in pairs.iter().zip(of("interaction")) {
        (actual[i * n + j], actual[j * n + i]) = (x, x);
    }
    let agreement = Pairs::new(&narrow(&map), &actual).agreement();
    let (square, single) = ([("source", n), ("with", n)], of("single").to_vec());
    let mut result = Labelled::new("interactions", run)
        .with("interaction", &square, narrow(&map))
        .with("interaction_actual", &square, actual)
        .with("single", &[("source", n)], single)
        .note("observable", observable.to_string())
        .note("agreement", agreement.to_string())
        .note("sites", joint.metadata.get("sites").cloned().unwrap_or_default())
        .certify(Certificate { name: "halves", value: halves, bound: SAME_PAIR })?
        .certify(symmetry(&linear, observable, 1)?)?;
    for certificate in joint.certificates {
        result = result.certify(certificate)?;
    }
    Ok(result)
}

impl Labelled {
    /// A result of [`crate::patch_at`] with the interactions of the `count` patches of largest first-order effect at sites of
    /// `kind`: arrays `interaction`, `interaction_actual [N, N]`, their sites in the metadata (`interaction_sites`).
    ///
    /// # Errors
    /// As [`interactions`], or sites that the runs were not prepared for.
    pub fn with_interactions(mut self, case: &Case<'_>, kind: SiteKind, count: usize) -> Result<Self> {
        let Case { clean, corrupted, observable } = *case;
        let patches = Displacements::new([clean, corrupted], kind)?;
        let first = patches.along_sensitivity(&corrupted.linearize(Mode::Exact), observable)?;
        let mut order: Vec<usize> = (0..first.len()).filter(|&i| first[i] != 0.0).collect();
        order.sort_by(|&a, &b| first[b].abs().total_cmp(&first[a].abs()));
        let sources: Vec<Source> = order.iter().take(count).map(|&i| patches.source(i)).collect();
        let found = interactions(corrupted, observable, &sources)?;
        for array in found.arrays.into_iter().filter(|a| a.name != "single") {
            self = self.with(array.name, &array.axes, array.data);
        }
        for (key, name) in [("sites", "interaction_sites"), ("agreement", "agreement.interaction")] {
            self = self.note(name, found.metadata.get(key).cloned().unwrap_or_default());
        }
        let known: Vec<&str> = self.certificates.iter().map(|c| c.name).collect();
        let new: Vec<Certificate> =
            found.certificates.into_iter().filter(|c| !known.contains(&c.name)).collect();
        new.into_iter().try_fold(self, Self::certify)
    }
}
