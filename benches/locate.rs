//! How often the place of a source is found: against the noise, what is observed, and where the source comes from.
//!
//! `cargo run -p resolvent-benches --example locate --release -- [MODEL] [PROMPTS]` prints the tables of the page on
//! localisation. Every place of every prompt has one source of each kind. A source at the output of a head or of
//! neurons of block l is, exactly, a source at h[l+1]: its place there is the right one.

use std::collections::HashMap;
use std::error::Error;

use resolvent_engine::Device;
use resolvent_field::{LocateOptions, Observed, distinct, posteriors, with_noise};
use resolvent_model::{Edit, Model, Observable, Run, RunOptions, Site, Source, gaussian};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NOISE: [f64; 5] = [0.001, 0.01, 0.03, 0.1, 0.3];

/// A mean posterior of a source's own place from which the place counts as identifiable.
const IDENTIFIABLE: f64 = 0.5;

/// The kind of the sources that measure which places are identifiable, four at each place.
const DRAW: &str = "draw";

const PROMPTS: [(&str, &str); 3] = [
    (
        "When Mary and John went to the store, John gave a drink to",
        "When Anna and Paul went to the store, Paul gave a drink to",
    ),
    ("The capital of France is the city of", "The capital of Japan is the city of"),
    ("The keys to the cabinet near the door", "The key to the cabinets near the doors"),
];

/// A source with a known place, and its response without noise.
struct Hidden {
    kind: &'static str,
    /// Index of the place, `level T + token`.
    place: usize,
    response: Vec<f32>,
}

const KINDS: [&str; 8] =
    ["linear", "displacement", "head", "neurons", "finite 0.1 |h|", "finite 1 |h|", "another prompt", "permuted"];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("atlas-small", String::as_str);
    let prompts = arguments.get(1).map_or(Ok(PROMPTS.len()), |n| n.parse::<usize>())?.clamp(1, PROMPTS.len());
    let model = Model::named(&Device::host(), name)?;
    let (sizes, mut tables) = (*model.sizes(), Vec::new());
    let sites = (0..sizes.layers).map(Site::MlpPost).collect();
    let options = RunOptions { sites, ..RunOptions::default() };
    let tokenizer = model.tokenizer().ok_or("a model with a tokenizer is needed")?;
    for (n, (prompt, donor)) in PROMPTS.iter().take(prompts).enumerate() {
        let run = model.run_with(&tokenizer.prompt(prompt)?, &options)?;
        let donor = model.run_with(&tokenizer.prompt(donor)?, &options)?;
        for (observed, other) in observations(&run)?.iter().zip(observations(&donor)?) {
            eprintln!("{prompt}: {}", observed.0);
            let hidden = hidden(&observed.1, &other.1)?;
            tables.extend(measure((observed.0, n), &observed.1, &hidden)?);
        }
    }
    print(&tables);
    Ok(())
}

/// Returns what is observed of a run.
fn observations(run: &Run) -> Outcome<Vec<(&'static str, Observed<'_>)>> {
    let (sizes, last) = (run.model().sizes(), run.tokens().len() - 1);
    let logits = |count: u32| -> Vec<(&Run, Observable)> {
        let step = sizes.vocab as u32 / count;
        (0..count).map(|i| (run, Observable::logit(i * step, last))).collect()
    };
    Ok(vec![
        ("last level", Observed::levels(run, &[sizes.layers])?),
        ("last two levels", Observed::levels(run, &[sizes.layers - 1, sizes.layers])?),
        ("64 logits at the end", Observed::values(&logits(64))?),
        ("8 logits at the end", Observed::values(&logits(8))?),
    ])
}

/// Returns a source of each kind at every place, with its response. `other` observes the same of another prompt.
fn hidden(observed: &Observed<'_>, other: &Observed<'_>) -> Outcome<Vec<Hidden>> {
    let (run, donor) = (observed.run(), other.run());
    let (sizes, (levels, tokens)) = (*run.model().sizes(), observed.places());
    let (field, theirs, d) = (run.field()?, donor.field()?, sizes.d);
    let (mut sources, mut kinds, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for place in 0..levels * tokens {
        let (level, token, seed) = (place / tokens, place % tokens, 7000 + 10 * place as u64);
        let site = Site::level(level, &sizes);
        let mut put = |kind, site, vector| {
            kinds.push((kind, place));
            sources.push(vec![Source { site, token, vector }]);
        };
        put("linear", site, gaussian(seed, d));
        (5..9).for_each(|k| put(DRAW, site, gaussian(seed + k, d)));
        let at = place * d..(place + 1) * d;
        put("displacement", site, theirs[at.clone()].iter().zip(&field[at.clone()]).map(|(a, b)| a - b).collect());
        if level > 0 {
            put("head", Site::Z(level - 1, place % sizes.heads), gaussian(seed + 1, sizes.d_head));
            put("neurons", Site::MlpPost(level - 1), gaussian(seed + 2, sizes.inner));
        }
        let h = &field[at];
        let size = h.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() / (d as f64).sqrt();
        for (kind, amplitude) in [("finite 0.1 |h|", 0.1), ("finite 1 |h|", 1.0)] {
            let s = gaussian(seed + 3, d).iter().map(|x| (amplitude * size * f64::from(*x)) as f32).collect();
            all.push(Hidden { kind, place, response: observed.change(&[Edit::add(site, token, s)])? });
        }
    }
    let responses = observed.respond(&sources)?;
    let known = kinds.iter().zip(responses);
    all.extend(known.map(|(&(kind, place), response)| Hidden { kind, place, response }));
    // Controls: the numbers of a linear response in another order, and linear responses in the other prompt.
    let linear =
        |place: usize| vec![sources[kinds.iter().position(|k| *k == ("linear", place)).unwrap_or(0)][0].clone()];
    let linear: Vec<Vec<Source>> = (0..levels * tokens).map(linear).collect();
    for (place, response) in observed.respond(&linear)?.into_iter().enumerate() {
        let order = gaussian(31 + place as u64, response.len());
        let mut from: Vec<usize> = (0..order.len()).collect();
        from.sort_by(|a, b| order[*a].total_cmp(&order[*b]));
        all.push(Hidden { kind: "permuted", place, response: from.iter().map(|&i| response[i]).collect() });
    }
    for (place, response) in other.respond(&linear)?.into_iter().enumerate() {
        all.push(Hidden { kind: "another prompt", place, response });
    }
    // What the observation does not see, or what two prompts share, has no response.
    all.retain(|hidden| hidden.response.iter().any(|x| *x != 0.0));
    Ok(all)
}

/// One outcome: where the right place came in the order of the posterior, and how far away the first one is.
struct Found {
    what: &'static str,
    prompt: usize,
    kind: &'static str,
    noise: f64,
    is_identifiable: bool,
    /// 0 if the right place is the most probable one.
    rank: usize,
    levels: usize,
    tokens: usize,
    /// Number of places of the credible set, and whether the right one is among them.
    credible: (usize, bool),
}

/// Locates all sources at all levels of noise.
fn measure((what, prompt): (&'static str, usize), observed: &Observed<'_>, hidden: &[Hidden]) -> Outcome<Vec<Found>> {
    let (tokens, share) = (observed.places().1, LocateOptions::default().share);
    let noisy = |n: usize| {
        (
            with_noise(&hidden[n / NOISE.len()].response, NOISE[n % NOISE.len()], 90_000 + n as u64),
            NOISE[n % NOISE.len()],
        )
    };
    let responses: Vec<(Vec<f32>, f64)> = (0..hidden.len() * NOISE.len()).map(noisy).collect();
    let all = posteriors(observed, &responses, None)?;
    // Sum and number of the posteriors of draws at their own place.
    let mut own = HashMap::new();
    for (n, posterior) in all.iter().enumerate().filter(|(n, _)| hidden[n / NOISE.len()].kind == DRAW) {
        let place = hidden[n / NOISE.len()].place;
        let (sum, count) = own.entry((place, n % NOISE.len())).or_insert((0.0, 0.0));
        (*sum, *count) = (*sum + posterior[place], *count + 1.0);
    }
    let found = |(n, posterior): (usize, &Vec<f64>)| {
        let Hidden { kind, place, .. } = hidden[n / NOISE.len()];
        let mut order: Vec<usize> = (0..posterior.len()).collect();
        order.sort_by(|a, b| posterior[*b].total_cmp(&posterior[*a]).then(a.cmp(b)));
        let rank = order.iter().position(|p| *p == place).unwrap_or(order.len());
        let (mut sum, mut size) = (0.0, 0);
        while sum < share && size < order.len() {
            sum += posterior[order[size]];
            size += 1;
        }
        Found {
            what,
            prompt,
            kind,
            noise: NOISE[n % NOISE.len()],
            is_identifiable: own.get(&(place, n % NOISE.len())).is_some_and(|(sum, count)| sum / count >= IDENTIFIABLE),
            rank,
            levels: (order[0] / tokens).abs_diff(place / tokens),
            tokens: (order[0] % tokens).abs_diff(place % tokens),
            credible: (size, rank < size),
        }
    };
    Ok(all.iter().enumerate().map(found).filter(|f| f.kind != DRAW).collect())
}

fn print(all: &[Found]) {
    let prompts = all.iter().map(|f| f.prompt).max().map_or(0, |last| last + 1);
    println!("{prompts} prompts; identifiable: mean posterior of the own place {IDENTIFIABLE} or more");
    for what in distinct(all.iter().map(|f| f.what)) {
        println!("\nobserved: {what}");
        println!(
            "source            noise    places  identifiable  top-1  of identifiable  top-5  |levels|  |tokens|  covered  size"
        );
        for kind in KINDS {
            for noise in NOISE {
                let of: Vec<&Found> =
                    all.iter().filter(|f| f.what == what && f.kind == kind && f.noise == noise).collect();
                let known: Vec<&&Found> = of.iter().filter(|f| f.is_identifiable).collect();
                if of.is_empty() {
                    continue;
                }
                let mean = |sum: usize| sum as f64 / of.len() as f64;
                let percent = |n: usize, of: usize| if of == 0 { f64::NAN } else { 100.0 * n as f64 / of as f64 };
                println!(
                    "{kind:<15} {:>5.1} %  {:>7}  {:>10.0} %  {:>3.0} %  {:>13.0} %  {:>3.0} %  {:>8.2}  {:>8.2}  {:>5.0} %  {:>4.1}",
                    100.0 * noise,
                    of.len(),
                    percent(known.len(), of.len()),
                    percent(of.iter().filter(|f| f.rank == 0).count(), of.len()),
                    percent(known.iter().filter(|f| f.rank == 0).count(), known.len()),
                    percent(of.iter().filter(|f| f.rank < 5).count(), of.len()),
                    mean(of.iter().map(|f| f.levels).sum()),
                    mean(of.iter().map(|f| f.tokens).sum()),
                    percent(of.iter().filter(|f| f.credible.1).count(), of.len()),
                    mean(of.iter().map(|f| f.credible.0).sum()),
                );
            }
        }
    }
}
