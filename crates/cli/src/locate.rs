//! `resolvent locate`: infers the place and the direction of an unknown source.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use resolvent::field::{LocateOptions, Observed, locate, make_unit, with_noise};
use resolvent::model::{Edit, Model, Observable, Run, RunOptions, Site, Source, from_end};
use resolvent::{Context, Direction, Labelled};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::parse;
use crate::options::{DonorArgs, ModelArgs, PromptArgs, parse_place};
use crate::output::{OutputArgs, checks, heatmap, label};

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("from").required(true).args(["response", "hide"]))]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Response to locate: a .safetensors file with `response` or `field` [L+1, T, d], such as a result of `green` or
    /// `run`; with observables, `values` [M]
    #[arg(long, value_name = "FILE")]
    response: Option<PathBuf>,
    /// File that is subtracted from --response: the run without the source
    #[arg(long, value_name = "FILE", requires = "response", conflicts_with = "hide")]
    minus: Option<PathBuf>,
    /// Try it: the response of a source at this place, LEVEL,TOKEN, with --noise added; again for further sources
    #[arg(long, value_name = "L,T", allow_hyphen_values = true)]
    hide: Vec<String>,
    /// Direction of each hidden source: token:TOKEN, random[:SEED], sensitivity (of the first observable), displacement
    /// (with --donor), or a file
    #[arg(long, value_name = "D", default_value = "random", requires = "hide", conflicts_with = "response")]
    direction: String,
    /// Length of each hidden source over |h[l,t]|
    #[arg(long, value_name = "X", default_value_t = 0.1, requires = "hide", conflicts_with = "response")]
    amplitude: f64,
    /// Response of the hidden sources by the model's own forward pass, instead of to first order
    #[arg(long, requires = "hide", conflicts_with = "response")]
    finite: bool,
    /// Levels of the field that are observed; -1 is the last.
    #[arg(long, value_name = "L", value_delimiter = ',', allow_hyphen_values = true, conflicts_with = "values")]
    levels: Vec<i64>,
    /// Observables whose values are observed instead of the field, such as `logit(" Paris")`; with --prompts, each
    /// row's own observable is observed instead
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    values: Vec<String>,
    /// Length of the noise over that of the response
    #[arg(long, value_name = "X", default_value_t = LocateOptions::default().noise)]
    noise: f64,
    /// Expected length of the source; without it, each place takes the likeliest
    #[arg(long, value_name = "X")]
    length: Option<f64>,
    /// Random sources at each place, which measure what can be told apart; 0 leaves that out
    #[arg(long, value_name = "N", default_value_t = LocateOptions::default().draws)]
    draws: usize,
    /// Posterior probability that the listed places reach together
    #[arg(long, value_name = "P", default_value_t = LocateOptions::default().share)]
    share: f64,
    /// Find up to this number of sources: one more is taken as long as the evidence of another one exceeds that of none
    #[arg(long, value_name = "N", default_value_t = 1)]
    sources: usize,
    /// Seed of the random sources and of the noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    donor: DonorArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let (runs, observables) = args.runs(&model)?;
    let observed = args.observed(&runs, &observables)?;
    let run = observed.run();
    let response = args.of(&observed, observables.first())?;
    let options = LocateOptions {
        noise: args.noise,
        length: args.length,
        draws: args.draws,
        share: args.share,
        seed: args.seed,
        sources: args.sources,
    };
    let mut result = locate(&observed, &response, &options)?;
    if !args.hide.is_empty() {
        result = result.note("hidden", args.hide.join(" ")).note("hidden_direction", &args.direction);
    }
    output.naming(run, None).finish(&result, || {
        let map = heatmap(run, &result, "posterior", "posterior of the place of the source");
        format!("{map}{}{}", text(run, &result), checks(&result))
    })
}

impl Args {
    /// Returns the runs, and the observables that are observed in them: none if the field is.
    fn runs(&self, model: &Model) -> Result<(Vec<Run>, Vec<Observable>), Failure> {
        if let Some(cases) = self.prompt.set.cases(model, None, None)? {
            self.prompt.set.shards.refuse()?;
            if !self.levels.is_empty() || !self.values.is_empty() {
                return Err("--prompts observes each row's observable; leave out --levels and --values".into());
            }
            let observable = |case: &resolvent::model::PromptCase| {
                let none = || format!("row {}: no observable; give it `target` or `observable`", case.name);
                case.observable.clone().ok_or_else(none)
            };
            let cases = cases.everything();
            let observables: Vec<Observable> = cases.iter().map(observable).collect::<Result<_, _>>()?;
            if observables.is_empty() {
                return Err("no row of the prompt file fits the model; see the warnings".into());
            }
            let prompts: Vec<&[u32]> = cases.iter().map(|case| &case.clean[..]).collect();
            return Ok((model.run_all(&prompts, &RunOptions::default())?, observables));
        }
        let tokens = self.prompt.tokens(model)?;
        let observables: Vec<Observable> =
            self.values.iter().map(|text| parse(text, model, &tokens)).collect::<Result<_, _>>()?;
        if let Some(longer) = observables.iter().find(|observable| observable.extend(&tokens) != tokens) {
            return Err(format!("`{longer}` reads beyond the prompt; extend the prompt, or use --prompts").into());
        }
        Ok((vec![model.run(&tokens, &[])?], observables))
    }

    fn observed<'a>(&self, runs: &'a [Run], observables: &[Observable]) -> Result<Observed<'a>, Failure> {
        if !observables.is_empty() {
            let last = runs.len() - 1;
            let readings = observables.iter().enumerate().map(|(n, j)| (&runs[n.min(last)], j.clone()));
            return Ok(Observed::values(&readings.collect::<Vec<_>>())?);
        }
        let count = runs[0].model().sizes().layers + 1;
        let levels: Vec<i64> = if self.levels.is_empty() { vec![-1] } else { self.levels.clone() };
        let levels = levels.into_iter().map(|level| from_end("level", level, count)).collect::<Result<Vec<_>, _>>()?;
        Ok(Observed::levels(&runs[0], &levels)?)
    }

    /// Returns the observed response: from files, or of hidden sources.
    fn of(&self, observed: &Observed<'_>, observable: Option<&Observable>) -> Result<Vec<f32>, Failure> {
        let run = observed.run();
        if let Some(path) = &self.response {
            return Ok(observed.read(path, self.minus.as_deref())?);
        }
        if !self.amplitude.is_finite() || self.amplitude <= 0.0 {
            return Err(format!("invalid --amplitude {}: expected a finite number above 0", self.amplitude).into());
        }
        let (d, field) = (run.model().sizes().d, run.field()?);
        let other = self.donor.run(run.model(), &EditArgs::default())?;
        let context = Context { observable, other: other.as_ref(), unit: false };
        let mut sources = Vec::with_capacity(self.hide.len());
        for (n, hide) in self.hide.iter().enumerate() {
            let place = parse_place(hide, run)?;
            // Each has a random direction of its own.
            let direction = if self.direction == "random" { format!("random:{n}") } else { self.direction.clone() };
            let mut vector = Direction::parse(&direction, run.model())?.resolve(run, place, context)?;
            make_unit(&mut vector, place)?;
            let h = &field[(place.0 * run.tokens().len() + place.1) * d..][..d];
            let length = self.amplitude * resolvent::field::norm(h);
            if length > f64::from(f32::MAX) {
                return Err(format!("amplitude {:e} overflows f32; give a smaller --amplitude", self.amplitude).into());
            }
            vector.iter_mut().for_each(|x| *x = (length * f64::from(*x)) as f32);
            sources.push(Source { site: Site::level(place.0, run.model().sizes()), token: place.1, vector });
        }
        let response = match self.finite {
            true => {
                let edits = sources.into_iter().map(|source| Edit::add(source.site, source.token, source.vector));
                observed.change(&edits.collect::<Vec<_>>())?
            }
            false => observed.respond(&[sources])?.remove(0),
        };
        let noise = self.noise.clamp(0.0, 0.999);
        Ok(with_noise(&response, noise, self.seed.wrapping_add(1_000_003)))
    }
}

/// Mean posterior of its own place from which a place counts as identifiable.
const IDENTIFIABLE: f32 = 0.5;
/// Mean posterior of another place from which a place counts as mistaken for it.
const MISTAKEN: f32 = 0.05;

/// Formats the credible set, the fit, and what can be told apart.
fn text(run: &Run, result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |array| &array.data[..]);
    let fact = |name: &str| result.fact(name);
    let (best, probability, score) = (of("best"), of("probability"), of("score"));
    let tokens = result.array("posterior").map_or(1, |array| array.axes[1].1);
    let place = |p: usize| format!("h[{},{}]", p / tokens, p % tokens);
    let share = 100.0 * result.number("share").unwrap_or(f64::NAN);
    let mut text = format!(
        "observed: {} ({} numbers), noise {} of the response\n\nplace        token           posterior       score\n",
        fact("observed"),
        fact("observed_count"),
        fact("noise")
    );
    for (at, p) in best.chunks(2).zip(probability).take(LISTED) {
        let (level, token) = (at[0] as usize, at[1] as usize);
        let _infallible = writeln!(
            text,
            "{:<12} {:<14} {p:>10.4}  {:>10.2}",
            format!("h[{level},{token}]"),
            label(run, token),
            score[level * tokens + token]
        );
    }
    if probability.len() > LISTED {
        let _infallible = writeln!(text, "and {} more", probability.len() - LISTED);
    }
    let [levels, positions] = [0, 1].map(|axis| list(best.iter().skip(axis).step_by(2)));
    let count = if probability.len() == 1 { "1 place".to_owned() } else { format!("{} places", probability.len()) };
    let _infallible = writeln!(
        text,
        "{share:.0} % of the posterior: {count}, level {levels}, token {positions}; |s| = {}",
        fact("length")
    );
    text.push_str(&fit(result));
    text.push_str(&together(run, result));
    let (identifiable, resolution) = (of("identifiable"), of("resolution"));
    if identifiable.is_empty() {
        return text;
    }
    let all = identifiable.len();
    let known = identifiable.iter().filter(|x| **x >= IDENTIFIABLE).count();
    let _infallible = writeln!(
        text,
        "{known} of {all} places are identifiable: the mean posterior of random sources at their own place is {IDENTIFIABLE} or more"
    );
    for at in best.chunks(2).take(LISTED) {
        let p = at[0] as usize * tokens + at[1] as usize;
        // What this place is taken for, and not what is taken for it: the column of its own sources.
        let others = (0..all).filter(|&other| other != p && resolution[other * all + p] >= MISTAKEN);
        let others: Vec<String> =
            others.map(|other| format!("{} {:.2}", place(other), resolution[other * all + p])).collect();
        let mistaken = if others.is_empty() { "no other place".to_owned() } else { others.join(", ") };
        let _infallible =
            writeln!(text, "sources at {} are found there with {:.2}; taken for {mistaken}", place(p), identifiable[p]);
    }
    text
}

/// Formats numbers in ascending order, each once.
fn list<'a>(numbers: impl Iterator<Item = &'a f32>) -> String {
    let numbers: BTreeSet<usize> = numbers.map(|&n| n as usize).collect();
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

/// Most places that are listed.
const LISTED: usize = 5;

/// Largest misfit without advice: noise alone rarely exceeds it.
const FITS: f64 = 2.0;

/// Formats the misfit, with advice if one source and the noise do not explain the response.
fn fit(result: &Labelled) -> String {
    let (misfit, noise) = (result.number("misfit").unwrap_or(f64::NAN), result.number("noise").unwrap_or(f64::NAN));
    match misfit <= FITS {
        true => format!("misfit {misfit:.2}: one source and the noise explain the response\n"),
        false => format!(
            "misfit {misfit:.2}: one source and the noise do not explain the response, so the posterior is too narrow; give \
             --noise {:.2}{}\n",
            (noise * misfit.sqrt()).min(0.99),
            if result.array("sources").is_some() { "" } else { ", or look for several sources (--sources)" }
        ),
    }
}

/// Formats several sources that explain the response together; empty if a single one was looked for.
fn together(run: &Run, result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |array| &array.data[..]);
    let (places, gains, vectors) = (of("sources"), of("gain"), result.array("source_directions"));
    let Some(vectors) = vectors else { return String::new() };
    let mut text = format!(
        "\n{} together (at most {}), misfit {}\n\nsource       token             evidence        |s|\n",
        if gains.len() == 1 { "1 source".to_owned() } else { format!("{} sources", gains.len()) },
        result.fact("sources_at_most"),
        result.fact("misfit_together")
    );
    let d = vectors.axes.last().map_or(1, |axis| axis.1.max(1));
    for ((at, gain), vector) in places.chunks(2).zip(gains).zip(vectors.data.chunks(d)) {
        let (level, token) = (at[0] as usize, at[1] as usize);
        let (place, size) = (format!("h[{level},{token}]"), resolvent::field::norm(vector));
        let _infallible = writeln!(text, "{place:<12} {:<14} {gain:>+11.1} {size:>10.3}", label(run, token));
    }
    text
}
