//! Sums of cotangents.

use resolvent_engine::{Recording, Result, Tensor};

use crate::add::add;

/// Adds to each cotangent what was accumulated for its input so far, if anything was.
pub(crate) fn accumulate(rec: &mut Recording, bars: Vec<Tensor>, so_far: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
    let onto = |(bar, so_far): (Tensor, &Option<Tensor>)| match so_far {
        Some(other) => add(rec, other, &bar),
        None => Ok(bar),
    };
    debug_assert_eq!(bars.len(), so_far.len(), "an op returns a cotangent for each of its inputs");
    bars.into_iter().zip(so_far).map(onto).collect()
}
