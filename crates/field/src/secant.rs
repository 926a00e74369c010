//! Secant responses: the response of J to a finite source, from derivatives on the way to it.
//!
//! ```text
//! J(h + a v) - J(h) = a * integral over x from 0 to 1 of <chi(a x), v>,    chi(b) = dJ/dh at the run with b v put in
//! ```
//!
//! A Gauss-Legendre rule with n nodes replaces the integral. With more nodes the result becomes that of the forward
//! pass; first order is the value at x = 0 alone.

use resolvent_model::{Edit, EditedPrompt, Mode, Observable, Run, Source};

use crate::certificate::dot;
use crate::derivatives::derivatives_all;
use crate::edited::with_sources;
use crate::error::Result;
use crate::quadrature::Rule;

/// A source at a place of a run, and the observable whose response it has.
pub(crate) struct Sourced<'a> {
    pub(crate) run: &'a Run,
    pub(crate) observable: &'a Observable,
    pub(crate) source: Source,
}

/// Returns the secant responses to sources, by the given rule and by its embedded rule. All runs are of one model.
pub(crate) fn secants(sourced: &[Sourced<'_>], rule: &Rule) -> Result<Vec<[f64; 2]>> {
    let Some(model) = sourced.first().map(|one| one.run.model()) else { return Ok(Vec::new()) };
    let nodes = rule.nodes.len();
    let edits: Vec<Vec<Edit>> = sourced
        .iter()
        .flat_map(|Sourced { run, source, .. }| {
            rule.nodes.iter().map(|[x, ..]| with_sources(run, std::slice::from_ref(source), *x))
        })
        .collect();
    let mut secants = vec![[0.0; 2]; sourced.len()];
    // A backward pass ends at one site, so runs with sources at one site go together.
    let mut sites: Vec<_> = sourced.iter().map(|one| one.source.site).collect();
    sites.sort_unstable();
    sites.dedup();
    for site in sites {
        let here = edits.iter().enumerate().filter(|(i, _)| sourced[i / nodes].source.site == site);
        let here = here.map(|(i, edits)| (i, EditedPrompt { tokens: sourced[i / nodes].run.tokens(), edits }));
        let here: Vec<(usize, EditedPrompt<'_>)> = here.collect();
        for part in model.passes(&here, |(_, prompt)| prompt.tokens.len()) {
            let batch: Vec<EditedPrompt<'_>> = part.iter().map(|(_, prompt)| *prompt).collect();
            let runs = model.run_edited(&batch, &[])?;
            let readings = runs.iter().zip(part).map(|(run, (i, _))| (run, sourced[i / nodes].observable));
            let readings: Vec<(&Run, &Observable)> = readings.collect();
            for ((i, _), chi) in part.iter().zip(derivatives_all(Mode::Exact, &readings, &[site])?) {
                let (source, [_, weights @ ..]) = (&sourced[i / nodes].source, rule.nodes[i % nodes]);
                let d = source.vector.len();
                let slope = dot(&chi[0][source.token * d..][..d], &source.vector);
                secants[i / nodes].iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight * slope);
            }
        }
    }
    Ok(secants)
}

#[cfg(test)]
mod tests {
    use resolvent_engine::Device;
    use resolvent_model::{Model, RandomWeights, Site, gaussian, tiny};

    use super::*;

    /// With more nodes, the secant comes closer to the change of J by a forward pass; first order does not.
    #[test]
    fn secants_become_finite_responses() {
        let model = Model::random(&Device::host(), tiny(), RandomWeights::new(7).with_std(0.15)).expect("opens");
        let run = model.run(&[3, 1, 4, 1, 5], &[]).expect("runs");
        let j = Observable::logit_diff(2, 6, 4);
        let at = |level, token, seed| Source { site: Site::ResidPre(level), token, vector: gaussian(seed, 32) };
        let sources = [at(0, 1, 1), at(2, 4, 2), at(0, 3, 3)];
        let edits: Vec<[Edit; 1]> = sources.iter().map(|s| [Edit::add(s.site, s.token, s.vector.clone())]).collect();
        let (base, values) = (run.value(&j).expect("J"), run.values_under(&edits, &j).expect("values"));
        let apart = |nodes: usize| -> f64 {
            let sourced = sources.iter().map(|source| Sourced { run: &run, observable: &j, source: source.clone() });
            let found = secants(&sourced.collect::<Vec<_>>(), &Rule::new(nodes)).expect("computes");
            found.iter().zip(&values).map(|([s, _], v)| (s - (v - base)).abs()).fold(0.0, f64::max)
        };
        let largest = values.iter().map(|v| (v - base).abs()).fold(0.0, f64::max);
        assert!(apart(12) < 1e-3 * largest, "{} of {largest}", apart(12));
        assert!(apart(12) < 0.1 * apart(1), "{} {}", apart(12), apart(1));
    }
}
