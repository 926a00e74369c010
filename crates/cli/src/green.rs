//! `resolvent green`: the response field of one source.

use std::fmt::Write as _;

use resolvent::field::{GreenOptions, PlacedSource, Probes, block_norms, green_all, norm, stats};
use resolvent::model::{Mode, Observable, Run};
use resolvent::{Context, Labelled, Place};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::ObservableArgs;
use crate::options::{DirectionArgs, DonorArgs, ModelArgs, PromptArgs, parse_place};
use crate::output::{OutputArgs, checks, heatmap};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Place of the source: LEVEL,TOKEN; -1 is the last
    #[arg(short, long, value_name = "L,T", allow_hyphen_values = true)]
    source: String,
    #[command(flatten)]
    direction: DirectionArgs,
    /// The geometry of propagation: energy by level and distance, what stays, centroid, width, front, velocity
    #[arg(long)]
    geometry: bool,
    /// Gains of so many random directions at the source's place, and their anisotropy
    #[arg(long, value_name = "N", default_value_t = 0)]
    directions: usize,
    /// Amplitudes on the way to the source at which derivatives are taken, for the response to its whole length
    #[arg(long, value_name = "N", default_value_t = 0)]
    nodes: usize,
    /// Frobenius norms of the blocks G(l',t'; l,t) from the source's place to every other: `exact`, or estimated from N
    /// probes
    #[arg(long, value_name = "exact|N")]
    norms: Option<String>,
    #[command(flatten)]
    observable: ObservableArgs,
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
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        // A displacement is to the row's corrupted prompt.
        let needs_other = args.direction.parse(&model)?.needs_other();
        let result = cases.of_clean(needs_other, &|all| {
            let about = all.iter().map(|runs| (runs.case.observable.as_ref(), runs.corrupted.as_ref()));
            let runs: Vec<&Run> = all.iter().map(|runs| &runs.clean).collect();
            Ok(args.green(&runs, &about.collect::<Vec<_>>())?.into_iter().map(Ok).collect())
        })?;
        let title = format!("|response| to {} at h[{}]", args.direction.direction, args.source);
        return cases
            .finish(output, result, &[("norm", &title), ("block_norm", "|G(l',t'; l,t)|_F")], &|_| String::new());
    }
    let run = args.edits.run(&model, &args.prompt.tokens(&model)?)?;
    let (level, at) = parse_place(&args.source, &run)?;
    let observable = args.observable.given(&model, run.tokens())?;
    let other = args.donor.run(&model, &args.edits)?;
    let result = args.green(&[&run], &[(observable.as_ref(), other.as_ref())])?.remove(0);
    output.naming(&run, None).finish(&result, || {
        let title = format!("|response| to {} at h[{level},{at}]", args.direction.direction);
        let mut text = heatmap(&run, &result, "norm", &title);
        if args.norms.is_some() {
            text.push('\n');
            text.push_str(&heatmap(&run, &result, "block_norm", "|G(l',t'; l,t)|_F"));
        }
        if args.geometry {
            text.push_str(&geometry(&result));
        }
        if args.nodes > 0 {
            text.push_str(&finite(&result, args.nodes));
        }
        if args.directions > 0 {
            text.push_str(&directions(&result));
        }
        format!("{text}{}", checks(&result))
    })
}

/// What a direction may refer to: an observable, and another run.
type About<'a> = (Option<&'a Observable>, Option<&'a Run>);

impl Args {
    /// Computes the response in each run, whose direction may refer to its observable and to another run.
    fn green(&self, runs: &[&Run], about: &[About<'_>]) -> Result<Vec<Labelled>, Failure> {
        let mut sources = Vec::with_capacity(runs.len());
        for (run, &(observable, other)) in runs.iter().zip(about) {
            let place = parse_place(&self.source, run)?;
            let context = Context { observable, other, unit: self.direction.unit };
            sources.push((place, self.direction.parse(run.model())?.resolve(run, place, context)?));
        }
        let placed = runs.iter().zip(&sources);
        let placed = placed.map(|(run, (place, vector))| PlacedSource { run, place: *place, vector });
        let options = GreenOptions { geometry: self.geometry, directions: (self.directions, 0), nodes: self.nodes };
        let results = green_all(&placed.collect::<Vec<_>>(), options)?;
        let each = results.into_iter().zip(runs.iter().zip(&sources));
        each.map(|(result, (run, (place, _)))| {
            let result =
                result.note("direction", &self.direction.direction).note("unit", self.direction.unit.to_string());
            match &self.norms {
                None => Ok(result),
                Some(probes) => with_norms(result, run, *place, probes),
            }
        })
        .collect()
    }
}

/// Adds the norms of blocks from a place to every other.
fn with_norms(result: Labelled, run: &Run, place: Place, probes: &str) -> Result<Labelled, Failure> {
    let norms = block_norms(&run.linearize(Mode::Exact), place, parse_probes(probes)?)?;
    let axes = [("level", run.model().sizes().layers + 1), ("token", run.tokens().len())];
    let result = result.with("block_norm", &axes, norms.norm).note("norms", probes);
    Ok(match norms.error {
        Some(error) => result.with("block_norm_error", &axes, error),
        None => result,
    })
}

/// Parses `exact` or a number of probes.
fn parse_probes(text: &str) -> Result<Probes, Failure> {
    if text == "exact" {
        return Ok(Probes::Exact);
    }
    let count = text.parse().ok().filter(|n| *n > 1);
    let count =
        count.ok_or_else(|| format!("invalid --norms {text}: expected `exact`, or a number of probes above 1"))?;
    Ok(Probes::Hutchinson(count, 0))
}

/// Formats the gains of random directions and their anisotropy, one row for each level.
fn directions(result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let (gain, anisotropy) = (of("gain"), of("anisotropy"));
    let levels = anisotropy.len();
    let count = gain.len() / levels.max(1);
    let mut text = format!("\nlevel   gain of {count} random directions: least, median, largest   anisotropy\n");
    for l in (0..levels).rev().filter(|&l| anisotropy[l] > 0.0) {
        let gains: Vec<f64> = gain.iter().skip(l).step_by(levels).map(|g| f64::from(*g)).collect();
        let gains = stats::sorted(&gains);
        let [least, median, largest] = [0.0, 0.5, 1.0].map(|q| stats::quantile(&gains, q));
        let _infallible = writeln!(
            text,
            "{:>5} {least:>11.4e} {median:>11.4e} {largest:>11.4e} {:>12.3}",
            format!("h{l}"),
            anisotropy[l]
        );
    }
    text
}

/// Formats what first order and the secant make of the finite response, one row for each level.
fn finite(result: &Labelled, nodes: usize) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let levels = of("first_error").len();
    let size = of("finite").len() / levels.max(1);
    let s = if nodes == 1 { "" } else { "s" };
    let mut text =
        format!("\nlevel   |response| to all of it   error of first order   of {nodes} node{s}   error bar\n");
    let shown = |x: f32| if x.is_nan() { "-".to_owned() } else { format!("{:.2}%", 100.0 * x) };
    for l in (0..levels).rev() {
        let length = norm(&of("finite")[l * size..(l + 1) * size]);
        if length > 0.0 {
            let [first, secant, bar] = ["first_error", "secant_error", "secant_bar"].map(|name| shown(of(name)[l]));
            let _infallible =
                writeln!(text, "{:>5} {length:>23.4} {first:>22} {secant:>12} {bar:>11}", format!("h{l}"));
        }
    }
    text
}

/// Formats the geometry of propagation, one row for each level.
fn geometry(result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let mut text = String::from("\nlevel      energy    stays   centroid      width   front (90 %)\n");
    for l in (0..of("energy").len()).rev().filter(|&l| of("energy")[l] > 0.0) {
        let [energy, stays, centroid, width, front] =
            ["energy", "stays", "centroid", "width", "front"].map(|name| of(name)[l]);
        let _infallible = writeln!(
            text,
            "{:>5} {energy:>11.4e} {:>7.1}% {centroid:>10.3} {width:>10.3} {front:>14}",
            format!("h{l}"),
            100.0 * stays
        );
    }
    let _infallible = match of("velocity")[0] {
        velocity if velocity.is_finite() => writeln!(text, "velocity {velocity:.3} tokens a level"),
        _ => writeln!(text, "no velocity: it takes two levels above the source"),
    };
    text
}
