//! `resolvent bench`: times kernels and whole passes, measures variants, and compares two benches.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use resolvent::Fault;
use resolvent::bench::{
    Bench, BenchOptions, Difference, Scaling, ScalingCurve, ScalingPoint, Tuned, bench, compare, scaling, tune,
};
use resolvent::model::file_text;
use resolvent_report::terminal::visible;
use resolvent_report::{Axis, Figure, Grid, Lines, Series};

use crate::Failure;
use crate::options::DeviceArgs;
use crate::progress::{add, style};
use crate::terminal::{print, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A first look: less than half a minute
    #[arg(long)]
    quick: bool,
    /// Model of the passes, as other commands take it; random-gpt2 has the shape of GPT-2 small
    #[arg(short, long, value_name = "MODEL", default_value = "random-gpt2")]
    model: String,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 16)]
    tokens: usize,
    /// Write the figures as JSON
    #[arg(short, long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Measure which text of each kernel is the fastest on this device, keep that, and time nothing else
    #[arg(long, conflicts_with_all = ["out", "quick", "compare"])]
    tune: bool,
    /// Show how two such files differ, and time nothing
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with_all = ["out", "quick"])]
    compare: Vec<PathBuf>,
    /// Measure how times grow with tokens, blocks, width, sources, prompts and edges instead, on small random models
    #[arg(long, conflicts_with_all = ["model", "tokens", "tune", "compare", "rows"])]
    scaling: bool,
    /// Of --scaling: draw the curves as SVG or PNG
    #[arg(long, value_name = "FILE", requires = "scaling")]
    plot: Option<PathBuf>,
    /// Rows of the table of kernels
    #[arg(long, value_name = "N", default_value_t = 24)]
    rows: usize,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    if let [before, after] = &args.compare[..] {
        return print(changes(&compare(&read(before)?, &read(after)?)?).trim_end());
    }
    if args.tokens == 0 {
        return Err("invalid --tokens 0: expected 1 or more".into());
    }
    if let Some(path) = &args.out {
        if path.extension().is_none_or(|ending| ending != "json") {
            return Err(format!("{}: a bench is written as .json", path.display()).into());
        }
        resolvent::field::check_writable(path)?;
    }
    let device = args.device.options()?;
    if args.scaling {
        return growth(args, &device);
    }
    if args.tune {
        let tuning = with_spinner(|report| tune(&device, report))?;
        if !tuning.all.is_empty() && !tuning.cached {
            say(format_args!(
                "not cached: there is no cache folder, or it cannot be written (RESOLVENT_CACHE names one)"
            ));
        }
        return print(candidates(&tuning.all).trim_end());
    }
    let options = BenchOptions { device, model: args.model.clone(), tokens: args.tokens, quick: args.quick };
    let timed = with_spinner(|report| bench(&options, report))?;
    write_json(args, &timed.to_json())?;
    print(table(&timed, args.rows).trim_end())
}

/// Measures how the cost of passes grows.
fn growth(args: &Args, device: &resolvent::engine::Options) -> Result<(), Failure> {
    if let Some(path) = &args.plot {
        Figure::check_path(path)?;
        resolvent::field::check_writable(path)?;
    }
    let measured = with_spinner(|report| scaling(device, args.quick, report))?;
    write_json(args, &measured.to_json())?;
    if let Some(path) = &args.plot {
        figure(&measured).write(path)?;
        say(format_args!("wrote {}", path.display()));
    }
    print(slopes(&measured).trim_end())
}

/// Writes the figures as JSON, if `--out` names a file.
fn write_json(args: &Args, figures: &serde_json::Value) -> Result<(), Failure> {
    if let Some(path) = &args.out {
        resolvent::field::write_whole(path, format!("{figures:#}\n").as_bytes())?;
        say(format_args!("wrote {}", path.display()));
    }
    Ok(())
}

/// Runs `work`, and shows its current step and a clock while it runs.
fn with_spinner<T>(work: impl FnOnce(&mut dyn FnMut(&str)) -> Result<T, Fault>) -> Result<T, Failure> {
    let bar = add(ProgressBar::new_spinner().with_style(style("{spinner} {msg}")));
    let done = work(&mut |what| bar.set_message(what.to_owned()));
    bar.finish_and_clear();
    Ok(done?)
}

/// Formats the measured variants, one line for each shader and size.
fn candidates(tuned: &[Tuned]) -> String {
    if tuned.is_empty() {
        return "each kernel of the host executor has one variant: there is nothing to choose\n".to_owned();
    }
    let mut text = format!("{:<12} {:<6} {:<13} {:<13} variants\n", "kernel", "rows", "best", "known");
    for Tuned { family, size, candidates, known, best } in tuned {
        let each = candidates.iter().map(|t| match t.is_right() {
            true => format!("{} {}", t.name, duration(t.seconds)),
            false => format!("{} WRONG by {:.1e}", t.name, t.error),
        });
        let each = each.collect::<Vec<_>>().join(", ");
        let _infallible = writeln!(text, "{:<12} {:<6} {best:<13} {known:<13} {each}", family.shader(), size.name());
    }
    text
}

fn read(path: &Path) -> Result<serde_json::Value, Failure> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: cannot be read: {e}", path.display()))?;
    let text = file_text(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(serde_json::from_str(text).map_err(|e| format!("{}: is not JSON: {e}", path.display()))?)
}

/// Formats seconds as s, ms or us.
fn duration(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        1e-3.. => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.1} us", seconds * 1e6),
    }
}

/// Formats one line for each curve: its times, and the exponents of growth of times and operations.
fn slopes(measured: &Scaling) -> String {
    let mut text = format!(
        "{}\n{:<26} {:<10} {:>6} {:>10}  {}\n",
        visible(&measured.device),
        "work",
        "over",
        "slope",
        "operations",
        "times"
    );
    for curve in &measured.curves {
        let times = curve.points.iter().map(|p| format!("{} {}", p.size, duration(p.seconds)));
        let _infallible = writeln!(
            text,
            "{:<26} {:<10} {:>6.2} {:>10.2}  {}",
            curve.name,
            curve.axis,
            curve.slope(),
            curve.slope_of_operations(),
            times.collect::<Vec<_>>().join(", ")
        );
    }
    text
}

/// Draws the curves: times, and the operations at the rate of the largest size.
fn figure(measured: &Scaling) -> Figure {
    let one = |curve: &ScalingCurve| {
        let mut plot =
            Lines::new(format!("{} over {}", curve.name, curve.axis), Axis::log(curve.axis), Axis::log("seconds"));
        plot.subtitle = format!("slope {:.2}, of operations {:.2}", curve.slope(), curve.slope_of_operations());
        plot.markers = true;
        let rate = curve.points.last().map_or(1.0, |last| last.seconds / last.flops);
        let series = |of: &dyn Fn(&ScalingPoint) -> f64| curve.points.iter().map(|p| (p.size as f64, of(p))).collect();
        plot.series.push(Series::new("measured", series(&|p| p.seconds)));
        plot.series.push(Series::new("operations, at the last rate", series(&|p| p.flops * rate)));
        Figure::from(plot)
    };
    let mut grid = Grid::new("How cost grows", measured.curves.iter().map(one).collect());
    grid.subtitle.clone_from(&measured.device);
    Figure::from(grid)
}

fn table(timed: &Bench, rows: usize) -> String {
    let mut text = format!(
        "{}\n{}: {}\n\
        peaks, measured here: {:.1} GFLOP/s of multiply-adds, {:.1} GB/s of copies\nfirst field of the embedded model: {}\n\n\
        {}, {} tokens, opened in {}\n",
        visible(&timed.device),
        if timed.executor == "host" { "products" } else { "variants" },
        timed.variants,
        timed.peaks.flops / 1e9,
        timed.peaks.bytes / 1e9,
        duration(timed.first_field),
        visible(&timed.model),
        timed.tokens,
        duration(timed.model_open)
    );
    let _infallible = writeln!(
        text,
        "{:<28} {:>10} {:>24} {:>8} {:>10} {:>9}",
        "pass", "median", "least to most", "repeats", "GFLOP", "of peak"
    );
    for p in &timed.passes {
        let range = format!("{} to {}", duration(p.low), duration(p.high));
        let share = 100.0 * p.flops / p.seconds / timed.peaks.flops;
        let _infallible = writeln!(
            text,
            "{:<28} {:>10} {range:>24} {:>8} {:>10.2} {share:>8.0}%",
            p.pass.name(),
            duration(p.seconds),
            p.repeats,
            p.flops / 1e9
        );
    }
    if !timed.left_out.is_empty() {
        let names: Vec<&str> = timed.left_out.iter().map(|p| p.name()).collect();
        let _infallible = writeln!(text, "not timed: {}; leave --quick out to time all", names.join(", "));
    }
    for warning in timed.warnings() {
        let _infallible = writeln!(text, "warning: {warning}");
    }
    if timed.kernels.is_empty() {
        text.push_str("\nthis device has no timestamps: kernels are not timed\n");
        return text;
    }
    let all: f64 = timed.kernels.iter().map(|k| k.total()).sum();
    let _infallible = writeln!(
        text,
        "\n{:<22} {:<30} {:>8} {:>10} {:>7} {:>9} {:>8} {:>9}",
        "kernel", "writes", "launches", "median", "share", "GFLOP/s", "GB/s", "roofline"
    );
    for k in timed.kernels.iter().take(rows) {
        let _infallible = writeln!(
            text,
            "{:<22} {:<30} {:>8} {:>10} {:>6.1}% {:>9.2} {:>8.2} {:>8.0}%",
            k.kernel,
            k.shape,
            k.launches,
            duration(k.seconds),
            100.0 * k.total() / all,
            k.gflops(),
            k.gbytes(),
            100.0 * k.roofline
        );
    }
    if timed.kernels.len() > rows {
        let rest: f64 = timed.kernels.iter().skip(rows).map(|k| k.total()).sum();
        let left = timed.kernels.len() - rows;
        let _infallible = writeln!(text, "{left} more, {:.1}% together (--rows)", 100.0 * rest / all);
    }
    text
}

fn changes(changes: &[Difference]) -> String {
    let mut text = format!("{:<56} {:>12} {:>12} {:>8}\n", "", "before", "after", "faster");
    for Difference { name, before, after, faster } in changes {
        let [before, after] = [before, after].map(|x| match name.starts_with("peak") {
            true => format!("{x:.1}"),
            false => duration(*x),
        });
        let _infallible = writeln!(text, "{:<56} {before:>12} {after:>12} {faster:>7.2}x", visible(name));
    }
    text
}
