//! Source localisation in a task: whether the place of a source is found from its effect on logits.

use resolvent_model::{Edit, Mode, Observable, Run, Site, Source, gaussian};

use crate::certificate::adjoint;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::locate::{Observed, posteriors, with_noise};
use crate::place::{Place, shape};
use crate::stats::{choose, mean};

use super::left_out::Record;
use super::tasks::{Columns, Runs, Task};

/// Logits that are observed at the last token, with ids at equal distances.
const LOGITS: usize = 64;

/// Length of the noise over that of the response.
const NOISE: f64 = 0.01;

/// Random sources at each place that measure whether it is identifiable.
const DRAWS: usize = 3;

/// How a source is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A random one, whose response is to first order.
    Linear,
    /// The displacement to the other prompt, with the response of the model's own forward pass.
    Patch,
    /// The numbers of a linear response in another order.
    Permuted,
    /// As [`Kind::Linear`], to measure which places are identifiable.
    Draw,
}

/// The kinds of sources that are counted, in the order of the array `kind`.
const KINDS: [(Kind, &str); 3] = [(Kind::Linear, "linear"), (Kind::Patch, "patch"), (Kind::Permuted, "permuted")];

/// Hides a source at one place after another of each corrupted prompt, and infers its place from 64 logits of the last
/// token with noise of 1 % of the response.
///
/// Arrays over the sources `[N]`: `kind` (index into the metadata's `kinds`), `prompt`, `level`, `token`; `rank`, the
/// number of places with a larger posterior than the right one; `found_level` and `found_token`, the most probable
/// place; `identifiable`, the mean posterior that other random sources of this place give it.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let runs = task.runs(task.size(3, 8), &[], record)?;
    let mut columns = Columns::new(|_| "");
    for prompt in 0..runs.len() {
        let (run, name) = (&runs.corrupted[prompt], &runs.names[prompt]);
        let located = located(&runs, prompt, task);
        let Some(located) = record.attempt(name, located)? else { continue };
        record.check(name, &[adjoint(&run.linearize(Mode::Exact), 1)?]);
        let (_, tokens, _) = shape(run);
        let at = |(level, token): Place| level * tokens + token;
        for (hidden, posterior) in &located {
            let Some(kind) = KINDS.iter().position(|(kind, _)| *kind == hidden.kind) else { continue };
            let place = hidden.place;
            let own = posterior[at(place)];
            let best = (0..posterior.len()).max_by(|a, b| posterior[*a].total_cmp(&posterior[*b])).unwrap_or(0);
            let drawn = located.iter().filter(|(other, _)| other.kind == Kind::Draw && other.place == place);
            columns.push("kind", kind as f64);
            columns.push("prompt", prompt as f64);
            columns.push("level", place.0 as f64);
            columns.push("token", place.1 as f64);
            columns.push("rank", posterior.iter().filter(|p| **p > own).count() as f64);
            columns.push("found_level", (best / tokens) as f64);
            columns.push("found_token", (best % tokens) as f64);
            columns.push("identifiable", mean(&drawn.map(|(_, posterior)| posterior[at(place)]).collect::<Vec<_>>()));
        }
    }
    let result = columns.needed()?.into(task.labelled("locating", &runs), "source");
    let kinds = KINDS.map(|(_, name)| name).join(",");
    Ok(result.note("kinds", kinds).note("logits", LOGITS.to_string()).note("noise", NOISE.to_string()))
}

/// A source whose place is to be found, and its response without noise.
struct Hidden {
    kind: Kind,
    place: Place,
    response: Vec<f32>,
}

/// Returns the sources of a prompt, each with the posteriors of all places `[L+1 T]`.
fn located(runs: &Runs, prompt: usize, task: &Task<'_>) -> Result<Vec<(Hidden, Vec<f64>)>> {
    let (run, seed) = (&runs.corrupted[prompt], task.options.seed);
    let (vocab, last) = (run.model().sizes().vocab, run.tokens().len() - 1);
    let logits = (0..vocab).step_by(vocab.div_ceil(LOGITS).max(1));
    let readings: Vec<(&Run, Observable)> = logits.map(|id| (run, Observable::logit(id as u32, last))).collect();
    let observed = Observed::values(&readings)?;
    let step = run.model().sizes().layers.div_ceil(task.size(4, 12));
    let mut hidden = hidden(runs, prompt, (&observed, seed), &Runs::places(run, step, task.size(2, 1)))?;
    // A place without a path to the last token has no response to infer anything from.
    hidden.retain(|one| one.response.iter().any(|x| *x != 0.0));
    let noisy = |(n, one): (usize, &Hidden)| (with_noise(&one.response, NOISE, seed.wrapping_add(n as u64)), NOISE);
    let noisy: Vec<(Vec<f32>, f64)> = hidden.iter().enumerate().map(noisy).collect();
    let found = posteriors(&observed, &noisy, None)?;
    Ok(hidden.into_iter().zip(found).collect())
}

/// Returns the sources of each kind at each of `places`, with their responses.
fn hidden(runs: &Runs, prompt: usize, (observed, seed): (&Observed<'_>, u64), places: &[Place]) -> Result<Vec<Hidden>> {
    let (run, clean) = (&runs.corrupted[prompt], &runs.clean[prompt]);
    let (sizes, (levels, tokens, d)) = (*run.model().sizes(), shape(run));
    let drawn = |n: usize| {
        let (level, token) = places[n % places.len()];
        let draw = n / places.len() * levels * tokens + level * tokens + token;
        vec![Source { site: Site::level(level, &sizes), token, vector: gaussian(seed.wrapping_add(draw as u64), d) }]
    };
    let sources: Vec<Vec<Source>> = (0..(1 + DRAWS) * places.len()).map(drawn).collect();
    let mut all = Vec::with_capacity(sources.len() + 2 * places.len());
    for (n, response) in observed.respond(&sources)?.into_iter().enumerate() {
        let place = places[n % places.len()];
        if n >= places.len() {
            all.push(Hidden { kind: Kind::Draw, place, response });
            continue;
        }
        let mut order: Vec<usize> = (0..response.len()).collect();
        choose(&mut order, response.len(), &mut { seed.wrapping_add(n as u64) });
        let permuted = order.iter().map(|&i| response[i]).collect();
        all.push(Hidden { kind: Kind::Linear, place, response });
        all.push(Hidden { kind: Kind::Permuted, place, response: permuted });
    }
    let (here, there) = (run.field()?, clean.field()?);
    for &(level, token) in places {
        let at = (level * tokens + token) * d..(level * tokens + token + 1) * d;
        let moved: Vec<f32> = there[at.clone()].iter().zip(&here[at]).map(|(a, b)| a - b).collect();
        if moved.iter().any(|x| *x != 0.0) {
            let edit = Edit::add(Site::level(level, &sizes), token, moved);
            all.push(Hidden { kind: Kind::Patch, place: (level, token), response: observed.change(&[edit])? });
        }
    }
    Ok(all)
}
