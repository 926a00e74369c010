//! `resolvent compare` and `resolvent summary`: statistics of many prompts, of two sets of results or of one.

use std::path::PathBuf;

use resolvent::Labelled;
use resolvent::field::{Array, CompareOptions, ResultSet, compare, summarise};

use crate::Failure;
use crate::output::{OutputArgs, maps};
use crate::prompts::{from_end, role_names};
use crate::terminal::counted;

/// Which numbers.
#[derive(clap::Args)]
struct Numbers {
    /// Arrays, with commas; without it, all that have the same places in all prompts
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    arrays: Vec<String>,
    /// Largest number of places in a table
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of shards, or a .safetensors file of --prompts
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The same of other results: of another model, seed, checkpoint or observable
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Count differences of at most X as none, such as a noise floor
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    floor: f64,
    #[command(flatten)]
    numbers: Numbers,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(clap::Args)]
pub(crate) struct SummaryArgs {
    /// Folder of shards, or a .safetensors file of --prompts
    #[arg(value_name = "SET")]
    set: PathBuf,
    #[command(flatten)]
    numbers: Numbers,
    #[command(flatten)]
    output: OutputArgs,
}

/// The level of the corrected tests that the text counts.
const LEVEL: f32 = 0.05;

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let [a, b] = [&args.a, &args.b].map(|path| ResultSet::open(path));
    let options =
        CompareOptions { arrays: args.numbers.arrays.clone(), floor: args.floor, ..CompareOptions::default() };
    let result = compare(&a?, &b?, &options)?;
    let fact = |key: &str| result.fact(key);
    let drawn = renamed(&result, "difference");
    let labels = labels(&drawn);
    output.of_prompts(&drawn, &labels).finish(&result, || {
        let pairs = counted(fact("prompts"));
        let mut text =
            format!("{pairs} in both, {} only in A, {} only in B; B - A", fact("only_in_a"), fact("only_in_b"));
        if fact("other_tokens") != "0" && !result.metadata.contains_key("b.model_hash") {
            text.push_str(&format!("; {} of them have other tokens in B", fact("other_tokens")));
        }
        if fact("by_line") != "0" {
            text.push_str(&format!("; {} without labels are paired by their lines", counted(fact("by_line"))));
        }
        text.push_str("; tokens from the end\n");
        for array in result.arrays.iter().filter(|array| array.name.ends_with("difference")) {
            text.push_str(&compared(&result, array, args.numbers.top));
        }
        text.trim_end().to_owned()
    })
}

/// Formats the map of one array, how many places differ, and the places with the smallest p values.
fn compared(result: &Labelled, array: &Array, top: usize) -> String {
    let stem = array.name.trim_end_matches("difference");
    let column = |what: &str| result.array(&format!("{stem}{what}")).map_or(&[][..], |array| &array.data);
    let (name, roles) = of_stem(stem);
    let title = format!("mean difference of {name}{roles}");
    let map = alone(array);
    let mut text = format!("\n{}", maps(&labels(&map), &map, &[(array.name, &title)]));
    let [p, holm, bh] = ["p", "p_holm", "p_bh"].map(column);
    let below = |p: &[f32]| p.iter().filter(|p| **p <= LEVEL).count();
    let tested = p.iter().filter(|p| !p.is_nan()).count();
    let (by_holm, by_bh, all) = (below(holm), below(bh), p.len());
    text.push_str(&format!(
        "{name}{roles}: {tested} of {all} places are tested; {by_holm} differ by Holm, {by_bh} by Benjamini-Hochberg, at {LEVEL}\n"
    ));
    let mut order: Vec<usize> = (0..p.len()).filter(|i| !p[*i].is_nan()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]).then(array.data[j].abs().total_cmp(&array.data[i].abs())));
    order.truncate(top);
    let (places, wide) = places(array, &order, result);
    if !order.is_empty() {
        let heads = ["B - A", "low", "high", "p", "Holm", "BH", "pairs"];
        text.push_str(&format!("{:wide$}", "place"));
        heads.iter().for_each(|head| text.push_str(&format!(" {head:>10}")));
        text.push('\n');
    }
    let [low, high, pairs] = ["low", "high", "pairs"].map(column);
    for (i, place) in order.into_iter().zip(places) {
        text.push_str(&format!("{place:wide$} {:>10.4} {:>10.4} {:>10.4}", array.data[i], low[i], high[i]));
        text.push_str(&format!(" {:>10.1e} {:>10.1e} {:>10.1e} {:>10}\n", p[i], holm[i], bh[i], pairs[i]));
    }
    text
}

pub(crate) fn summary(args: &SummaryArgs) -> Result<(), Failure> {
    let output = args.output.prepare()?;
    let options = CompareOptions { arrays: args.numbers.arrays.clone(), ..CompareOptions::default() };
    let result = summarise(&ResultSet::open(&args.set)?, &options)?;
    let drawn = renamed(&result, "mean");
    let labels = labels(&drawn);
    output.of_prompts(&drawn, &labels).finish(&result, || {
        let mut text = format!("{}; tokens from the end\n", counted(result.fact("prompts")));
        for array in result.arrays.iter().filter(|array| array.name.ends_with("mean")) {
            text.push_str(&summarised(&result, array, args.numbers.top));
        }
        text.trim_end().to_owned()
    })
}

/// Formats the map of the means of one array, and the places with the largest means.
fn summarised(result: &Labelled, array: &Array, top: usize) -> String {
    let stem = array.name.trim_end_matches("mean");
    let column = |what: &str| result.array(&format!("{stem}{what}")).map_or(&[][..], |array| &array.data);
    let (name, roles) = of_stem(stem);
    let title = format!("mean of {name}{roles}");
    let map = alone(array);
    let mut text = format!("\n{}", maps(&labels(&map), &map, &[(array.name, &title)]));
    let mut order: Vec<usize> = (0..array.data.len()).filter(|i| !array.data[*i].is_nan()).collect();
    order.sort_by(|&i, &j| array.data[j].abs().total_cmp(&array.data[i].abs()));
    order.truncate(top);
    let (places, wide) = places(array, &order, result);
    let heads = ["mean", "low", "high", "deviation", "q05", "median", "q95", "prompts"];
    text.push_str(&format!("{:wide$}", "place"));
    heads.iter().for_each(|head| text.push_str(&format!(" {head:>10}")));
    text.push('\n');
    let columns = heads.map(column);
    for (i, place) in order.into_iter().zip(places) {
        text.push_str(&format!("{place:wide$}"));
        columns[..7].iter().for_each(|column| text.push_str(&format!(" {:>10.4}", column[i])));
        text.push_str(&format!(" {:>10}\n", columns[7][i]));
    }
    text
}

/// Returns the name of the array from which `NAME.` or `NAME.role_` begins others, and how to say the latter.
fn of_stem(stem: &str) -> (&str, &'static str) {
    match stem.strip_suffix(".role_") {
        Some(name) => (name, ", by role"),
        None => (stem.trim_end_matches('.'), ""),
    }
}

/// Returns the names of some places, and the width of their column.
fn places(array: &Array, order: &[usize], result: &Labelled) -> (Vec<String>, usize) {
    let places: Vec<String> = order.iter().map(|&i| place(array, i, result)).collect();
    let wide = places.iter().map(|place| place.chars().count()).max().unwrap_or(0);
    (places, wide.max("place".len()))
}

/// Returns the arrays NAME.`what` as NAME, as those of one prompt.
fn renamed(result: &Labelled, what: &str) -> Labelled {
    let mut found = Labelled::default().note("analysis", result.fact("of"));
    found.arrays = result.endings(what);
    found
}

fn alone(array: &Array) -> Labelled {
    let mut found = Labelled::default();
    found.arrays.push(array.clone());
    found
}

/// Returns the names of tokens from the end, as many as the longest axis has.
fn labels(result: &Labelled) -> Vec<String> {
    let axes = result.arrays.iter().flat_map(|array| &array.axes);
    let most = axes.filter(|axis| axis.0 == "token").map(|axis| axis.1).max().unwrap_or(0);
    from_end(most)
}

/// Returns the index on each axis, such as `level 3 token -1`; roles by their names.
fn place(array: &Array, element: usize, result: &Labelled) -> String {
    let roles = role_names(result);
    let (mut rest, mut parts) = (element, Vec::new());
    for (axis, length) in array.axes.iter().rev() {
        let i = rest % length;
        rest /= length;
        parts.push(match *axis {
            "token" => format!("token -{}", length - i),
            "role" => roles.get(i).map_or_else(|| format!("role {i}"), String::clone),
            axis => format!("{axis} {i}"),
        });
    }
    parts.reverse();
    parts.join(" ")
}
