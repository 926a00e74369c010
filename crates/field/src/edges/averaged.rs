//! Scores with derivatives averaged over runs between both prompts.

use resolvent_model::{Edge, Mode, Site, Writer, path_sites, reader_gradients};

use super::SUMS;
use super::scores::Scores;
use crate::between::{Between, middles};
use crate::case::Case;
use crate::certificate::{Certificate, dot, norm, worse};
use crate::derivatives::derivatives;
use crate::error::Result;

/// Returns the scores with the mean derivative over runs whose embeddings lie between those of both prompts.
pub(super) fn along_inputs(case: &Case<'_>, scores: &Scores<'_>, steps: usize) -> Result<Vec<f64>> {
    let mut sums = vec![0.0; scores.len()];
    let sites = path_sites(case.corrupted.model().sizes());
    let case = [*case];
    let between = Between::embeddings(&case)?;
    for share in middles(steps) {
        let run = between.runs(share, &sites)?.remove(0);
        let gradients = reader_gradients(Mode::Exact, &[(&run, case[0].observable)])?;
        let each = scores.of(&gradients[0]);
        sums.iter_mut().zip(each).for_each(|(sum, x)| *sum += x / steps as f64);
    }
    Ok(sums)
}

/// Scores along the activations, and how well they add up.
pub(super) struct Activations {
    pub(super) scores: Vec<f64>,
    /// In one run of each site, the edges from its writers add up to the derivative by the site, from the backward pass
    /// of the whole model, times what moves.
    pub(super) sums: Certificate,
    /// The largest distance between the sum of the edges from all writers of a site and the effect of moving the site,
    /// over the largest of these effects. It comes from the finite number of steps.
    pub(super) error: f64,
}

/// Returns the scores with the mean derivative over runs in which the site of the writer lies between its values in
/// both prompts, and everything below it is corrupted. The heads of a block share a site and move together.
pub(super) fn along_activations(case: &Case<'_>, scores: &Scores<'_>, steps: usize) -> Result<Activations> {
    let sizes = *case.corrupted.model().sizes();
    let mut sites: Vec<Site> = Writer::all(&sizes).into_iter().map(Writer::site).collect();
    sites.dedup();
    let prepared = path_sites(&sizes);
    let of_case = [*case];
    let parts = scores.parts();
    let (mut all, mut adds_up) = (vec![0.0; scores.len()], 0.0);
    let (mut of_sites, mut whole) = (Vec::with_capacity(sites.len()), vec![Vec::new()]);
    for &site in &sites {
        let from = |n: &usize| scores.edges[*n].writer.site() == site;
        let own: Vec<usize> = (0..scores.edges.len()).filter(from).collect();
        let edges: Vec<Edge> = own.iter().map(|&n| scores.edges[n]).collect();
        let of_site = Scores { edges: &edges, ..*scores };
        let between = Between::at(site, &of_case)?;
        for (step, share) in middles(steps).enumerate() {
            let moved = between.runs(share, &prepared)?.remove(0);
            let gradients = reader_gradients(Mode::Exact, &[(&moved, case.observable)])?.remove(0);
            let each = of_site.of(&gradients);
            if step == steps / 2 {
                let chi = derivatives(&moved, case.observable, Mode::Exact, &[site])?.remove(0);
                let written = of_site.written();
                let scale = (norm(&chi) * norm(&written)).max(f64::MIN_POSITIVE);
                adds_up = worse(adds_up, (each.iter().sum::<f64>() - dot(&chi, &written)).abs() / scale);
            }
            for (&n, each) in own.iter().zip(each.chunks(parts)) {
                all[n * parts..][..parts].iter_mut().zip(each).for_each(|(sum, x)| *sum += x / steps as f64);
            }
        }
        of_sites.push(own.iter().flat_map(|&n| &all[n * parts..][..parts]).sum::<f64>());
        whole.extend(between.moves(1.0));
    }
    let values = case.corrupted.values_under(&whole, case.observable)?;
    let effects = values[1..].iter().map(|value| value - values[0]);
    let (mut error, mut largest) = (0.0, f64::MIN_POSITIVE);
    for (effect, sum) in effects.zip(of_sites) {
        (error, largest) = (worse(error, (effect - sum).abs()), worse(largest, effect.abs()));
    }
    Ok(Activations { scores: all, sums: Certificate::new("from_sites", adds_up, SUMS), error: error / largest })
}
