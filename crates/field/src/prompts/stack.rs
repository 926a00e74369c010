//! Results of several prompts as one result.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use resolvent_model::PromptCase;
use serde_json::json;

use crate::certificate::merge;
use crate::error::{Error, Result};
use crate::labelled::{Array, Labelled};
use crate::site_kind::SiteKind;
use crate::stats::Pairs;
use crate::study::left_out::{self, LeftOut};

use super::{average, bootstrap};

/// Seed of the resamples.
const SEED: u64 = 0;

/// Results of one analysis for several prompts, and the prompts that were left out.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// A result for each prompt that could be analysed.
    pub results: Vec<Labelled>,
    /// The names of their cases.
    pub names: Vec<String>,
    /// Numbers of their tokens.
    pub lengths: Vec<usize>,
    /// The roles of their tokens.
    pub roles: Vec<BTreeMap<String, Range<usize>>>,
    /// The prompts that were left out.
    pub left_out: Vec<LeftOut>,
}

/// What NaN means in an array that is padded.
const PADDING: &str = "after the end of a shorter prompt";

impl Prompts {
    pub(super) fn push(&mut self, case: &PromptCase, result: Labelled) {
        self.results.push(result);
        self.names.push(case.name.clone());
        self.lengths.push(case.clean.len());
        self.roles.push(case.roles.clone());
    }

    /// Adds the results of further prompts.
    pub fn append(&mut self, more: Self) {
        let Self { results, names, lengths, roles, left_out } = more;
        self.results.extend(results);
        self.names.extend(names);
        self.lengths.extend(lengths);
        self.roles.extend(roles);
        self.left_out.extend(left_out);
    }

    /// Returns all results as one.
    ///
    /// Each array NAME gets a first axis `prompt`. If its lengths differ, it is padded with NaN at the end. `lengths
    /// [prompt]` are the numbers of tokens. `NAME.mean`, `NAME.low` and `NAME.high` are means over prompts with 95 %
    /// intervals, aligned from the end along the axis `token`; `counts [token]` says over how many prompts. If prompts
    /// name roles, `NAME.role`, `NAME.role_low` and `NAME.role_high` have an axis `role` instead: the mean over prompts
    /// of the mean over the role's tokens. Arrays with an axis `d` or `vocab` have no means.
    ///
    /// A check is the worst of all prompts. An entry of the metadata that differs between prompts becomes a JSON list.
    /// An array that some prompts lack is left out, such as the values of an observable that only some rows have.
    ///
    /// # Errors
    /// There are no results, or their arrays do not match.
    pub fn stack(&self) -> Result<Labelled> {
        let first = self.some()?;
        let mut result = Labelled::default();
        for array in &first.arrays {
            let all = self.results.iter().map(|one| one.array(array.name)).collect::<Option<Vec<&Array>>>();
            let Some(all) = all else { continue };
            if all.iter().any(|one| one.axes.len() != array.axes.len()) {
                return Err(Error::Input(format!("the array `{}` has other axes in other prompts", array.name)));
            }
            result.arrays.push(padded(&all));
            result.arrays.extend(average::averages(&all, &self.roles, SEED));
        }
        let most = self.lengths.iter().copied().max().unwrap_or(0);
        let count = |from_end: usize| self.lengths.iter().filter(|&&n| n >= most - from_end).count() as f32;
        let lengths = self.lengths.iter().map(|&n| n as f32).collect();
        result = result.with("lengths", &[("prompt", self.results.len())], lengths).with(
            "counts",
            &[("token", most)],
            (0..most).map(count).collect(),
        );
        let mut certificates = Vec::new();
        self.results.iter().for_each(|one| merge(&mut certificates, &one.certificates));
        result = certificates.into_iter().try_fold(result, Labelled::certify)?;
        self.noted(result)
    }

    /// Returns the result of the first prompt.
    ///
    /// # Errors
    /// No prompt could be analysed.
    pub(crate) fn some(&self) -> Result<&Labelled> {
        let none = || match self.left_out.first() {
            Some(first) => Error::Input(format!("no prompt can be analysed; {first}")),
            None => Error::Input("there are no prompts".to_owned()),
        };
        self.results.first().ok_or_else(none)
    }

    /// Returns the names of the prompts that a result of [`Prompts::stack`] left out, with the reasons.
    pub fn left_out_of(stacked: &Labelled) -> Vec<(String, String)> {
        left_out::read(stacked).into_iter().map(|left_out| (left_out.what, left_out.reason)).collect()
    }

    /// Returns the means over prompts of a result of [`Prompts::stack`], as the result of one prompt: each array
    /// `NAME.mean` as NAME. The last token of the axis `token` is the last token of every prompt.
    pub fn averaged(stacked: &Labelled) -> Labelled {
        let mut averaged = stacked.metadata_alone();
        averaged.arrays = stacked.endings("mean");
        averaged
    }

    /// Adds the metadata: those of the prompts, and what concerns all of them.
    fn noted(&self, mut result: Labelled) -> Result<Labelled> {
        let keys: BTreeSet<&String> = self.results.iter().flat_map(|one| one.metadata.keys()).collect();
        for key in keys {
            let values: Vec<Option<&String>> = self.results.iter().map(|one| one.metadata.get(key)).collect();
            let text = match values.iter().all(|value| *value == values[0]) {
                true => values[0].cloned().unwrap_or_default(),
                false => json!(values).to_string(),
            };
            // Tokens of several prompts are a list even if they are the same.
            let text = if key == "tokens" { json!(values).to_string() } else { text };
            let key = if key == "tokens" { "prompt_tokens" } else { key };
            result.metadata.insert(key.to_owned(), text);
        }
        let count = |array: &Array| array.data.iter().filter(|x| !x.is_finite()).count();
        let gaps: Vec<(String, usize, usize)> = result
            .arrays
            .iter()
            .map(|a| (a.name.to_owned(), count(a), a.data.len()))
            .filter(|(_, n, _)| *n > 0)
            .collect();
        for (name, gaps, all) in gaps {
            let key = format!("not_finite.{name}");
            let known = result.metadata.remove(&key).map(|of_prompts| format!("; of the prompts: {of_prompts}"));
            let what = if name.contains('.') { "too few prompts, or " } else { "" };
            let text = format!("{gaps} of {all}: {what}{PADDING}{}", known.unwrap_or_default());
            result.metadata.insert(key, text);
        }
        let roles: BTreeSet<&String> = self.roles.iter().flat_map(BTreeMap::keys).collect();
        if !roles.is_empty() {
            result = result.note("roles", json!(roles).to_string());
        }
        Ok(left_out::write(self.with_agreements(result), &self.left_out)
            .note("prompts", self.results.len().to_string())
            .note("prompt_names", json!(self.names).to_string())
            .note("intervals", bootstrap::described(SEED)))
    }

    /// Adds how well first order agrees with the patches of all prompts, for each kind of site of a patch sweep.
    fn with_agreements(&self, mut result: Labelled) -> Labelled {
        let is_sweep = result.metadata.get("analysis").is_some_and(|analysis| analysis == "patch");
        let kinds = SiteKind::ALL.into_iter().filter(|_| is_sweep);
        for kind in kinds.filter(|kind| result.array(kind.arrays()[0]).is_some()).collect::<Vec<_>>() {
            let [effect, first_order] = kind.arrays();
            let mut pairs = Pairs::default();
            for one in &self.results {
                let of = |name| one.array(name).map_or(&[][..], |array| &array.data);
                pairs.extend(&Pairs::above(of(first_order), of(effect), one.number(crate::noise::NAME).unwrap_or(0.0)));
            }
            result = result.note(&format!("agreement.{kind}"), pairs.agreement().to_string());
        }
        result
    }
}

/// Returns arrays of all prompts as one array with a first axis `prompt`, padded with NaN.
fn padded(all: &[&Array]) -> Array {
    let axes = &all[0].axes;
    let lengths: Vec<usize> = (0..axes.len()).map(|i| all.iter().map(|a| a.axes[i].1).max().unwrap_or(0)).collect();
    let size: usize = lengths.iter().product();
    let mut data = vec![f32::NAN; all.len() * size];
    for (array, data) in all.iter().zip(data.chunks_mut(size.max(1))) {
        let of: Vec<usize> = array.axes.iter().map(|axis| axis.1).collect();
        let row = of.last().copied().unwrap_or(1).max(1);
        for (n, values) in array.data.chunks(row).enumerate() {
            // The indices of the row on all axes but the last, first in the prompt's array, then in the padded one.
            let (mut rest, mut at, mut stride) = (n, 0, lengths.last().copied().unwrap_or(1));
            for i in (0..of.len().saturating_sub(1)).rev() {
                at += rest % of[i] * stride;
                rest /= of[i];
                stride *= lengths[i];
            }
            data[at..at + values.len()].copy_from_slice(values);
        }
    }
    let axes = axes.iter().zip(lengths).map(|((name, _), length)| (*name, length));
    Array { name: all[0].name, axes: [("prompt", all.len())].into_iter().chain(axes).collect(), data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Certificate;

    /// Two prompts of 3 and 2 tokens, with a map over 2 levels.
    fn prompts(count: usize) -> Prompts {
        let mut prompts = Prompts::default();
        for i in 0..count {
            let tokens = 3 - i % 2;
            let map = (0..2 * tokens).map(|k| (100 * i + k) as f32).collect();
            let result = Labelled::default()
                .with("map", &[("level", 2), ("token", tokens)], map)
                .with("vector", &[("token", tokens), ("d", 1)], vec![1.0; tokens])
                .note("analysis", "test")
                .note("tokens", format!("{i}"))
                .note("floor", i.to_string())
                .certify(Certificate::new("same", 0.1 * i as f64, 10.0))
                .expect("passes");
            prompts.results.push(result);
            prompts.names.push(format!("line {i}"));
            prompts.lengths.push(tokens);
            prompts.roles.push([("first".to_owned(), 0..1)].into());
        }
        prompts
    }

    #[test]
    fn maps_are_padded_and_aligned_from_the_end() {
        let stacked = prompts(2).stack().expect("stacks");
        let map = stacked.array("map").expect("a map");
        assert_eq!(map.axes, [("prompt", 2), ("level", 2), ("token", 3)]);
        assert_eq!(map.data[..6], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(map.data[6..8], [100.0, 101.0]);
        assert!(map.data[8].is_nan() && map.data[11].is_nan());
        assert_eq!(map.data[9..11], [102.0, 103.0]);
        let mean = &stacked.array("map.mean").expect("means").data;
        assert_eq!(mean[..], [0.0, 50.5, 51.5, 3.0, 53.0, 54.0]);
        assert_eq!(stacked.array("counts").expect("counts").data, [1.0, 2.0, 2.0]);
        let role = stacked.array("map.role").expect("roles");
        assert_eq!((&role.axes[..], &role.data[..]), (&[("role", 1), ("level", 2)][..], &[50.0, 52.5][..]));
        assert!(stacked.array("vector.mean").is_none() && stacked.array("vector").is_some());
        assert_eq!(stacked.metadata["not_finite.map"], "2 of 12: after the end of a shorter prompt");
        assert_eq!(stacked.metadata["floor"], "[\"0\",\"1\"]");
        assert_eq!((stacked.certificates[0].value, &stacked.metadata["analysis"][..]), (0.1, "test"));
    }

    #[test]
    fn intervals_need_eight_prompts() {
        let low = |count| prompts(count).stack().expect("stacks").array("map.low").expect("ends").data.clone();
        assert!(low(7).iter().all(|x| x.is_nan()));
        let found = low(9);
        assert!(
            found[0].is_nan() && found[2].is_finite(),
            "5 of 9 prompts have the third token from the end: {found:?}"
        );
    }
}
