//! Orders of tangent passes.

/// Order of a tangent pass: tangents, or jets whose two orders are interleaved rows.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    First,
    Second,
}

impl Order {
    /// Returns how many rows a tensor has for each batch row.
    pub(crate) fn rows(self) -> usize {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }

    /// Separates the orders of `data`, whose rows of `d` elements are interleaved.
    pub(crate) fn split(self, data: Vec<f32>, d: usize) -> Vec<Vec<f32>> {
        match self {
            Self::First => vec![data],
            Self::Second => {
                [0, 1].map(|order| data.chunks(d).skip(order).step_by(2).flatten().copied().collect()).into()
            }
        }
    }
}
