//! `resolvent invert`: finds sources that reach a goal, and runs the model with them.

use std::fmt::Write as _;

use resolvent::field::{Goal, InvertCase, InvertOptions, Method, distinct, invert_all};
use resolvent::model::{Model, Observable, Run};
use resolvent::{Context, Labelled, Place};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::options::{DirectionArgs, DonorArgs, ModelArgs, PromptArgs, parse_place, parse_places, token};
use crate::output::{OutputArgs, checks, label};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Change of the observable that is wanted, such as 2.5; or of another logit, TOKEN:CHANGE (" Rome:0" keeps it).
    /// May be given several times
    #[arg(short, long, value_name = "GOAL", allow_hyphen_values = true)]
    goal: Vec<String>,
    /// Goal at a place of the field, LEVEL,TOKEN:AMOUNT: h there is to move by AMOUNT times --direction
    #[arg(long, value_name = "L,T:X", allow_hyphen_values = true)]
    field_goal: Vec<String>,
    /// Places where sources may act, LEVEL,TOKEN, or LEVEL for its tokens up to the last goal's; without any, every
    /// place that the goals can depend on. -1 is the last
    #[arg(long, value_name = "L,T", num_args = 1..)]
    from: Vec<String>,
    /// Use at most so many places
    #[arg(long, value_name = "N")]
    sparse: Option<usize>,
    /// How the places of --sparse are chosen: greedy or lasso
    #[arg(long, value_name = "HOW", default_value = "greedy", requires = "sparse")]
    choose: String,
    /// The most that a source may be, as a share of |h[l,t]|
    #[arg(long, value_name = "X")]
    limit: Option<f32>,
    /// Weight of the energy against the goal
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    damp: f64,
    /// Steps of Newton's method, each linearised at the run with the sources so far; the baselines take as many
    #[arg(long, value_name = "N", default_value_t = 0)]
    refine: usize,
    /// Seed of the random baseline
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    direction: DirectionArgs,
    #[command(flatten)]
    donor: DonorArgs,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let options = args.options()?;
    let model = args.model.open()?;
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        let result = cases.of_clean(false, &|all| {
            let asked = all.iter().map(|runs| args.asked(&runs.clean, runs.observable()?));
            let asked = asked.collect::<Result<Vec<Asked>, Failure>>()?;
            let cases = all.iter().zip(&asked).map(|(runs, asked)| asked.of(&runs.clean));
            let found = invert_all(&cases.collect::<Vec<_>>(), &options)?;
            Ok(found.into_iter().map(|result| Ok(result?)).collect())
        })?;
        return cases.finish(output, result, &[], &reached);
    }
    let (observable, tokens) = args.observable.of(&model, &args.prompt.tokens(&model)?)?;
    let run = args.edits.run(&model, &tokens)?;
    let result = invert_all(&[args.asked(&run, &observable)?.of(&run)], &options)?.remove(0)?;
    output
        .naming(&run, Some(&args.observable))
        .finish(&result, || format!("{}{}", table(&run, args, &result), checks(&result)))
}

/// Formats what was wanted, predicted and achieved, as means over prompts.
fn reached(result: &Labelled) -> String {
    let mean = |name: &str| result.array(&format!("{name}.mean")).map_or(f32::NAN, |a| a.data[0]);
    format!(
        "mean energy {:.5}; the first goal: wanted {:+.4}, predicted {:+.4}, achieved by the model {:+.4}\n",
        mean("energy"),
        mean("target"),
        mean("predicted"),
        mean("achieved")
    )
}

/// Goals, and the places where sources may act.
struct Asked {
    goals: Vec<Goal>,
    sites: Vec<Place>,
}

impl Asked {
    fn of<'a>(&'a self, run: &'a Run) -> InvertCase<'a> {
        InvertCase { run, goals: &self.goals, sites: &self.sites }
    }
}

impl Args {
    /// Returns the goals of a run, and the places where sources may act.
    fn asked(&self, run: &Run, observable: &Observable) -> Result<Asked, Failure> {
        let goals = self.goals(run.model(), run, observable)?;
        let last = goals.iter().map(Goal::position).max().unwrap_or(0);
        let sites = distinct(parse_places(&self.from, run, last)?);
        Ok(Asked { goals, sites })
    }

    fn options(&self) -> Result<InvertOptions, Failure> {
        let method = match (self.sparse, self.choose.as_str()) {
            (None, _) => Method::LeastEnergy,
            (Some(n), "greedy") => Method::Greedy(n),
            (Some(n), "lasso") => Method::Lasso(n),
            (_, other) => return Err(format!("invalid --choose {other}: expected greedy or lasso").into()),
        };
        if let Some(limit) = self.limit.filter(|limit| !limit.is_finite() || *limit <= 0.0) {
            return Err(format!("invalid --limit {limit}: expected a finite number above 0 for |s| / |h[l,t]|").into());
        }
        if !self.damp.is_finite() || self.damp < 0.0 {
            return Err(format!("invalid --damp {}: expected a finite number >= 0", self.damp).into());
        }
        let Self { limit, damp, refine, seed, .. } = *self;
        Ok(InvertOptions { method, limit, damp, refine, seed })
    }

    fn goals(&self, model: &Model, run: &Run, observable: &Observable) -> Result<Vec<Goal>, Failure> {
        let mut goals = Vec::new();
        for text in &self.goal {
            let (observable, change) = match text.rsplit_once(':') {
                None => (observable.clone(), text.as_str()),
                Some((of, change)) => (Observable::logit(token(model, of)?, observable.position()), change),
            };
            let change = number(change, text)?;
            goals.push(Goal::Observable { observable, change });
        }
        for text in &self.field_goal {
            let (place, amount) = text
                .rsplit_once(':')
                .ok_or_else(|| format!("invalid field goal `{text}`: expected LEVEL,TOKEN:AMOUNT such as 3,-1:0.5"))?;
            let (place, amount) = (parse_place(place, run)?, number(amount, text)?);
            let direction = self.resolve(model, run, observable, place)?;
            let change = direction.iter().map(|&x| (amount * f64::from(x)) as f32).collect();
            goals.push(Goal::Field { place, change });
        }
        if goals.is_empty() {
            return Err("no goal was given; write --goal 2.5 (the change of the observable) or --field-goal".into());
        }
        Ok(distinct(goals))
    }

    fn resolve(&self, model: &Model, run: &Run, j: &Observable, place: Place) -> Result<Vec<f32>, Failure> {
        let other = self.donor.run(model, &self.edits)?;
        let context = Context { observable: Some(j), other: other.as_ref(), unit: self.direction.unit };
        Ok(self.direction.parse(model)?.resolve(run, place, context)?)
    }
}

fn number(text: &str, whole: &str) -> Result<f64, Failure> {
    let parsed = text.trim().parse::<f64>().ok().filter(|x| x.is_finite());
    parsed.ok_or_else(|| {
        format!("invalid number `{text}` of the goal `{whole}`: expected a finite number such as 2.5").into()
    })
}

/// Relative misses of the goal above which a line reports them: to first order, and by the model.
const REPORTED_MISS: [f64; 2] = [0.01, 0.05];

/// Returns a line that says by how much the goal is missed and what may help; `None` if it is met.
fn missed(args: &Args, result: &Labelled) -> Option<String> {
    let of = |key: &str| result.number(key).unwrap_or(f64::NAN);
    let (first, real) = (of("missed_first_order"), of("missed"));
    // After steps of Newton's method, first order at the unedited run says nothing. A miss of NaN is reported.
    if (args.refine > 0 || first <= REPORTED_MISS[0]) && real <= REPORTED_MISS[1] {
        return None;
    }
    let why = match (first > REPORTED_MISS[0], args.refine, args.limit) {
        (_, 1.., _) => {
            format!("{} steps of Newton's method do not meet it; raise --refine, --sparse or --limit", args.refine)
        }
        (true, ..) if args.damp > 0.0 => "--damp weighs the energy against it; lower --damp".to_owned(),
        (true, _, Some(limit)) => {
            format!("--limit {limit} leaves the rest; raise --limit or --sparse, or give more places")
        }
        (true, ..) => "the places do not reach the rest; raise --sparse or give more places".to_owned(),
        _ => "first order meets it and the model does not; add --refine 8".to_owned(),
    };
    Some(format!("goal missed by {:.0} % (to first order by {:.0} %): {why}\n", 100.0 * real, 100.0 * first))
}

/// Formats the largest sources, and the changes that they cause beside those of the baselines.
fn table(run: &Run, args: &Args, result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let mut text = String::from("source at            token        |s|/|h|\n");
    let mut order: Vec<usize> = (0..of("relative").len()).collect();
    order.sort_by(|&a, &b| of("relative")[b].total_cmp(&of("relative")[a]));
    for &i in order.iter().take(12) {
        let (level, at) = (of("sites")[2 * i] as usize, of("sites")[2 * i + 1] as usize);
        let share = of("relative")[i];
        let _infallible = writeln!(text, "{:<20} {:<12} {share:>7.4}", format!("h[{level},{at}]"), label(run, at));
    }
    if order.len() > 12 {
        let _infallible = writeln!(text, "and {} more places", order.len() - 12);
    }
    let numbers = |x: &[f32]| match x.len() {
        0..=4 => x.iter().map(|x| format!("{x:+.4}")).collect::<Vec<_>>().join(" "),
        n => format!("{n} numbers of length {:.4}", resolvent::field::norm(x)),
    };
    let _infallible = writeln!(text, "\ngoal: {}", numbers(of("target")));
    text.push_str(&missed(args, result).unwrap_or_default());
    let _infallible = writeln!(text, "{:<16} {:>12}  {:<28} achieved by the model", "", "energy", "predicted");
    let mut line = |name: &str, energy: f32, predicted: &[f32], achieved: &[f32]| {
        let (predicted, achieved) = (numbers(predicted), numbers(achieved));
        let _infallible = writeln!(text, "{name:<16} {energy:>12.5}  {predicted:<28} {achieved}");
    };
    line("found", of("energy")[0], of("predicted"), of("achieved"));
    let names = result.list("baselines").unwrap_or_default();
    let m = of("target").len();
    for (b, name) in names.into_iter().enumerate() {
        let row = b * m..(b + 1) * m;
        let (predicted, achieved) = (&of("baseline_predicted")[row.clone()], &of("baseline_achieved")[row]);
        line(name, of("baseline_energy")[b], predicted, achieved);
    }
    if args.limit.is_some() {
        text.push_str("--limit bounds the sources that were found, not the baselines\n");
    }
    text
}
