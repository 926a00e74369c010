//! Ministral: Mistral, whose layers with a window `layer_types` may list.

use super::Family;
use super::llama::mistral;

pub(super) const FAMILY: Family = Family {
    model_types: &["ministral"],
    classes: &["MinistralForCausalLM"],
    read: |fields| mistral("ministral", fields),
};
