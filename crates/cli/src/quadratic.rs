//! `resolvent quadratic`: J to second order in a few directions at a place.

use std::cell::RefCell;
use std::fmt::Write as _;

use resolvent::Labelled;
use resolvent::field::{Basis, BasisContext, End, QuadraticOptions, distinct, quadratic, stats};
use resolvent::model::{Mode, Observable, Run};
use resolvent_report::terminal::visible;

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::RequiredObservable;
use crate::options::{DonorArgs, ModelArgs, PromptArgs, parse_place};
use crate::output::{OutputArgs, checks, label};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Place of the sources; -1 is the last level or token: --at=-1,3
    #[arg(long, value_name = "L,T", allow_hyphen_values = true)]
    at: String,
    /// Directions: curvature[:SEED] (the sensitivity, and those along which J has the largest curvature), or a basis as
    /// in `slice`: pca, unembed[:TOKEN,...], embed[:TOKEN,...], sensitivity, displacement (with --donor),
    /// krylov[:SEED], random[:SEED], or a file with the array source [d,k]
    #[arg(short, long, value_name = "B", default_value = "curvature")]
    basis: String,
    /// Number of directions; 8 or as many as there are
    #[arg(short = 'k', long, value_name = "K")]
    rank: Option<usize>,
    /// Lengths of the sources that test both orders, in units of |h[l,t]|, with commas between them
    #[arg(
        long,
        value_name = "A,B,C",
        value_delimiter = ',',
        allow_hyphen_values = true,
        default_value = "0.01,0.03,0.1,0.3,1"
    )]
    amplitudes: Vec<f32>,
    /// Random sources for each amplitude
    #[arg(long, value_name = "N", default_value_t = QuadraticOptions::default().samples)]
    samples: usize,
    /// Random vectors that estimate the curvature outside of the directions
    #[arg(long, value_name = "N", default_value_t = QuadraticOptions::default().probes)]
    probes: usize,
    /// Seed of the random sources and vectors
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
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
    let basis = Basis::parse(&args.basis, &model)?;
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        // A displacement is to the row's corrupted prompt.
        let found = RefCell::new(Found::default());
        let result = cases.each(&[], &|runs| {
            let one = args.expand(&runs.clean, runs.observable()?, (&basis, runs.corrupted.as_ref()))?;
            found.borrow_mut().add(&one);
            Ok(one)
        })?;
        return cases.finish(output, result, &[], &|_| found.borrow().text());
    }
    let (observable, tokens) = args.observable.of(&model, &args.prompt.tokens(&model)?)?;
    let run = args.edits.run(&model, &tokens)?;
    let other = args.donor.run(&model, &args.edits)?;
    let result = args.expand(&run, &observable, (&basis, other.as_ref()))?;
    output
        .naming(&run, Some(&args.observable))
        .finish(&result, || format!("{}{}", args.text(&run, &result), checks(&result)))
}

impl Args {
    fn expand(
        &self,
        run: &Run,
        observable: &Observable,
        (basis, other): (&Basis, Option<&Run>),
    ) -> Result<Labelled, Failure> {
        let place = parse_place(&self.at, run)?;
        let (others, observables) = (other.map(std::slice::from_ref), std::slice::from_ref(observable));
        let context = BasisContext { observables, others: others.unwrap_or_default(), rank: self.rank, position: None };
        let frames = basis.frames(&run.linearize(Mode::Exact), &[place], End::Source, context)?;
        let options = QuadraticOptions {
            amplitudes: distinct(self.amplitudes.iter().copied()),
            samples: self.samples,
            probes: self.probes,
            seed: self.seed,
        };
        Ok(quadratic(run, observable, (place, &frames), other, &options)?.note("basis", basis.to_string()))
    }

    /// Formats the directions, the errors of both orders, and what they make of the displacement.
    fn text(&self, run: &Run, result: &Labelled) -> String {
        let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
        let (size, k) = (of("size")[0], of("slope").len());
        let (level, token) = result.place("place").unwrap_or_default();
        let mut text = format!(
            "J = {} at h[{level},{token}] {}, in {k} direction{} ({}) with {:.0} % of its squared curvature\n\
             {:>9} {:>10} {:>12} {:>8}   raises\n",
            visible(&self.observable.title()),
            label(run, token),
            if k == 1 { "" } else { "s" },
            visible(&self.basis),
            100.0 * of("captured")[0],
            "direction",
            "|h| dJ/da",
            "|h|2 d2J/da2",
            "turns at",
        );
        let listed = of("top_tokens").len() / k;
        for (i, (slope, curvature)) in of("slope").iter().zip(of("curvature")).enumerate() {
            // Along it, second order alone has an extremum there.
            let turn = (slope / curvature).abs() / size;
            let ids = of("top_tokens")[i * listed..].iter().take(3).map(|&id| id as u32);
            let name = |id: u32| run.model().tokenizer().map_or_else(|| format!("#{id}"), |t| t.token(id));
            let raised: Vec<String> = ids.map(|id| visible(&name(id).replace(' ', "·")).into_owned()).collect();
            let _infallible = writeln!(
                text,
                "{:>9} {:>10.4} {:>12.4} {turn:>8.3}   {}",
                i + 1,
                slope * size,
                curvature * size * size,
                raised.join(" ")
            );
        }
        text.push_str(&errors(result));
        if let [share] = of("moved_share") {
            let [effect, within, first, second] =
                ["moved_effect", "moved_within", "moved_first", "moved_second"].map(|name| of(name)[0]);
            let _infallible = writeln!(
                text,
                "displacement to the other prompt: effect {effect:.4}; its part in the directions (share {share:.2}) \
                 has {within:.4}, to first order {first:.4}, to second order {second:.4}"
            );
        }
        text
    }
}

/// Formats the errors of both orders at each amplitude.
fn errors(result: &Labelled) -> String {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let mut text = format!("{:>22}", "amplitude, in |h|");
    of("amplitudes").iter().for_each(|a| {
        let _infallible = write!(text, " {a:>7}");
    });
    for (name, order) in [("error_first", "error of first order"), ("error_second", "of second order")] {
        let _infallible = write!(text, "\n{order:>22}");
        for error in of(name) {
            let _infallible = match error.is_nan() {
                true => write!(text, " {:>7}", "-"),
                false => write!(text, " {:>6.1}%", 100.0 * error),
            };
        }
    }
    text.push('\n');
    if ["error_first", "error_second"].iter().any(|name| of(name).iter().any(|e| e.is_nan())) {
        text.push_str("-: the error does not exceed the noise floor of J\n");
    }
    text
}

/// Figures of the prompts of a file.
#[derive(Default)]
struct Found {
    captured: Vec<f32>,
    amplitudes: Vec<f32>,
    /// Errors of first and of second order, of each prompt at each amplitude.
    errors: [Vec<f32>; 2],
}

impl Found {
    /// Adds the figures of a prompt.
    fn add(&mut self, result: &Labelled) {
        let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
        self.captured.extend_from_slice(of("captured"));
        self.amplitudes = of("amplitudes").to_vec();
        for (errors, name) in self.errors.iter_mut().zip(["error_first", "error_second"]) {
            errors.extend_from_slice(of(name));
        }
    }

    /// Formats the medians over prompts: of the captured share, and of the errors at each amplitude.
    fn text(&self) -> String {
        let median = |of: &mut dyn Iterator<Item = f32>| {
            stats::median(&of.filter(|x| x.is_finite()).map(f64::from).collect::<Vec<f64>>())
        };
        let captured = median(&mut self.captured.iter().copied());
        let mut text = format!("medians over {} prompts; captured {captured:.3}\n", self.captured.len());
        for (n, amplitude) in self.amplitudes.iter().enumerate() {
            let [first, second] = self
                .errors
                .each_ref()
                .map(|errors| 100.0 * median(&mut errors.iter().skip(n).step_by(self.amplitudes.len()).copied()));
            let _infallible = writeln!(
                text,
                "amplitude {amplitude}: error of first order {first:.1} %, of second order {second:.1} %"
            );
        }
        text
    }
}
