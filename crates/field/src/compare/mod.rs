//! Statistics of results of many prompts that need not fit into memory: of one set, and of two sets paired by prompt.

mod set;
mod stacked;

use std::collections::BTreeMap;

use resolvent_engine::{Steps, did_you_mean};
use serde_json::json;

use crate::error::{Error, Result};
use crate::labelled::{Array, Labelled};
use crate::prompts::{Places, Selected, columns};
use crate::read::interned;
use crate::stats::{LEAST, benjamini_hochberg, deviation, holm, mean, mean_interval, quantile, signed_rank, sorted};

pub use set::ResultSet;
use set::Survey;

/// Options of [`compare`] and [`summarise`].
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// Arrays by their names; without any, all arrays that have the same places in all prompts.
    pub arrays: Vec<String>,
    /// Differences of at most this size count as none.
    pub floor: f64,
    /// Memory for the values of several places, in bytes. More places at a time need fewer passes over the files.
    pub memory: usize,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { arrays: Vec::new(), floor: 0.0, memory: 256 << 20 }
    }
}

/// The quantiles of a summary: name and share.
const QUANTILES: [(&str, f64); 5] = [("q05", 0.05), ("q25", 0.25), ("median", 0.5), ("q75", 0.75), ("q95", 0.95)];

/// Returns statistics of the values of all prompts at each place.
///
/// `NAME.mean` has the 95 % interval `NAME.low` and `NAME.high`. `NAME.deviation` is the standard deviation. The
/// quantiles are `NAME.q05`, `.q25`, `.median`, `.q75` and `.q95`; they are exact. `NAME.prompts` says over how many
/// prompts.
///
/// Tokens are aligned from the end. If the prompts of a folder of shards name roles, `NAME.role_mean` and so on have an
/// axis `role` in place of the tokens. Of each prompt, memory has the name and the values at as many places as
/// [`CompareOptions::memory`] allows.
///
/// # Errors
/// Files that cannot be read, an array that does not exist, or a stop.
pub fn summarise(set: &ResultSet, options: &CompareOptions) -> Result<Labelled> {
    let survey = set.survey()?;
    let count = survey.keys.len();
    let every: Vec<Option<usize>> = (0..count).map(Some).collect();
    let roles: Vec<String> = survey.roles.iter().cloned().collect();
    let mut result = described("summary", &survey, &roles).note("prompts", count.to_string());
    let found: Vec<Places> = survey.places().cloned().collect();
    for places in with_roles(chosen(&found, options)?, &roles) {
        let mut found = Columns::new(
            ["mean", "low", "high", "deviation"].into_iter().chain(QUANTILES.map(|q| q.0)).chain(["prompts"]),
        );
        let mut steps = Steps::new("places", places.len() as u64);
        columns(&[Selected { set, index: &every }], count, &places, options.memory, &mut |_, columns| {
            let sample: Vec<f64> = columns[0].iter().filter(|x| x.is_finite()).map(|x| f64::from(*x)).collect();
            let (interval, ordered) = (mean_interval(&sample), sorted(&sample));
            let ends = [interval.estimate, interval.low, interval.high, deviation(&sample)];
            found.add(ends.into_iter().chain(QUANTILES.map(|q| quantile(&ordered, q.1))).chain([sample.len() as f64]));
            steps.advance(1);
        })?;
        result = found.into(result, &places);
    }
    Ok(result)
}

/// Compares two sets of results, paired by the names of their prompts: B - A at each place.
///
/// `NAME.difference` is the mean over pairs, with its 95 % interval `NAME.low` and `NAME.high`. `NAME.p` is the
/// two-sided p value of Wilcoxon's signed-rank test. `NAME.p_holm` and `NAME.p_bh` are corrected over all places of the
/// array, by Holm and by Benjamini and Hochberg. `NAME.pairs` says over how many pairs, and `NAME.mean_a` and
/// `NAME.mean_b` are the means of the sets over these pairs. With fewer than eight pairs there are neither intervals
/// nor tests; a place without a difference has no test.
///
/// Tokens are aligned from the end, so that models with other tokenizers can be compared. If prompts of two folders of
/// shards name the same roles, `NAME.role_difference` and so on have an axis `role` in place of the tokens. Memory is
/// as for [`summarise`].
///
/// # Errors
/// Files that cannot be read, no prompt in both sets, no array in both sets, or a stop.
pub fn compare(a: &ResultSet, b: &ResultSet, options: &CompareOptions) -> Result<Labelled> {
    if !(options.floor >= 0.0 && options.floor.is_finite()) {
        return Err(Error::Input(format!("a floor of {}; give a number of 0 or more", options.floor)));
    }
    let (of_a, of_b) = (a.survey()?, b.survey()?);
    let place_in_b: BTreeMap<&[u8; 16], usize> = of_b.keys.iter().enumerate().map(|(i, key)| (key, i)).collect();
    let (mut in_a, mut in_b) = (vec![None; of_a.keys.len()], vec![None; of_b.keys.len()]);
    let (mut pairs, mut other_tokens, mut by_line) = (0, 0, 0);
    for (i, key) in of_a.keys.iter().enumerate() {
        if let Some(&j) = place_in_b.get(key) {
            (in_a[i], in_b[j]) = (Some(pairs), Some(pairs));
            other_tokens += usize::from(of_a.tokens[i] != of_b.tokens[j]);
            by_line += usize::from(of_a.is_line[i]);
            pairs += 1;
        }
    }
    if pairs == 0 {
        let [a, b] = [a, b].map(|set| set.path.display());
        return Err(Error::Input(format!(
            "{a} and {b} have no prompt with the same name; compare results of one prompt set"
        )));
    }
    let roles: Vec<String> = of_a.roles.intersection(&of_b.roles).cloned().collect();
    let mut result = of_both(&of_a, &of_b, &roles);
    result = result.note("a", a.path.display().to_string()).note("b", b.path.display().to_string());
    for (key, count) in [
        ("prompts", pairs),
        ("only_in_a", of_a.keys.len() - pairs),
        ("only_in_b", of_b.keys.len() - pairs),
        ("other_tokens", other_tokens),
        ("by_line", by_line),
    ] {
        result = result.note(key, count.to_string());
    }
    let floor = options.floor;
    result = result
        .note("floor", floor.to_string())
        .note("test", "Wilcoxon's signed-rank test, two-sided, of B - A by prompt");
    let shared = shared(&of_a, &of_b, options)?;
    let sets = [Selected { set: a, index: &in_a }, Selected { set: b, index: &in_b }];
    for places in with_roles(chosen(&shared, options)?, &roles) {
        let names = ["difference", "low", "high", "p", "p_holm", "p_bh", "pairs", "mean_a", "mean_b"];
        let mut found = Columns::new(names.into_iter());
        let mut steps = Steps::new("places", places.len() as u64);
        columns(&sets, pairs, &places, options.memory, &mut |_, columns| {
            let both = columns[0].iter().zip(columns[1]).filter(|(a, b)| a.is_finite() && b.is_finite());
            let (a, b): (Vec<f64>, Vec<f64>) = both.map(|(a, b)| (f64::from(*a), f64::from(*b))).unzip();
            let size = |d: f64| if d.abs() <= floor { 0.0 } else { d };
            let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| size(b - a)).collect();
            let interval = mean_interval(&differences);
            let p = if differences.len() < LEAST { f64::NAN } else { signed_rank(&differences) };
            // The corrections need the p values of all places.
            let numbers = [interval.estimate, interval.low, interval.high, p, p, p, a.len() as f64, mean(&a), mean(&b)];
            found.add(numbers.into_iter());
            steps.advance(1);
        })?;
        found.arrays[4].1 = holm(&found.arrays[3].1);
        found.arrays[5].1 = benjamini_hochberg(&found.arrays[3].1);
        result = found.into(result, &places);
    }
    Ok(result)
}

/// Returns the arrays of both sets that have the same axes, with the most tokens of both.
///
/// # Errors
/// There are none, or one that was asked for has other axes in B.
fn shared(a: &Survey, b: &Survey, options: &CompareOptions) -> Result<Vec<Places>> {
    let (mut shared, mut other) = (Vec::new(), None);
    for places in a.places() {
        let Some(found) = b.places().find(|found| found.name == places.name) else { continue };
        let same = |(a, b): (&(&str, usize), &(&str, usize))| a.0 == b.0 && (a.0 == "token" || a.1 == b.1);
        if places.axes.len() == found.axes.len() && places.axes.iter().zip(&found.axes).all(same) {
            let most = |(a, b): (&(&'static str, usize), &(&str, usize))| (a.0, a.1.max(b.1));
            let axes = places.axes.iter().zip(&found.axes).map(most).collect();
            shared.push(Places { axes, ..places.clone() });
        } else if options.arrays.is_empty() || options.arrays.iter().any(|name| name == places.name) {
            let [in_a, in_b] = [places, found].map(|places| {
                let axes: Vec<String> = places.axes.iter().map(|(name, n)| format!("{name}={n}")).collect();
                axes.join(", ")
            });
            let fix = "compare models of one shape, or choose other --arrays";
            other = other.or(Some(format!("`{}` is [{in_a}] in A and [{in_b}] in B; {fix}", places.name)));
        }
    }
    match other {
        Some(other) if shared.is_empty() || !options.arrays.is_empty() => Err(Error::Input(other)),
        None if shared.is_empty() => {
            Err(Error::Input("no array of one set is in the other; compare results of one analysis".to_owned()))
        }
        _ => Ok(shared),
    }
}

/// Returns the arrays that were asked for, or all.
fn chosen(found: &[Places], options: &CompareOptions) -> Result<Vec<Places>> {
    if options.arrays.is_empty() {
        return Ok(found.to_vec());
    }
    let names: Vec<&str> = found.iter().map(|places| places.name).collect();
    let one = |name: &String| {
        let place = found.iter().find(|places| places.name == name);
        let meant = || did_you_mean(name, names.iter().copied());
        place
            .cloned()
            .ok_or_else(|| Error::Input(format!("no array `{name}`; there are {}{}", names.join(", "), meant())))
    };
    options.arrays.iter().map(one).collect()
}

/// Returns the places of each array from the end and, after them, those by role.
fn with_roles(arrays: Vec<Places>, roles: &[String]) -> Vec<Places> {
    let both = |places: Places| {
        let has = !roles.is_empty() && places.axes.iter().any(|axis| axis.0 == "token");
        let by_role = has.then(|| Places { roles: roles.to_vec(), ..places.clone() });
        [Some(places), by_role].into_iter().flatten()
    };
    arrays.into_iter().flat_map(both).collect()
}

/// Returns a result without arrays that describes A, and B where it differs.
fn of_both(a: &Survey, b: &Survey, roles: &[String]) -> Labelled {
    let mut result = described("compare", a, roles);
    for (key, value) in described("compare", b, roles).metadata {
        if result.metadata.get(&key) != Some(&value) {
            result.metadata.insert(format!("b.{key}"), value);
        }
    }
    result
}

/// Returns a result without arrays, with what all prompts of a set have in common and the roles of its places.
fn described(analysis: &str, survey: &Survey, roles: &[String]) -> Labelled {
    const COMMON: [&str; 9] =
        ["model", "model_hash", "executor", "adapter", "driver", "weights", "inputs", "version", "direction"];
    let mut result = Labelled::default().note("analysis", analysis);
    for (key, value) in survey.facts.iter().filter(|(key, _)| COMMON.contains(&key.as_str())) {
        result.metadata.insert(key.clone(), value.clone());
    }
    if let Some(of) = survey.facts.get("analysis") {
        result.metadata.insert("of".to_owned(), of.clone());
    }
    if !roles.is_empty() {
        result.metadata.insert("roles".to_owned(), json!(roles).to_string());
    }
    result.note("intervals", format!("95 % by Student's distribution over prompts; NaN below {LEAST} prompts"))
}

/// Numbers for each place, by name.
struct Columns {
    arrays: Vec<(&'static str, Vec<f64>)>,
}

impl Columns {
    fn new(names: impl Iterator<Item = &'static str>) -> Self {
        Self { arrays: names.map(|name| (name, Vec::new())).collect() }
    }

    /// Adds the numbers of the next place.
    fn add(&mut self, numbers: impl Iterator<Item = f64>) {
        self.arrays.iter_mut().zip(numbers).for_each(|((_, column), number)| column.push(number));
    }

    /// Adds the columns to a result as arrays.
    fn into(self, result: Labelled, places: &Places) -> Labelled {
        let (prefix, axes) = (if places.roles.is_empty() { "" } else { "role_" }, places.shape());
        self.arrays.into_iter().fold(result, |result, (name, column)| {
            let name = interned(&format!("{}.{prefix}{name}", places.name));
            let Array { name, axes, data } =
                Array { name, axes: axes.clone(), data: column.into_iter().map(|x| x as f32).collect() };
            result.with(name, &axes, data)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_describe_both_sets_and_their_common_roles() {
        let of = |facts: &[(&str, &str)], roles: &[&str]| Survey {
            facts: facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Survey::default()
        };
        let a = of(&[("analysis", "patch"), ("model", "x"), ("version", "1")], &["changed", "subject"]);
        let b = of(&[("analysis", "patch"), ("model", "y"), ("version", "1"), ("direction", "random:0")], &["subject"]);
        let found = of_both(&a, &b, &["subject".to_owned()]).metadata;
        let fact = |key: &str| found.get(key).map(String::as_str);
        assert_eq!((fact("analysis"), fact("of"), fact("b.of")), (Some("compare"), Some("patch"), None));
        assert_eq!((fact("model"), fact("b.model")), (Some("x"), Some("y")));
        // What B alone has is no less a difference.
        assert_eq!((fact("b.direction"), fact("b.version"), fact("b.analysis")), (Some("random:0"), None, None));
        // The axis `role` has these names.
        assert_eq!((fact("roles"), fact("b.roles")), (Some("[\"subject\"]"), None));
    }
}
