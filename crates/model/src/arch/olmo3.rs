//! OLMo 3: OLMo 2 with windows in three of four layers, and a rotary embedding of their own.

use super::decoder::{Rope, slide, sliding_window, two_rotaries};
use super::{Family, Fields, olmo2};
use crate::error::Result;

/// Base of the wavelengths that the family's library has for both kinds of layers.
const THETA: f64 = 500_000.0;

pub(super) const FAMILY: Family = Family {
    model_types: &["olmo3"],
    classes: &["Olmo3ForCausalLM"],
    read: |fields| {
        let mut model = olmo2::read("olmo3", Rope::Own, fields)?;
        let window = sliding_window(fields, Some(4096))?;
        slide(&mut model, fields, window, |l| !(l + 1).is_multiple_of(4))?;
        check_theta(fields)?;
        two_rotaries(&mut model, fields, [("rope_theta", THETA), ("rope_theta", THETA)])?;
        Ok(model)
    },
};

/// Refuses another `rope_theta` in the older form: transformers gives it to the layers without a window alone.
fn check_theta(fields: &Fields<'_>) -> Result<()> {
    let sliding = fields.object("rope_parameters")?.map(|both| both.object("sliding_attention")).transpose()?.flatten();
    match fields.number_or_none("rope_theta")? {
        Some(theta) if theta != THETA && !sliding.is_some_and(|sliding| sliding.has("rope_theta")) => Err(fields
            .error(format!(
                "`rope_theta` is {theta}, which transformers gives to full attention only; state the base of each kind \
                 of layer in `rope_parameters`"
            ))),
        _ => Ok(()),
    }
}
