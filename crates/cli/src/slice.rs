//! `resolvent slice`: blocks of the Green operator between two bases, or its singular values.

use std::cell::RefCell;
use std::fmt::Write as _;

use resolvent::engine::Steps;
use resolvent::field::{
    Basis, BasisContext, PlacePairs, Reading, RsvdOptions, Slice, Sliced, Spectrum, distinct, slice_each, spectrum,
};
use resolvent::model::{Linearization, Mode, Model, Observable, Run, from_end};
use resolvent::{Labelled, Place};
use resolvent_report::terminal::visible;

use crate::Failure;
use crate::edits::EditArgs;
use crate::observable::ObservableArgs;
use crate::options::{ModelArgs, PromptArgs, parse_places, tokens};
use crate::output::{Output, OutputArgs, checks, label};
use crate::prompts::Cases;
use crate::terminal::say;

/// Options of a slice between bases, which leave those of `--svd` without a meaning.
const BETWEEN_BASES: [&str; 3] = ["basis", "readout", "nodes"];

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Basis of the sources: pca, unembed[:TOKEN,...], embed[:TOKEN,...], sensitivity, displacement (with --donor),
    /// krylov[:SEED], curvature[:SEED], random[:SEED], or a file with the arrays source [d,k] and, if it is another,
    /// readout [d,m]
    #[arg(short, long, value_name = "B", default_value = "pca")]
    basis: String,
    /// Basis of the readouts, where it is another
    #[arg(long, value_name = "B")]
    readout: Option<String>,
    /// Vectors of a basis, or singular values; 8 or as many as there are
    #[arg(short = 'k', long, value_name = "K")]
    rank: Option<usize>,
    /// Places of the sources, LEVEL,TOKEN, or LEVEL for all of its tokens; without any, all. -1 is the last
    #[arg(long, value_name = "L,T", num_args = 1..)]
    from: Vec<String>,
    /// Places of the readouts, LEVEL,TOKEN, or LEVEL for all of its tokens; without any, all
    #[arg(long, value_name = "L,T", num_args = 1..)]
    to: Vec<String>,
    /// The secant operator: derivatives averaged over N nodes on the way to sources of a finite length, with their
    /// errors against finite responses
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "svd")]
    nodes: usize,
    /// Of --nodes: length of each source along a unit vector, in |h[l,t]|
    #[arg(long, value_name = "X", default_value_t = 0.1, requires = "nodes", conflicts_with = "svd")]
    amplitude: f64,
    /// Leading singular values of the whole operator from --from to --to, without a basis
    #[arg(long, requires_all = ["from", "to"], conflicts_with_all = ["basis", "readout"])]
    svd: bool,
    /// Of --svd: random vectors besides the wanted ones
    #[arg(long, value_name = "P", default_value_t = 8, requires = "svd", conflicts_with_all = BETWEEN_BASES)]
    oversampling: usize,
    /// Of --svd: the most iterations of an operator that is too large to be decomposed whole
    #[arg(long, value_name = "Q", default_value_t = RsvdOptions::default().power, requires = "svd", conflicts_with_all = BETWEEN_BASES)]
    power: usize,
    /// Of --svd: iterations end when |G v - s u| is at most this share of the largest singular value
    #[arg(long, value_name = "X", default_value_t = RsvdOptions::default().tolerance, requires = "svd", conflicts_with_all = BETWEEN_BASES)]
    tolerance: f64,
    /// Of --svd: seed of the random vectors
    #[arg(long, value_name = "N", default_value_t = 0, requires = "svd", conflicts_with_all = BETWEEN_BASES)]
    seed: u64,
    #[command(flatten)]
    observable: ObservableArgs,
    /// For `displacement`: another prompt, of as many tokens; for `pca`: of any number. May be given several times
    #[arg(long, value_name = "TEXT")]
    donor: Vec<String>,
    /// The same, as token ids
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    donor_tokens: Vec<String>,
    /// Begin anew, whatever an interrupted run has left of the file
    #[arg(long, requires = "out")]
    fresh: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let model = args.model.open()?;
    if let Some(cases) = args.prompt.set.edited(&model, (Some(&args.observable), &args.edits), output.stream())? {
        return args.of_prompts(&model, &cases, output);
    }
    let run = args.edits.run(&model, &args.prompt.tokens(&model)?)?;
    let output = output.naming(&run, None);
    let linear = run.linearize(Mode::Exact);
    let (from, to) = (distinct(places(&args.from, &run)?), distinct(places(&args.to, &run)?));
    match args.svd {
        true => {
            let Spectrum { result, triplets } = spectrum(&linear, &from, &to, &args.rsvd()?)?;
            output.finish(&result, || args.spectrum_text(&result, &triplets, &run))
        }
        false => args.slice(&linear, [&from, &to], &output),
    }
}

/// Parses the named places; returns an empty list if none is named.
fn places(texts: &[String], run: &Run) -> Result<Vec<Place>, Failure> {
    if texts.is_empty() { Ok(Vec::new()) } else { parse_places(texts, run, run.tokens().len() - 1) }
}

impl Args {
    /// Slices the operators of many prompts between the same places, and prints the means.
    fn of_prompts(&self, model: &Model, cases: &Cases<'_>, output: Output<'_>) -> Result<(), Failure> {
        let is_place = |text: &String| text.contains(',');
        if [&self.from, &self.to].into_iter().any(|places| places.is_empty() || !places.iter().all(is_place)) {
            return Err(
                "with many prompts slice needs --from LEVEL,TOKEN and --to LEVEL,TOKEN; count tokens from the end \
                        (12,-1) where lengths differ"
                    .into(),
            );
        }
        if !self.donor.is_empty() || !self.donor_tokens.is_empty() {
            return Err("a row's corrupted prompt is its donor: leave --donor and --donor-tokens out".into());
        }
        if self.fresh {
            return Err("results of many prompts are written whole: leave --fresh out".into());
        }
        let options = self.rsvd()?;
        let source = Basis::parse(&self.basis, model)?;
        let readout = self.readout.as_ref().map_or(Ok(source.clone()), |text| Basis::parse(text, model))?;
        if let Some(basis) = [&source, &readout].into_iter().find(|basis| !self.svd && !basis.is_shared()) {
            return Err(format!(
                "the vectors of the basis {basis} differ from prompt to prompt, so blocks have no mean; give --basis \
                 random, unembed:TOKEN,..., a file, sensitivity or displacement, or take --svd"
            )
            .into());
        }
        let ends = |run: &Run| -> Result<[Vec<Place>; 2], Failure> {
            Ok([distinct(places(&self.from, run)?), distinct(places(&self.to, run)?)])
        };
        let needs_other = !self.svd && [&source, &readout].into_iter().any(|basis| basis.needs_other());
        let first = RefCell::new(Vec::new());
        let result = cases.of_clean(needs_other, &|all| {
            let linear: Vec<Linearization<'_>> = all.iter().map(|runs| runs.clean.linearize(Mode::Exact)).collect();
            let each = all.iter().zip(&linear);
            if self.svd {
                let spectrum = |linear: &Linearization<'_>| {
                    let [from, to] = ends(linear.run())?;
                    Ok(spectrum(linear, &from, &to, &options)?.result)
                };
                return Ok(linear.iter().map(spectrum).collect());
            }
            let sliced = each.map(|(runs, linear)| {
                let [from, to] = ends(&runs.clean)?;
                let observables: Vec<Observable> = runs.case.observable.iter().cloned().collect();
                let others = runs.corrupted.as_slice();
                let context = BasisContext { observables: &observables, others, rank: None, position: None };
                let contexts = [&source, &readout].map(|basis| self.ranked(basis, [&source, &readout], context));
                let pairs = PlacePairs::new(&runs.clean, Some(&from), Some(&to))?;
                self.averaged(Slice::new(linear, pairs, [&source, &readout], contexts)?)
            });
            let results = slice_each(sliced.collect())?;
            if let Some(pairs) = results.iter().flatten().find_map(|one| one.array("pairs"))
                && first.borrow().is_empty()
            {
                *first.borrow_mut() = pairs.data.clone();
            }
            Ok(results)
        })?;
        cases.finish(output, result, &[], &|result| self.means(result, &first.borrow()))
    }

    /// Formats the means over prompts: of singular values by pair, or of those of the whole operator. `pairs` are those
    /// of the first prompt.
    fn means(&self, result: &Labelled, pairs: &[f32]) -> String {
        let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
        let name = if self.svd { "svd_values" } else { "singular_values" };
        let [mean, low, high] = ["mean", "low", "high"].map(|end| of(&format!("{name}.{end}")));
        if mean.is_empty() {
            return "no means: prompts of different lengths have other numbers of places or of pairs between them; give \
                    places that lie apart in every prompt\n"
                .to_owned();
        }
        let values = result.array(&format!("{name}.mean")).and_then(|a| a.axes.last().map(|axis| axis.1)).unwrap_or(1);
        let shown = |i: usize| match low[i].is_finite() {
            true => format!("{:.4} ({:.4} to {:.4})", mean[i], low[i], high[i]),
            false => format!("{:.4}", mean[i]),
        };
        if self.svd {
            let each = (0..values).map(|i| format!("{:>4}  {}\n", i + 1, shown(i))).collect::<String>();
            return format!("mean singular values of G\n{each}");
        }
        let mut text = String::from("means over prompts; tokens are those of the first one\n");
        for (n, pair) in pairs.chunks(4).take(mean.len() / values).enumerate() {
            let [to, from] = [(pair[0], pair[1]), (pair[2], pair[3])].map(|(l, t)| format!("h[{l},{t}]"));
            let rank = of("effective_rank.mean")[n];
            let _infallible = writeln!(
                text,
                "{to:>10} <- {from:<10} largest singular value {}, effective rank {rank:.1}",
                shown(n * values)
            );
        }
        text
    }

    /// Returns the context of a basis with `--rank`, which applies to computed bases. If none is computed, it is passed
    /// on, so that it can be refused.
    fn ranked<'c>(&self, basis: &Basis, both: [&Basis; 2], context: BasisContext<'c>) -> BasisContext<'c> {
        let is_file = |basis: &Basis| matches!(basis, Basis::File(_));
        let rank = self.rank.filter(|_| both.into_iter().all(is_file) || !is_file(basis));
        BasisContext { rank, ..context }
    }

    fn slice(&self, linear: &Linearization<'_>, chosen: [&[Place]; 2], output: &Output<'_>) -> Result<(), Failure> {
        let (run, model) = (linear.run(), linear.run().model());
        let [from, to] = chosen.map(|places| Some(places).filter(|places| !places.is_empty()));
        let pairs = PlacePairs::new(run, from, to)?;
        let position = from_end("position", self.observable.position, run.tokens().len())?;
        let observables: Vec<Observable> = self.observable.given(model, run.tokens())?.into_iter().collect();
        let others = self.others(model)?;
        let source = Basis::parse(&self.basis, model)?;
        let readout = self.readout.as_ref().map_or(Ok(source.clone()), |text| Basis::parse(text, model))?;
        let context = BasisContext { observables: &observables, others: &others, position: Some(position), rank: None };
        let contexts = [&source, &readout].map(|basis| self.ranked(basis, [&source, &readout], context));
        let slice = self.averaged(Slice::new(linear, pairs, [&source, &readout], contexts)?)?;
        let mut steps = Steps::new("parts of the slice", 0);
        let mut show = |done, all| steps.show(done, all);
        let Some(path) = output.stream() else {
            let sliced = slice.compute(&mut show)?;
            return output.finish(&sliced.result, || self.text(&slice, &sliced, run));
        };
        if output.wants_arrays() {
            slice.fits_in_memory()?;
        }
        let sliced = slice.write(path, self.fresh, &mut show)?;
        if sliced.resumed > 0 {
            say(format_args!("resumed an interrupted run: {} parts were complete", sliced.resumed));
        }
        output.finish_streamed(path, &sliced.result, || self.text(&slice, &sliced, run))
    }

    /// Formats a slice: what was computed, the errors of secants, and the checks.
    fn text(&self, slice: &Slice<'_>, sliced: &Sliced, run: &Run) -> String {
        let title = self.title(slice, &sliced.strongest, run);
        format!("{title}{}{}", secants(&sliced.result), checks(&sliced.result))
    }

    /// Returns the slice, of the secant operator with --nodes.
    fn averaged<'s>(&self, slice: Slice<'s>) -> Result<Slice<'s>, Failure> {
        Ok(if self.nodes > 0 { slice.secants(self.nodes, self.amplitude)? } else { slice })
    }

    /// Returns the options of --svd.
    fn rsvd(&self) -> Result<RsvdOptions, Failure> {
        if !self.tolerance.is_finite() || self.tolerance < 0.0 {
            return Err(format!("invalid --tolerance {}: expected a finite number >= 0", self.tolerance).into());
        }
        Ok(RsvdOptions {
            rank: self.rank.unwrap_or(resolvent::field::RANK),
            oversampling: self.oversampling,
            power: self.power,
            tolerance: self.tolerance,
            seed: self.seed,
            ..RsvdOptions::default()
        })
    }

    /// Formats singular values with their errors.
    fn spectrum_text(&self, result: &Labelled, triplets: &[Reading], run: &Run) -> String {
        let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
        let route = result.fact("svd_route");
        let mut text = format!(
            "singular values of G, {} to {} places ({route}); |G - U S V'| <= {:.3}\n",
            of("svd_from").len() / 2,
            of("svd_to").len() / 2,
            of("svd_bound")[0]
        );
        let each = of("svd_residual").chunks(2).zip(of("svd_range").chunks(2)).zip(triplets);
        for ((residual, range), reading) in each {
            let error = f64::from(residual[0].max(residual[1]));
            let decimals = certain_decimals(error);
            let value = format!("{:.decimals$}", reading.value);
            let line = line(reading, &value, run);
            let high = rounded_up(f64::from(range[1]), decimals.min(4));
            let _infallible = writeln!(text, "{line}  +- {error:.0e}, at most {high}");
        }
        format!("{text}{}", checks(result))
    }

    fn others(&self, model: &Model) -> Result<Vec<Run>, Failure> {
        let texts = self.donor.iter().map(|text| tokens(model, Some(text), None));
        let ids = self.donor_tokens.iter().map(|ids| tokens(model, None, Some(ids)));
        let prompts: Result<Vec<Vec<u32>>, Failure> = texts.chain(ids).collect();
        Ok(distinct(prompts?).iter().map(|tokens| self.edits.run(model, tokens)).collect::<Result<_, _>>()?)
    }

    /// Formats a line on what was computed, and the strongest pairs.
    fn title(&self, slice: &Slice<'_>, strongest: &[Reading], run: &Run) -> String {
        let [m, k] = slice.shape();
        let readout = self.readout.as_ref().unwrap_or(&self.basis);
        let (pairs, pass) = (slice.pairs().len(), slice.chosen_pass().name());
        let (readout, basis) = (visible(readout), visible(&self.basis));
        let secants = match self.nodes {
            0 => String::new(),
            nodes => format!(", secants of {nodes} nodes to sources of {} |h|", self.amplitude),
        };
        let noun = if pairs == 1 { "pair" } else { "pairs" };
        let mut text = format!("{pairs} {noun}, {m} x {k}, {readout} <- {basis}, {pass}{secants}\n");
        for (along, title) in [(true, "strongest along a token"), (false, "strongest between tokens")] {
            let mut readings = strongest.iter().filter(|r| (r.from.1 == r.to.1) == along).peekable();
            if readings.peek().is_some() {
                let _infallible = writeln!(text, "\n{title}");
            }
            for reading in readings {
                let value = format!("{:.4}", reading.value);
                let _infallible = writeln!(text, "{}", line(reading, &value, run));
            }
        }
        text
    }
}

/// Formats the errors of secant blocks; returns nothing for tangent ones.
fn secants(result: &Labelled) -> String {
    let median = |name: &str| result.metadata.get(&format!("median.{name}"));
    let of = [median("first_error"), median("secant_error"), median("secant_bar")];
    let [Some(first), Some(secant), Some(bar)] = of else { return String::new() };
    format!(
        "\nmedian distance from finite responses\n{:<28} {first}\n{:<28} {secant}\n{:<28} {bar}\n",
        "  of first order", "  of the secants", "error bar of the secants"
    )
}

/// Returns the number of certain decimals: half a unit of the last one is at least `error`.
fn certain_decimals(error: f64) -> usize {
    (-(2.0 * error).log10()).floor().clamp(0.0, 6.0) as usize
}

/// Formats an upper bound, rounded up.
fn rounded_up(bound: f64, decimals: usize) -> String {
    let unit = 10f64.powi(decimals as i32);
    format!("{:.decimals$}", (bound * unit).ceil() / unit)
}

/// Formats one singular triplet with its tokens.
fn line(reading: &Reading, value: &str, run: &Run) -> String {
    let at = |(level, token): Place| format!("h[{level},{token}] {}", shown(&label(run, token)));
    let named = |tokens: &[(u32, f32)]| {
        let name =
            |&(id, _): &(u32, f32)| run.model().tokenizer().map_or_else(|| format!("#{id}"), |t| shown(&t.token(id)));
        tokens.iter().take(3).map(name).collect::<Vec<_>>().join(" ")
    };
    let rank = reading.effective_rank.map_or_else(String::new, |rank| format!("  rank {rank:>4.1}"));
    format!(
        "{:>18} <- {:<18} {value:>9}{rank}  reads {:<24} writes {}",
        at(reading.to),
        at(reading.from),
        named(&reading.reads),
        named(&reading.writes)
    )
}

/// Returns a token's text with visible blanks.
fn shown(text: &str) -> String {
    visible(&text.replace(' ', "·")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_digits_than_are_known() {
        for (error, decimals) in [(2e-5, 4), (6e-5, 3), (0.04, 1), (0.3, 0), (40.0, 0), (0.0, 6), (f64::NAN, 0)] {
            assert_eq!(certain_decimals(error), decimals, "{error}");
        }
        assert_eq!(rounded_up(4.200_01, 4), "4.2001");
        assert_eq!(rounded_up(4.21, 1), "4.3");
    }
}
