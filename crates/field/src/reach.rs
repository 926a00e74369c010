//! How far sources reach: the mean size of the Green operator over depth and distance in tokens.
//!
//! ```text
//! E(D, X) = mean over places (l, t) of  |G(l + D, t + X; l, t)|^2 / d,      gain(D, X) = sqrt(E(D, X))
//! ```
//!
//! With the Frobenius norm, `|G|^2 / d` is the mean squared length of the response to a random direction of unit
//! length. The mean is over all places of a prompt for which the offset is in the field, and then over prompts.

use resolvent_model::{Mode, Model, PromptCase, Run};

use crate::certificate::{Certificate, SAME, adjoint_all, narrow};
use crate::error::{Error, Result};
use crate::green::causal_zeros;
use crate::labelled::Labelled;
use crate::norms::{Probes, block_norms_of};
use crate::place::{Place, shape};
use crate::prompts::{CaseRuns, clean_alone, over_prompts};
use crate::slice::OnProgress;
use crate::study::left_out;

/// Measures how strongly sources at all places of the clean prompts act at each depth and distance in tokens.
///
/// Arrays: `gain [L+1, T]` over depth and distance, with T of the longest prompt; `across [L+1, T]`, `E(D, X) / E(D,
/// 0)`, which compares distance in tokens with depth alone: 0 if nothing moves to other tokens, 1 if as much arrives
/// there as at the source's own token; `others [L+1]`, the share of the squared gain at other tokens; `spread [L+1,
/// T]`, the standard deviation of `|G|^2 / d` over the places of a prompt, over its mean; `by_level [L+1, L+1, T]`, the
/// gain from each source level (first axis) to each level; `prompts_at [T]`, how many prompts have a distance. With two
/// prompts or more `error [L+1, T]`, the standard error of the gain over prompts; it is zero where one prompt alone has
/// the distance.
///
/// `probes` selects exact norms, or estimates from random vectors at each place.
///
/// Certificates: no response outside of the causal cones; a source has the gain 1 at its own place (`own_place`); the
/// adjoint identity.
///
/// # Errors
/// Fewer than two random vectors, a device error, no prompt that can be analysed, or a check that fails.
pub fn reach(model: &Model, cases: &[PromptCase], probes: Probes, progress: OnProgress<'_>) -> Result<Labelled> {
    if let Probes::Hutchinson(count @ ..2, _) = probes {
        return Err(Error::Input(format!("{count} random vectors give no standard error; take two or more")));
    }
    let mut found: Vec<Offsets> = Vec::new();
    let analysis = &mut |runs: &[CaseRuns<'_>]| {
        let clean: Vec<&Run> = runs.iter().map(|runs| &runs.clean).collect();
        let adjoints = adjoint_all(Mode::Exact, &clean, 1)?;
        let measured = clean.iter().map(|run| measure(run, probes)).collect::<Result<Vec<_>>>()?;
        let mut results = Vec::with_capacity(runs.len());
        let mut of_batch = Vec::with_capacity(runs.len());
        for ((run, (offsets, checks)), adjoint) in clean.iter().zip(measured).zip(adjoints) {
            let result =
                checks.into_iter().chain([adjoint]).try_fold(Labelled::new("reach", run), Labelled::certify)?;
            results.push(Ok(result));
            of_batch.push(offsets);
        }
        found.append(&mut of_batch);
        Ok(results)
    };
    let prompts = over_prompts(model, &clean_alone(cases), &[], analysis, progress)?;
    let mut about = prompts.some()?.metadata_alone();
    about.metadata.remove("tokens");
    let mut certificates = Vec::new();
    prompts.results.iter().for_each(|one| crate::certificate::merge(&mut certificates, &one.certificates));
    let result = labelled(about, &found).note("prompts", found.len().to_string()).note(
        "directions",
        match probes {
            Probes::Exact => "all".to_owned(),
            Probes::Hutchinson(count, _) => count.to_string(),
        },
    );
    let result = certificates.into_iter().try_fold(result, Labelled::certify)?;
    Ok(left_out::write(result, &prompts.left_out))
}

/// Means of one prompt.
struct Offsets {
    levels: usize,
    tokens: usize,
    /// Mean of `|G|^2 / d` over tokens, `[L+1, L+1, T]`: source level, level, distance.
    by_level: Vec<f64>,
    /// Mean over all places, `[L+1, T]`: depth, distance.
    mean: Vec<f64>,
    /// Standard deviation over all places.
    deviation: Vec<f64>,
}

/// Measures one prompt, with its checks.
fn measure(run: &Run, probes: Probes) -> Result<(Offsets, [Certificate; 2])> {
    let (levels, tokens, d) = shape(run);
    let places: Vec<Place> = (0..levels).flat_map(|l| (0..tokens).map(move |t| (l, t))).collect();
    let norms = block_norms_of(&run.linearize(Mode::Exact), &places, probes)?;
    let (mut leaked, mut own) = (0.0f64, 0.0f64);
    for (&(level, token), norms) in places.iter().zip(&norms) {
        leaked += causal_zeros(&norms.norm, tokens, (level, token)).value;
        let gain = f64::from(norms.norm[level * tokens + token]) / (d as f64).sqrt();
        own = crate::certificate::worse(own, (gain - 1.0).abs());
    }
    let square = |(level, token): Place, depth: usize, distance: usize| {
        let norm = norms[level * tokens + token].norm[(level + depth) * tokens + token + distance];
        f64::from(norm).powi(2) / d as f64
    };
    let (mut by_level, mut mean, mut deviation) =
        (vec![0.0; levels * levels * tokens], Vec::with_capacity(levels * tokens), Vec::with_capacity(levels * tokens));
    for depth in 0..levels {
        for distance in 0..tokens {
            let of_level = |level: usize| (0..tokens - distance).map(move |token| (level, token));
            for level in 0..levels - depth {
                let sum: f64 = of_level(level).map(|place| square(place, depth, distance)).sum();
                by_level[(level * levels + level + depth) * tokens + distance] = sum / (tokens - distance) as f64;
            }
            let all = || (0..levels - depth).flat_map(of_level).map(|place| square(place, depth, distance));
            let count = ((levels - depth) * (tokens - distance)) as f64;
            let average = all().sum::<f64>() / count;
            mean.push(average);
            deviation.push((all().map(|x| (x - average).powi(2)).sum::<f64>() / count).sqrt());
        }
    }
    let checks = [Certificate::new("causal_zeros", leaked, 0.0), Certificate::new("own_place", own, SAME)];
    Ok((Offsets { levels, tokens, by_level, mean, deviation }, checks))
}

/// Adds the arrays of all prompts to a result.
fn labelled(result: Labelled, found: &[Offsets]) -> Labelled {
    let levels = found.first().map_or(0, |one| one.levels);
    let tokens = found.iter().map(|one| one.tokens).max().unwrap_or(0);
    let with = |distance: usize| found.iter().filter(move |one| one.tokens > distance);
    let over = |rows: usize, of: &dyn Fn(&Offsets) -> &[f64]| -> Vec<f64> {
        let each = |row: usize, distance: usize| {
            let sum: f64 = with(distance).map(|one| of(one)[row * one.tokens + distance]).sum();
            sum / with(distance).count() as f64
        };
        (0..rows).flat_map(|row| (0..tokens).map(move |distance| (row, distance))).map(|(r, x)| each(r, x)).collect()
    };
    let mean = over(levels, &|one| &one.mean);
    let roots = |x: &[f64]| narrow(&x.iter().map(|x| x.sqrt()).collect::<Vec<_>>());
    let share = |x: f64, of: f64| if of > 0.0 { x / of } else { 0.0 };
    let across: Vec<f64> = mean.chunks(tokens).flat_map(|row| row.iter().map(|x| share(*x, row[0]))).collect();
    let others: Vec<f64> =
        mean.chunks(tokens).map(|row| share(row[1..].iter().sum::<f64>(), row.iter().sum::<f64>())).collect();
    let spread: Vec<f64> = over(levels, &|one| &one.deviation)
        .iter()
        .zip(&mean)
        .map(|(deviation, mean)| share(*deviation, *mean))
        .collect();
    let axes = [("depth", levels), ("distance", tokens)];
    let result = result
        .with("gain", &axes, roots(&mean))
        .with("across", &axes, narrow(&across))
        .with("others", &axes[..1], narrow(&others))
        .with("spread", &axes, narrow(&spread))
        .with(
            "by_level",
            &[("source_level", levels), ("level", levels), ("distance", tokens)],
            roots(&over(levels * levels, &|one| &one.by_level)),
        )
        .with("prompts_at", &axes[1..], (0..tokens).map(|distance| with(distance).count() as f32).collect());
    if found.len() < 2 {
        return result;
    }
    let error = |(i, mean): (usize, &f64)| {
        let (depth, distance) = (i / tokens, i % tokens);
        let count = with(distance).count() as f64;
        let squares = with(distance).map(|one| (one.mean[depth * one.tokens + distance] - mean).powi(2)).sum::<f64>();
        // The standard error of the mean square, propagated to its root to first order.
        share((squares / (count - 1.0).max(1.0) / count).sqrt(), 2.0 * mean.sqrt())
    };
    result.with("error", &axes, narrow(&mean.iter().enumerate().map(error).collect::<Vec<_>>()))
}
