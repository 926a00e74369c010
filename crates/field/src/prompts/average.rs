//! The values of one prompt where all prompts have values: aligned from the end along the axis `token`, and by roles of
//! tokens.

use std::ops::Range;

use crate::labelled::Array;

/// Axes along which an average over prompts says little, and has many elements.
pub(crate) const WIDE: [&str; 2] = ["d", "vocab"];

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
