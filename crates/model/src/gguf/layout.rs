//! How the rows of a stored tensor become those of Hugging Face's.

use super::arch::Arch;
use super::file::Tensor;
use super::kind::GgmlType;
use super::names::part;
use crate::error::shown;

/// The order of the stored rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// As in Hugging Face's tensor.
    Same,
    /// Rows of a head of width `head` are stored as pairs that are rotated together: row p and row p + head / 2.
    Pairs {
        /// Width of a head.
        head: usize,
    },
    /// All queries are stored first, then all keys, then all values. Hugging Face stores the three of each head
    /// together.
    Apart {
        /// Width of a head.
        head: usize,
        /// Number of heads.
        heads: usize,
    },
    /// Rows are stored as columns.
    Transposed,
}

impl Layout {
    /// Returns the stored row that is row `row` of Hugging Face's tensor. Columns of a transposed tensor are no rows.
    pub(super) fn stored_row(self, row: usize) -> usize {
        match self {
            Self::Same | Self::Transposed => row,
            Self::Pairs { head } => {
                let (first, within) = (row - row % head, row % head);
                first + within % (head / 2) * 2 + within / (head / 2)
            }
            Self::Apart { head, heads } => {
                let (which, within) = (row / head, row % head);
                (which % 3 * heads + which / 3) * head + within
            }
        }
    }
}

/// A tensor under its Hugging Face name.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Which part of a split file has it.
    pub(super) part: usize,
    pub(super) kind: GgmlType,
    /// Byte range from the start of the file.
    pub(super) bytes: std::ops::Range<usize>,
    /// The shape in Hugging Face's order.
    pub(super) shape: Vec<usize>,
    pub(super) layout: Layout,
    /// Whether 1 + w is stored instead of w.
    pub(super) plus_one: bool,
}

impl Entry {
    /// Describes a stored tensor. `heads` are the numbers of query heads and of key heads.
    pub(super) fn new(arch: Arch, part: usize, stored: &Tensor, heads: (usize, usize)) -> Result<Self, String> {
        let mut shape: Vec<usize> = stored.dims.iter().rev().copied().collect();
        let layout = layout(arch, stored, &shape, heads)?;
        if layout == Layout::Transposed {
            shape.reverse();
        }
        let plus_one = arch.is_gemma() && stored.name.ends_with("norm.weight");
        Ok(Self { part, kind: stored.kind, bytes: stored.bytes.clone(), shape, layout, plus_one })
    }

    /// Returns the number of elements of a row: the product of all dimensions but the first.
    pub(super) fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }
}

fn layout(arch: Arch, stored: &Tensor, shape: &[usize], (heads, kv_heads): (usize, usize)) -> Result<Layout, String> {
    let rows = shape.first().copied().unwrap_or(0);
    let width = |parts: usize| match rows.is_multiple_of(parts) {
        true => Ok(rows / parts),
        false => Err(format!(
            "tensor `{}` has {rows} rows, which {parts} does not divide; convert the model again",
            shown(&stored.name)
        )),
    };
    match (arch, part(&stored.name)) {
        (arch, Some(name @ ("attn_q" | "attn_k"))) if arch.has_pairs() => {
            let head = width(if name == "attn_q" { heads } else { kv_heads })?;
            match head % 2 {
                0 => Ok(Layout::Pairs { head }),
                _ => Err(format!(
                    "tensor `{}` has heads of odd width {head}; convert the model again",
                    shown(&stored.name)
                )),
            }
        }
        (Arch::GptNeox, Some("attn_qkv")) => {
            let parts = heads
                .checked_mul(3)
                .ok_or_else(|| format!("`gptneox.attention.head_count` is {heads}; convert the model again"))?;
            Ok(Layout::Apart { head: width(parts)?, heads })
        }
        (Arch::Gpt2, Some("attn_qkv" | "attn_output" | "ffn_up" | "ffn_down")) if shape.len() == 2 => {
            Ok(Layout::Transposed)
        }
        _ => Ok(Layout::Same),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_rows_are_a_permutation() {
        // Two heads of width 4: rows 0 and 2 of a head are the first pair.
        let pairs: Vec<usize> = (0..8).map(|row| Layout::Pairs { head: 4 }.stored_row(row)).collect();
        assert_eq!(pairs, [0, 2, 1, 3, 4, 6, 5, 7]);
        // Two heads of width 2: q0 k0 v0 q1 k1 v1, stored as q0 q1 k0 k1 v0 v1.
        let apart: Vec<usize> = (0..12).map(|row| Layout::Apart { head: 2, heads: 2 }.stored_row(row)).collect();
        assert_eq!(apart, [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]);
    }
}
