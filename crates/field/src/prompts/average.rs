//! Averages over prompts of arrays with an axis `token`: aligned from the end, and by roles of tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::labelled::Array;

use super::bootstrap::{means, named};

/// The role of tokens of each prompt.
type Roles = [BTreeMap<String, Range<usize>>];

/// Axes along which an average over prompts says little, and has many elements.
pub(crate) const WIDE: [&str; 2] = ["d", "vocab"];

/// Returns the averages of an array of all prompts; none if it has a wide axis, or if axes other than `token` differ.
pub(super) fn averages(all: &[&Array], roles: &Roles, seed: u64) -> Vec<Array> {
    let axes = &all[0].axes;
    let token = axes.iter().position(|axis| axis.0 == "token");
    let differs = |i: &usize| Some(*i) != token && all.iter().any(|a| a.axes[*i].1 != axes[*i].1);
    if axes.iter().any(|axis| WIDE.contains(&axis.0)) || (0..axes.len()).any(|i| differs(&i)) {
        return Vec::new();
    }
    let Some(token) = token else {
        let rows: Vec<Vec<f32>> = all.iter().map(|a| a.data.clone()).collect();
        return named(all[0].name, ["mean", "low", "high"], axes, means(&rows, seed)).into();
    };
    let most = all.iter().map(|a| a.axes[token].1).max().unwrap_or(0);
    let aligned: Vec<Vec<f32>> = all.iter().map(|a| from_end(a, token, most)).collect();
    let mut of_tokens = axes.clone();
    of_tokens[token].1 = most;
    let mut averages: Vec<Array> =
        named(all[0].name, ["mean", "low", "high"], &of_tokens, means(&aligned, seed)).into();
    let names: BTreeSet<&String> = roles.iter().flat_map(BTreeMap::keys).collect();
    if !names.is_empty() {
        let by_role = |(array, roles): (&&Array, &BTreeMap<String, Range<usize>>)| -> Vec<f32> {
            names.iter().flat_map(|name| over_tokens(array, token, roles.get(*name))).collect()
        };
        let rows: Vec<Vec<f32>> = all.iter().zip(roles).map(by_role).collect();
        let rest = axes.iter().enumerate().filter(|(i, _)| *i != token).map(|(_, axis)| *axis);
        let axes: Vec<_> = [("role", names.len())].into_iter().chain(rest).collect();
        averages.extend(named(all[0].name, ["role", "role_low", "role_high"], &axes, means(&rows, seed)));
    }
    averages
}

/// Returns the lengths of an array before, on and after the axis `token`.
fn around(array: &Array, token: usize) -> [usize; 3] {
    let length = |axes: &[(&str, usize)]| axes.iter().map(|axis| axis.1).product();
    [length(&array.axes[..token]), array.axes[token].1, length(&array.axes[token + 1..])]
}

/// Returns the array with `most` tokens, of which the last ones are its own and the others NaN.
pub(crate) fn from_end(array: &Array, token: usize, most: usize) -> Vec<f32> {
    let [outer, tokens, inner] = around(array, token);
    let mut aligned = vec![f32::NAN; outer * most * inner];
    for i in 0..outer {
        let from = (i * most + most - tokens) * inner;
        aligned[from..from + tokens * inner].copy_from_slice(&array.data[i * tokens * inner..][..tokens * inner]);
    }
    aligned
}

/// Returns the means over the tokens of a role; NaN if the prompt lacks the role.
pub(crate) fn over_tokens(array: &Array, token: usize, role: Option<&Range<usize>>) -> Vec<f32> {
    let [outer, tokens, inner] = around(array, token);
    let role = role.filter(|role| role.end <= tokens && !role.is_empty());
    let mean = |i: usize| {
        let role = role?;
        let at = |t: usize| f64::from(array.data[((i / inner) * tokens + t) * inner + i % inner]);
        Some((role.clone().map(at).sum::<f64>() / role.len() as f64) as f32)
    };
    (0..outer * inner).map(|i| mean(i).unwrap_or(f32::NAN)).collect()
}
