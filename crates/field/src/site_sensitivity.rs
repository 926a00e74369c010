//! Sensitivities at sites inside the blocks: `dJ / dy` of queries, heads, neurons, norms and all other kinds.

use resolvent_model::{Mode, Observable, ProbedRun, Run, Site, Sizes, Source, along_of, gaussian};

use crate::certificate::{Certificate, dot, norm, norms, worse};
use crate::derivatives::derivatives_all;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::read::interned;
use crate::sensitivity::sensitivity_all;
use crate::site_kind::SiteKind;

/// Largest difference of a derivative along a source by reverse and by forward mode, over the product of their lengths.
const SAME_DERIVATIVE: f64 = 2e-5;

/// Computes the sensitivity fields of [`sensitivity_all`], and for each further kind of sites `sensitivity.KIND [L, T,
/// width]` and `norm.KIND [L, T]`, of heads `[L, H, T, width]` and `[L, H, T]`: the derivative of the observable by the
/// value at each site and token. The runs were prepared for the sites of the kinds.
///
/// One more certificate: the derivative along a random source, at the site and token of each kind where it is largest,
/// by forward mode (`forward_reverse`).
///
/// # Errors
/// As [`sensitivity_all`]; attention patterns, which have no derivative of their own; or a site that the model lacks.
pub fn sensitivity_at(readings: &[(&Run, &Observable)], kinds: &[SiteKind]) -> Result<Vec<Labelled>> {
    let results = sensitivity_all(readings)?;
    let further: Vec<SiteKind> = kinds.iter().copied().filter(|kind| *kind != SiteKind::Resid).collect();
    let Some((first, _)) = readings.first().filter(|_| !further.is_empty()) else { return Ok(results) };
    if further.contains(&SiteKind::Pattern) {
        return Err(Error::Input(
            "a pattern acts through the output of its head, and has no sensitivity of its own; take z".to_owned(),
        ));
    }
    let sizes = *first.model().sizes();
    let sites: Vec<Site> = further.iter().flat_map(|kind| kind.sites(&sizes)).collect();
    let found = derivatives_all(Mode::Exact, readings, &sites)?;
    let sources: Vec<Vec<[Source; 1]>> = found.iter().map(|chi| strongest(&further, &sites, chi, &sizes)).collect();
    let checks = forward_reverse(readings, &sources, (&sites, &found))?;
    let mut all = Vec::with_capacity(results.len());
    for (((mut result, chi), check), (run, _)) in results.into_iter().zip(found).zip(checks).zip(readings) {
        let mut rest = chi.into_iter();
        for kind in &further {
            let of_kind: Vec<f32> = rest.by_ref().take(kind.sites(&sizes).len()).flatten().collect();
            let axes = kind.axes(&sizes, run.tokens().len());
            let width = of_kind.len() / axes.iter().map(|(_, n)| n).product::<usize>();
            let wide = [&axes[..], &[(width_name(*kind), width)]].concat();
            result = result.with(interned(&format!("norm.{kind}")), &axes, norms(&of_kind, width)).with(
                interned(&format!("sensitivity.{kind}")),
                &wide,
                of_kind,
            );
        }
        all.push(result.certify(check)?);
    }
    Ok(all)
}

/// Returns the name of the axis of the elements of a site.
fn width_name(kind: SiteKind) -> &'static str {
    match kind {
        SiteKind::Ln1Scale | SiteKind::Ln2Scale => "scale",
        SiteKind::MlpPre | SiteKind::MlpPreLinear | SiteKind::MlpPost => "neuron",
        SiteKind::Q | SiteKind::K | SiteKind::V | SiteKind::RotQ | SiteKind::RotK | SiteKind::Z => "d_head",
        _ => "d",
    }
}

/// Returns a random source of each kind, at the site and token with the largest derivative.
fn strongest(kinds: &[SiteKind], sites: &[Site], chi: &[Vec<f32>], sizes: &Sizes) -> Vec<[Source; 1]> {
    let mut from = 0;
    let mut of = |kind: &SiteKind| {
        let own = from..from + kind.sites(sizes).len();
        from = own.end;
        let rows = own.flat_map(|s| {
            let width = sites[s].width(sizes);
            chi[s].chunks(width).enumerate().map(move |(token, row)| (norm(row), s, token))
        });
        let (_, site, token) = rows.fold((-1.0, 0, 0), |best, row| if row.0 > best.0 { row } else { best });
        let site = sites[site];
        [Source { site, token, vector: gaussian(token as u64, site.width(sizes)) }]
    };
    kinds.iter().map(&mut of).collect()
}

/// Compares the derivative along the sources of each reading with forward mode.
fn forward_reverse(
    readings: &[(&Run, &Observable)],
    sources: &[Vec<[Source; 1]>],
    (sites, found): (&[Site], &[Vec<Vec<f32>>]),
) -> Result<Vec<Certificate>> {
    let probed = readings.iter().zip(sources).flat_map(|((run, observable), sources)| {
        sources.iter().map(move |sources| ProbedRun { run, sources, observable })
    });
    let mut forward = along_of(&probed.collect::<Vec<_>>())?.into_iter();
    let mut certificates = Vec::with_capacity(readings.len());
    for (chi, sources) in found.iter().zip(sources) {
        let mut largest = 0.0;
        for [Source { site, token, vector }] in sources {
            let at = sites.iter().position(|s| s == site).unwrap_or(0);
            let row = &chi[at][token * vector.len()..][..vector.len()];
            let first = forward.next().map_or(f64::NAN, |along| along.first);
            let size = norm(row) * norm(vector);
            // A kind that J does not depend on has no derivative either way.
            largest = worse(largest, (dot(row, vector) - first).abs() / size.max(f64::MIN_POSITIVE));
        }
        certificates.push(Certificate::new("forward_reverse", largest, SAME_DERIVATIVE));
    }
    Ok(certificates)
}
