//! `resolvent flow`: by which places an effect reaches the observable.

use std::fmt::Write;

use resolvent::field::{Case, FlowOptions, flow, flow_between, flow_of_prompts};
use resolvent::model::{Model, Observable, Run, Site, Source};
use resolvent::{Context, Labelled};

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::options::{DirectionArgs, DonorArgs, ModelArgs, PromptArgs, pair, parse_place, tokens};
use crate::output::{OutputArgs, checks, heatmaps};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Corrupted prompt, of as many tokens: the effect is that of the difference of the two prompts
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present_any = ["corrupted_tokens", "prompts", "source"],
        conflicts_with_all = ["corrupted_tokens", "prompts", "source"]
    )]
    corrupted: Option<String>,
    /// Corrupted prompt as token ids
    #[arg(long, value_name = "IDS", allow_hyphen_values = true, conflicts_with_all = ["prompts", "source"])]
    corrupted_tokens: Option<String>,
    /// Place of a source, instead of a corrupted prompt: LEVEL,TOKEN; -1 is the last
    #[arg(short, long, value_name = "L,T", allow_hyphen_values = true)]
    source: Option<String>,
    #[command(flatten)]
    direction: DirectionArgs,
    #[command(flatten)]
    donor: DonorArgs,
    /// Also the flow of the whole source, as a mean over N amplitudes (secant), beside the change of J by a forward
    /// pass
    #[arg(long, value_name = "N", default_value_t = FlowOptions::default().steps)]
    steps: usize,
    #[command(flatten)]
    observable: RequiredObservable,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const FLOW: &str = "flow, to first order";
const SECANT: &str = "flow of the whole source";

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    let options = FlowOptions { steps: args.steps };
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        let result = match &args.source {
            None => cases.all(|model, cases, progress| flow_of_prompts(model, cases, options, progress))?,
            Some(place) => cases
                .each(&[], &|runs| args.of_source(&runs.clean, place, (runs.observable()?, runs.corrupted.as_ref())))?,
        };
        return cases.finish(output, result, &[("flow", FLOW), ("secant", SECANT)], &|_| String::new());
    }
    let (run, result) = match &args.source {
        None => args.of_pair(&model, options)?,
        Some(place) => {
            let (observable, tokens) = args.observable.of(&model, &args.prompt.tokens(&model)?)?;
            let run = args.edits.run(&model, &tokens)?;
            let result = args.of_source(&run, place, (&observable, args.donor.run(&model, &args.edits)?.as_ref()))?;
            (run, result)
        }
    };
    output.naming(&run, Some(&args.observable)).finish(&result, || {
        let from = match &args.source {
            None => "the other prompt".to_owned(),
            Some(place) => format!("{} at h[{place}]", args.direction.direction),
        };
        let title = format!("{FLOW}, from {from} to J = {}", args.observable.title());
        let maps = heatmaps(&run, &result, &[("flow", &title), ("secant", SECANT)]);
        format!("{maps}{}{}", effects(&result), checks(&result))
    })
}

impl Args {
    /// Computes the flow of the difference of two prompts, and returns it with the corrupted run.
    fn of_pair(&self, model: &Model, options: FlowOptions) -> Result<(Run, Labelled), Failure> {
        let corrupted = tokens(model, self.corrupted.as_deref(), self.corrupted_tokens.as_deref())?;
        let (observable, prompts) = pair(model, &self.prompt, &corrupted, &self.observable)?;
        let runs = self.edits.run_all(model, &prompts, &[])?;
        let case = Case { clean: &runs[0], corrupted: &runs[1], observable: &observable };
        Ok((runs[1].clone(), flow_between(&[case], options)?.remove(0)))
    }

    /// Computes the flow of a source at one place.
    fn of_source(
        &self,
        run: &Run,
        place: &str,
        (observable, other): (&Observable, Option<&Run>),
    ) -> Result<Labelled, Failure> {
        let (level, token) = parse_place(place, run)?;
        let context = Context { observable: Some(observable), other, unit: self.direction.unit };
        let vector = self.direction.parse(run.model())?.resolve(run, (level, token), context)?;
        let source = Source { site: Site::level(level, run.model().sizes()), token, vector };
        let result = flow(run, observable, &[source], FlowOptions { steps: self.steps })?;
        Ok(result.note("direction", &self.direction.direction).note("unit", self.direction.unit.to_string()))
    }
}

/// Formats the sums over tokens: to first order, of the secant with its error, and of the forward pass.
fn effects(result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(f32::NAN, |array| array.data[0]);
    let mut text = format!("sum over tokens, to first order {:.4}", of("effect"));
    if let Some(steps) = result.metadata.get("steps") {
        let [secant, error, change] = ["secant_effect", "secant_effect_error", "change"].map(of);
        let _infallible = write!(
            text,
            "; of the whole source {secant:.4} ({steps} amplitudes; {error:.0e} from half as many); by a forward pass {change:.4}"
        );
    }
    text + "\n"
}
