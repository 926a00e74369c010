//! `resolvent regime`: the amplitudes up to which the first-order response is accurate.

use std::cell::RefCell;
use std::fmt::Write as _;

use resolvent::field::{CaseRuns, Place, RegimeCase, RegimeOptions, distinct, regime_all, stats};
use resolvent::model::{Observable, Run};
use resolvent::{Context, Labelled};
use resolvent_report::terminal::visible;

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::options::{DirectionArgs, DonorArgs, ModelArgs, PromptArgs, parse_places};
use crate::output::{OutputArgs, checks, label};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    direction: DirectionArgs,
    /// Places of the sources, LEVEL,TOKEN, or LEVEL for its tokens up to the observable's position; without any, every
    /// level and token up to that. -1 is the last
    #[arg(long, value_name = "L,T", num_args = 1..)]
    sites: Vec<String>,
    /// Amplitudes, with commas between them
    #[arg(
        long,
        value_name = "A,B,C",
        value_delimiter = ',',
        allow_hyphen_values = true,
        default_value = "0.001,0.003,0.01,0.03,0.1,0.3,1,3"
    )]
    amplitudes: Vec<f32>,
    /// Amplitudes multiply the direction itself, not |h[l,t]| times the direction
    #[arg(long)]
    absolute: bool,
    /// Compare the whole downstream field as well
    #[arg(long)]
    field: bool,
    /// Number of amplitudes on the way to each source at which derivatives are taken, for the response that they lead
    /// to
    #[arg(long, value_name = "N", default_value_t = 0)]
    nodes: usize,
    #[command(flatten)]
    observable: RequiredObservable,
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
        let radii = RefCell::new(Vec::new());
        let result = cases.of_clean(needs_other, &|all| {
            let results = args.regimes(&all.iter().map(about).collect::<Result<Vec<About<'_>>, Failure>>()?)?;
            let each = results.iter().flatten().filter_map(|result| result.array("radius"));
            each.for_each(|radius| radii.borrow_mut().extend_from_slice(&radius.data));
            Ok(results)
        })?;
        return cases.finish(output, result, &[], &|_| mean_radii(&radii.borrow()));
    }
    let (observable, tokens) = args.observable.of(&model, &args.prompt.tokens(&model)?)?;
    let run = args.edits.run(&model, &tokens)?;
    let other = args.donor.run(&model, &args.edits)?;
    let result = args.regimes(&[(&run, &observable, other.as_ref())])?.remove(0)?;
    output
        .naming(&run, Some(&args.observable))
        .finish(&result, || format!("{}{}", table(&run, args, &result), checks(&result)))
}

/// A run, its observable, and another run, to which a direction may refer.
type About<'a> = (&'a Run, &'a Observable, Option<&'a Run>);

fn about<'a>(runs: &'a CaseRuns<'_>) -> Result<About<'a>, Failure> {
    Ok((&runs.clean, runs.observable()?, runs.corrupted.as_ref()))
}

impl Args {
    /// Computes the regime at each run.
    fn regimes(&self, about: &[About<'_>]) -> Result<Vec<Result<Labelled, Failure>>, Failure> {
        let sites = about.iter().map(|about| self.sources(about)).collect::<Result<Vec<_>, Failure>>()?;
        let cases =
            about.iter().zip(&sites).map(|(&(run, observable, _), sites)| RegimeCase { run, observable, sites });
        let options = RegimeOptions {
            amplitudes: distinct(self.amplitudes.iter().copied()),
            absolute: self.absolute,
            field: self.field,
            nodes: self.nodes,
        };
        let noted = |result: Labelled| {
            result.note("direction", &self.direction.direction).note("unit", self.direction.unit.to_string())
        };
        let results = regime_all(&cases.collect::<Vec<_>>(), &options)?;
        Ok(results.into_iter().map(|result| Ok(noted(result?))).collect())
    }

    /// Returns the places of a run with their directions.
    fn sources(&self, &(run, observable, other): &About<'_>) -> Result<Vec<(Place, Vec<f32>)>, Failure> {
        let places = distinct(parse_places(&self.sites, run, observable.position())?);
        let direction = self.direction.parse(run.model())?;
        let context = Context { observable: Some(observable), other, unit: self.direction.unit };
        Ok(match self.sites.is_empty() {
            true => direction.where_it_is(run, &places, context)?,
            false => places.iter().copied().zip(direction.resolve_all(run, &places, context)?).collect(),
        })
    }
}

/// Formats the median radius of all places of all prompts.
fn mean_radii(radii: &[f32]) -> String {
    let finite: Vec<f64> = radii.iter().filter(|x| x.is_finite()).map(|x| f64::from(*x)).collect();
    let sorted = stats::sorted(&finite);
    let [low, median, high] = [0.25, 0.5, 0.75].map(|q| stats::quantile(&sorted, q));
    format!(
        "radius of {} sources: median {median:.4}, quartiles {low:.4} and {high:.4}, in units of the amplitude\n",
        finite.len()
    )
}

/// Formats two tables with a row for each place: derivatives and radii, then the error at each amplitude. One table of
/// both would be wider than most terminals.
fn table(run: &Run, args: &Args, result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let amplitudes = of("amplitudes");
    let secant = of("secant_radius");
    let unit = if args.absolute { "the direction" } else { "|h[l,t]| times the direction" };
    let places: Vec<String> = of("sites")
        .chunks(2)
        .map(|site| format!("h[{},{}] {}", site[0], site[1], label(run, site[1] as usize)))
        .collect();
    let wide = places.iter().map(|place| place.chars().count()).fold("source at".len(), usize::max);
    let mut text = format!(
        "J = {} along {}; amplitudes in units of {unit}\n{:<wide$} {:>10} {:>10} {:>9} {:>9}{}\n",
        visible(&args.observable.title()),
        visible(&args.direction.direction),
        "source at",
        "dJ/da",
        "d2J/da2",
        "radius",
        "by jet",
        if secant.is_empty() { String::new() } else { format!(" {:>9}", format!("{} nodes", args.nodes)) }
    );
    for (n, place) in places.iter().enumerate() {
        let [first, second, radius, jet] = ["first_order", "second", "radius", "jet_radius"].map(|name| of(name)[n]);
        let _infallible = write!(text, "{place:<wide$} {first:>10.4} {second:>10.4} {radius:>9.4} {jet:>9.4}");
        if let Some(radius) = secant.get(n) {
            let _infallible = write!(text, " {radius:>9.4}");
        }
        text.push('\n');
    }
    let _infallible = write!(text, "\n{:<wide$}", "error at");
    for a in amplitudes {
        let _infallible = write!(text, " {a:>7}");
    }
    text.push('\n');
    for (place, errors) in places.iter().zip(of("error").chunks(amplitudes.len())) {
        let _infallible = write!(text, "{place:<wide$}");
        for e in errors {
            let _infallible = match e.is_nan() {
                true => write!(text, " {:>7}", "-"),
                false => write!(text, " {:>6.1}%", 100.0 * e),
            };
        }
        text.push('\n');
    }
    if of("error").iter().any(|e| e.is_nan()) {
        text.push_str("-: the response differs from first order by no more than the noise floor of J\n");
    }
    if let Some(failed) = result.metadata.get("failed") {
        let _infallible = writeln!(text, "check failed, place left out: {failed}");
    }
    text
}
