//! How many rows fit one batch, and the sequences of each.

use crate::batch::Sequence;
use crate::model::Model;

/// Returns the most rows of a batch that fit the device's bindings and its memory for a batch.
///
/// `extra` is how many vectors of width d a row stores to the end, besides what is alive while a block is computed.
pub(crate) fn most_rows(model: &Model, extra: usize) -> usize {
    let (device, config) = (model.device(), model.config());
    let (d, inner) = (config.n_embd, config.n_inner());
    let widest = inner.max(3 * d);
    let by_binding = (device.info().max_binding / (4 * widest as u64)) as usize;
    let by_memory = device.batch_bytes() as usize / (4 * (2 * inner + (8 + extra) * d));
    // The grid of attention has one workgroup for each row.
    by_binding.min(by_memory).clamp(1, resolvent_engine::MAX_GROUPS as usize)
}

/// Splits sequences into batches of at most [`most_rows`] rows.
pub(crate) fn groups(model: &Model, extra: usize, sequences: Vec<Sequence>) -> Vec<Vec<Sequence>> {
    split(most_rows(model, extra), sequences)
}

/// Splits sequences into batches of at most `most` rows, or of one sequence.
pub(crate) fn split(most: usize, sequences: Vec<Sequence>) -> Vec<Vec<Sequence>> {
    let mut groups: Vec<Vec<Sequence>> = Vec::new();
    let mut rows = usize::MAX;
    for sequence in sequences {
        if rows.saturating_add(sequence.span.rows()) > most {
            groups.push(Vec::new());
            rows = 0;
        }
        rows += sequence.span.rows();
        if let Some(group) = groups.last_mut() {
            group.push(sequence);
        }
    }
    groups
}

/// Splits items into parts whose `cost` is at most `most` together, or of one item.
pub(crate) fn split_by<T>(items: &[T], most: usize, cost: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut parts, mut from, mut sum) = (Vec::new(), 0, 0);
    for (i, item) in items.iter().enumerate() {
        let more = cost(item);
        if i > from && sum + more > most {
            parts.push(&items[from..i]);
            (from, sum) = (i, 0);
        }
        sum += more;
    }
    if from < items.len() {
        parts.push(&items[from..]);
    }
    parts
}
