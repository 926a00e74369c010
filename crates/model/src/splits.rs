//! How many rows fit one batch, and the sequences of each.

use crate::batch::Sequence;
use crate::model::Model;

/// Returns the most rows of a batch that fit the device's bindings and its memory for a batch.
///
/// `stored` is the number of elements that a row stores to the end, besides what is alive while a block is computed.
pub(crate) fn most_rows(model: &Model, stored: usize) -> usize {
    let (device, architecture) = (model.device(), model.architecture());
    let widest = architecture.hidden_width().max(model.sizes().qkv_width());
    let by_binding = (device.info().max_binding / (4 * widest as u64)) as usize;
    let by_memory = device.batch_bytes() as usize / (4 * (architecture.alive_elements() + stored));
    // The grid of attention has one workgroup for each row.
    by_binding.min(by_memory).clamp(1, resolvent_engine::MAX_GROUPS as usize)
}

/// Splits sequences into batches whose rows fit, where a row stores `vectors` vectors of width d to the end.
pub(crate) fn groups(model: &Model, vectors: usize, sequences: Vec<Sequence>) -> Vec<Vec<Sequence>> {
    split(most_rows(model, vectors * model.sizes().d), sequences)
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
