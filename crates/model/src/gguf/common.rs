//! What the translations of metadata share.

use serde_json::{Map, Value};

use super::fields::Fields;

/// Facts that the tensors of a file state.
pub(super) struct Stored {
    /// Rows of the token embedding.
    pub(super) vocab: usize,
    /// Rows of the first block's `ffn_up`.
    pub(super) inner: Option<usize>,
    /// Whether the unembedding is the token embedding.
    pub(super) tied: bool,
    /// Whether queries have a bias.
    pub(super) query_bias: bool,
    /// Whether the MLP has biases.
    pub(super) mlp_bias: bool,
    /// Whether there is a norm before the MLP.
    pub(super) mlp_norm: bool,
    /// The divisors of the rotary frequencies, if there are any.
    pub(super) divisors: Option<Vec<f32>>,
}

/// Returns the entries of a JSON object.
pub(super) fn entries(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Returns a number that the file must have.
pub(super) fn needed(fields: &Fields<'_>, key: &str) -> Result<f64, String> {
    fields.number(key)?.ok_or_else(|| fields.missing(key))
}

/// Returns the share of the columns of a head that rotate.
///
/// # Errors
/// More columns rotate than there are, or an odd number.
pub(super) fn share(fields: &Fields<'_>, rotated: usize, head: usize) -> Result<f64, String> {
    let key = fields.key("rope.dimension_count");
    if rotated > head {
        return Err(format!("`{key}` is {rotated}, and a head is only {head} wide; convert the model again"));
    }
    if rotated % 2 == 1 {
        return Err(format!("`{key}` is {rotated}; columns rotate in pairs: convert the model again"));
    }
    Ok(quotient(rotated, head))
}

/// Returns `part / whole` so that its product with `whole` is not below `part`: Hugging Face rounds it down.
fn quotient(part: usize, whole: usize) -> f64 {
    let share = part as f64 / whole as f64;
    if ((share * whole as f64) as usize) < part { share.next_up() } else { share }
}

/// Returns the width of a head.
pub(super) fn head_width(fields: &Fields<'_>, width: usize, heads: usize) -> Result<usize, String> {
    let key = fields.size_or_none("attention.key_length")?;
    let head = match key {
        Some(head) => head,
        None if width.is_multiple_of(heads) => width / heads,
        None => {
            let (long, count) = (fields.key("embedding_length"), fields.key("attention.head_count"));
            return Err(format!(
                "`{long}` is {width}, which `{count}` = {heads} does not divide; convert the model again"
            ));
        }
    };
    match fields.size_or_none("attention.value_length")? {
        Some(value) if value != head => {
            let key = fields.key("attention.value_length");
            Err(format!("`{key}` is {value}, and keys have {head}; only equal widths are supported: use another model"))
        }
        _ => Ok(head),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_rotated_columns_give_their_number_back() {
        for whole in 2..=256 {
            for part in (2..=whole).step_by(2) {
                assert_eq!((quotient(part, whole) * whole as f64) as usize, part, "{part} of {whole}");
            }
        }
    }
}
