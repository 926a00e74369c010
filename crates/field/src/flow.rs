//! The flow of an effect: by which places a source reaches an observable.
//!
//! ```text
//! f[l, t] = <chi[l, t], (G s)[l, t]>,        sum over t of f[l, t] = dJ   at every level from the source on
//! ```
//!
//! At a level, all paths from the source to J pass through the tokens of this level, so the map shows how an effect
//! spreads and gathers. Forward mode gives G s and reverse mode chi: the sums compare them at every level.
//!
//! The secant form is that of the whole source, not of its first order. With `h_a` the field of the run with `a s` put
//! in,
//!
//! ```text
//! F[l, t] = integral over a from 0 to 1 of <chi_a[l, t], d h_a[l, t] / da>,   sum over t of F[l, t] = J(s) - J(0)
//! ```

use resolvent_model::{Edit, EditedPrompt, EditedRun, Mode, Observable, Run, Site, Source, SourcedRun, values_of};

use crate::between::differences;
use crate::case::Case;
use crate::certificate::{ADJOINT, Certificate, dot, narrow, worse};
use crate::conditioning::{amplification, conditioned};
use crate::derivatives::responses_all;
use crate::edited::{moved, with_sources};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::place::shape;
use crate::quadrature::Rule;
use crate::sensitivity::{chi_all, sensitivity_all};

/// The most amplitudes of a secant.
const MOST_STEPS: usize = 64;

/// Options of [`flow`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowOptions {
    /// Number of amplitudes at which the secant form is computed; 0 leaves it out.
    pub steps: usize,
}

impl FlowOptions {
    fn check(self) -> Result<()> {
        match self.steps {
            0 | 2..=MOST_STEPS => Ok(()),
            steps => Err(Error::Input(format!(
                "{steps} amplitudes of a secant: give 0 to leave it out, or from 2 to {MOST_STEPS}"
            ))),
        }
    }
}

/// A run, an observable, and sources that act together in the run's field.
#[derive(Clone, Copy)]
pub struct FlowCase<'a> {
    /// The run.
    pub run: &'a Run,
    /// The observable.
    pub observable: &'a Observable,
    /// Sources at places of the field.
    pub sources: &'a [Source],
}

/// Computes the flow of the effect of sources that act together.
///
/// Arrays: `flow [L+1, T]`, `effect [1]` (dJ) and `value [1]` (J of the run). With steps: `secant` and `secant_error
/// [L+1, T]` (the distance from the embedded rule), `secant_effect` and `secant_effect_error [1]` (the same of the
/// sum), and `change [1]` (`J(s) - J(0)` by a forward pass with the sources put in).
///
/// Certificates: every level's sum is dJ (`level_sums`), also at every amplitude; the adjoint identity and the slope of
/// J of [`crate::sensitivity`].
///
/// # Errors
/// No sources, a source at another site than the field's, an observable that does not fit, steps out of range, a device
/// error, or a check that fails.
pub fn flow(run: &Run, observable: &Observable, sources: &[Source], options: FlowOptions) -> Result<Labelled> {
    Ok(flow_all(&[FlowCase { run, observable, sources }], options)?.remove(0))
}

/// Computes the flow of several effects, and returns a result for each; see [`flow`]. Runs of one batch share passes.
///
/// # Errors
/// As [`flow`], for any of the cases.
pub fn flow_all(cases: &[FlowCase<'_>], options: FlowOptions) -> Result<Vec<Labelled>> {
    options.check()?;
    let levels = cases.iter().map(FlowCase::levels).collect::<Result<Vec<Vec<usize>>>>()?;
    let readings: Vec<(&Run, &Observable)> = cases.iter().map(|case| (case.run, case.observable)).collect();
    let sensitivities = sensitivity_all(&readings)?;
    let chi = sensitivities.iter().map(|one| one.array("sensitivity").map_or(&[][..], |array| &array.data));
    let tangents = terms((cases, &levels), &readings, &chi.collect::<Vec<_>>())?;
    let secants = match options.steps {
        0 => Vec::new(),
        steps => secants(cases, &levels, &Rule::new(steps))?,
    };
    let (mut results, mut secants) = (Vec::with_capacity(cases.len()), secants.into_iter());
    for ((case, places), (chi, tangent)) in cases.iter().zip(&levels).zip(sensitivities.into_iter().zip(tangents)) {
        let (levels, tokens, _) = shape(case.run);
        let (axes, one) = ([("level", levels), ("token", tokens)], [("value", 1)]);
        let value = chi.array("value").map_or_else(Vec::new, |value| value.data.clone());
        let places = places.iter().zip(case.sources).map(|(level, source)| format!("{level},{}", source.token));
        let mut sums = tangent.sums;
        let mut result = chi
            .metadata_alone()
            .note("analysis", "flow")
            .note("source", places.collect::<Vec<_>>().join(" "))
            .with("flow", &axes, narrow(&tangent.flow))
            .with("effect", &one, vec![tangent.effect as f32])
            .with("value", &one, value);
        if let Some(secant) = secants.next() {
            let apart =
                |of: [&[f64]; 2]| of[0].iter().zip(of[1]).map(|(a, b)| (a - b).abs() as f32).collect::<Vec<f32>>();
            let [map, embedded] = &secant.map;
            let [effect, rough] = secant.effect;
            sums = sums.worse(secant.sums);
            result = result
                .note("steps", options.steps.to_string())
                .with("secant", &axes, narrow(map))
                .with("secant_error", &axes, apart([map, embedded]))
                .with("secant_effect", &one, vec![effect as f32])
                .with("secant_effect_error", &one, apart([&[effect], &[rough]]))
                .with("change", &one, vec![secant.change as f32]);
        }
        result = result.certify(sums)?;
        for certificate in chi.certificates {
            result = result.certify(certificate)?;
        }
        results.push(result);
    }
    Ok(results)
}

/// Computes the flow of the difference of two prompts: the displacements of all embeddings, clean minus corrupted, act
/// together at level 0 of the corrupted run. The result also has the metadata of the pair; arrays and certificates are
/// those of [`flow`].
///
/// # Errors
/// As [`flow`], and for prompts of different lengths or models, or with the same embeddings.
pub fn flow_between(cases: &[Case<'_>], options: FlowOptions) -> Result<Vec<Labelled>> {
    cases.iter().try_for_each(Case::check)?;
    let embedding = Site::ResidPre(0);
    let mut sources = Vec::with_capacity(cases.len());
    for (case, rows) in cases.iter().zip(differences(embedding, cases)?) {
        let rows = rows.chunks(case.corrupted.model().sizes().d).enumerate();
        let moved = rows.map(|(token, row)| Source { site: embedding, token, vector: row.to_vec() });
        let moved: Vec<Source> = moved.filter(|source| source.vector.iter().any(|x| *x != 0.0)).collect();
        if moved.is_empty() {
            return Err(Error::Input("the prompts have the same embeddings: give one that differs".to_owned()));
        }
        sources.push(moved);
    }
    let flows: Vec<FlowCase<'_>> = cases
        .iter()
        .zip(&sources)
        .map(|(case, sources)| FlowCase { run: case.corrupted, observable: case.observable, sources })
        .collect();
    let named = |(result, case): (Labelled, &Case<'_>)| {
        let pair = case.named("flow").metadata.into_iter();
        pair.fold(result, |result, (key, value)| result.note(&key, value))
    };
    Ok(flow_all(&flows, options)?.into_iter().zip(cases).map(named).collect())
}

impl FlowCase<'_> {
    /// Returns the level of every source.
    fn levels(&self) -> Result<Vec<usize>> {
        let level = |source: &Source| match source.site {
            Site::ResidPre(level) => Ok(level),
            Site::ResidPost(block) => Ok(block + 1),
            other => Err(Error::Input(format!("a source at {other}: give it at hook_resid_pre or hook_resid_post"))),
        };
        let levels = self.sources.iter().map(level).collect::<Result<Vec<usize>>>()?;
        match levels.is_empty() {
            true => Err(Error::Input("no sources: give at least one".to_owned())),
            false => Ok(levels),
        }
    }
}

/// The flow at one run, and the check of its sums.
struct Terms {
    /// `[L+1, T]`
    flow: Vec<f64>,
    /// dJ: the sources times the sensitivities at their places.
    effect: f64,
    sums: Certificate,
}

/// Returns the flow of each case at the run of its reading, given the levels of its sources and the sensitivities of
/// the run.
fn terms(
    (cases, levels): (&[FlowCase<'_>], &[Vec<usize>]),
    readings: &[(&Run, &Observable)],
    chi: &[&[f32]],
) -> Result<Vec<Terms>> {
    let sourced = readings.iter().zip(cases).map(|((run, _), case)| SourcedRun { run, sources: case.sources });
    let responses = responses_all(&sourced.collect::<Vec<_>>())?;
    let of_case = |n: usize| {
        let ((run, observable), chi, response, sources) = (readings[n], chi[n], &responses[n], cases[n].sources);
        let ((_, tokens, d), sizes) = (shape(run), run.model().sizes());
        let flow: Vec<f64> = chi.chunks(d).zip(response.chunks(d)).map(|(chi, r)| dot(chi, r)).collect();
        let at =
            |(level, source): (&usize, &Source)| dot(&chi[(level * tokens + source.token) * d..][..d], &source.vector);
        let effect: f64 = levels[n].iter().zip(sources).map(at).sum();
        // Below the highest source, a part of the effect has not entered yet. A term of J that reads a level is no part
        // of the sensitivities above it.
        let top = levels[n].iter().copied().max().unwrap_or(0);
        let read = observable.places(sizes).into_iter().map(|(level, _)| level).filter(|level| *level >= top).min();
        let (mut figure, mut scale) = (0.0, f64::MIN_POSITIVE);
        for level in top..=read.unwrap_or(sizes.layers) {
            let sum: f64 = flow[level * tokens..(level + 1) * tokens].iter().sum();
            let all = level * tokens * d..(level + 1) * tokens * d;
            let products = chi[all.clone()].iter().zip(&response[all]);
            let size: f64 = products.map(|(chi, r)| (f64::from(*chi) * f64::from(*r)).abs()).sum();
            let share = (sum - effect).abs() / size.max(f64::MIN_POSITIVE);
            if worse(figure, share) != figure {
                (figure, scale) = (share, size);
            }
        }
        let bound = conditioned((figure, ADJOINT), (scale, sizes), || {
            amplification(&run.linearize(Mode::Exact), sources, &run.seeds(observable)?)
        })?;
        Ok(Terms { flow, effect, sums: Certificate::new("level_sums", figure, bound) })
    };
    (0..cases.len()).map(of_case).collect()
}

/// The mean of the flow over amplitudes, by a rule and by its embedded rule.
struct Secant {
    /// `[L+1, T]` each.
    map: [Vec<f64>; 2],
    effect: [f64; 2],
    /// `J(s) - J(0)`
    change: f64,
    sums: Certificate,
}

/// Returns the secant of each case: a forward, a tangent and a backward pass at each amplitude.
fn secants(cases: &[FlowCase<'_>], levels: &[Vec<usize>], rule: &Rule) -> Result<Vec<Secant>> {
    let Some(first) = cases.first() else { return Ok(Vec::new()) };
    let whole: Vec<Vec<Edit>> = cases.iter().map(|case| moved(case.sources, 1.0).collect()).collect();
    let ends = cases.iter().zip(&whole).flat_map(|(case, edits)| {
        let with = |edits| EditedRun { run: case.run, edits, observable: case.observable };
        [with(&[]), with(edits)]
    });
    let ends = values_of(&ends.collect::<Vec<_>>())?;
    let start = |(case, ends): (&FlowCase<'_>, &[f64])| {
        let zeros = vec![0.0; (case.run.model().sizes().layers + 1) * case.run.tokens().len()];
        let sums = Certificate::new("level_sums", 0.0, ADJOINT);
        Secant { map: [zeros.clone(), zeros], effect: [0.0; 2], change: ends[1] - ends[0], sums }
    };
    let mut secants: Vec<Secant> = cases.iter().zip(ends.chunks(2)).map(start).collect();
    for [amount, weights @ ..] in &rule.nodes {
        let edits: Vec<Vec<Edit>> = cases.iter().map(|case| with_sources(case.run, case.sources, *amount)).collect();
        let with = cases.iter().zip(&edits);
        let prompts: Vec<EditedPrompt<'_>> =
            with.map(|(case, edits)| EditedPrompt { tokens: case.run.tokens(), edits }).collect();
        let runs = first.run.model().run_edited(&prompts, &[])?;
        let readings: Vec<(&Run, &Observable)> =
            runs.iter().zip(cases).map(|(run, case)| (run, case.observable)).collect();
        let chi = chi_all(&readings)?;
        let chi: Vec<&[f32]> = chi.iter().map(|chi| &chi[..]).collect();
        for (secant, terms) in secants.iter_mut().zip(terms((cases, levels), &readings, &chi)?) {
            for ((map, effect), weight) in secant.map.iter_mut().zip(&mut secant.effect).zip(weights) {
                map.iter_mut().zip(&terms.flow).for_each(|(sum, x)| *sum += weight * x);
                *effect += weight * terms.effect;
            }
            secant.sums = secant.sums.clone().worse(terms.sums);
        }
    }
    Ok(secants)
}

#[cfg(test)]
mod tests {
    use resolvent_engine::Device;
    use resolvent_model::{Model, RandomWeights, tiny};

    use super::*;

    /// A sensitivity or a source that is wrong at one level breaks the sums.
    #[test]
    fn wrong_sums_fail() {
        let model = Model::random(&Device::host(), tiny(), RandomWeights::new(7).with_std(0.15)).expect("opens");
        let run = model.run(&[3, 1, 4, 1, 5], &[]).expect("runs");
        let (j, level) = (Observable::logit_diff(2, 6, 4), 5 * 32);
        let sources = [Source { site: Site::ResidPre(1), token: 1, vector: resolvent_model::gaussian(1, 32) }];
        let check = |chi: &[f32]| {
            let case = FlowCase { run: &run, observable: &j, sources: &sources };
            terms((&[case], &[vec![1]]), &[(&run, &j)], &[chi]).expect("computes").remove(0).sums
        };
        let chi = chi_all(&[(&run, &j)]).expect("chi").remove(0);
        assert!(check(&chi).passes(), "{}", check(&chi));
        for wrong in [1, 2, 3] {
            let mut chi = chi.clone();
            chi[wrong * level..(wrong + 1) * level].iter_mut().for_each(|x| *x *= 1.001);
            assert!(!check(&chi).passes(), "level {wrong}: {}", check(&chi));
        }
    }
}
