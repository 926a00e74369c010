//! Granite: Llama with factors of embeddings, scores, branches and logits.

use super::Family;
use super::decoder::Decoder;
use super::modules::Biases;

pub(super) const FAMILY: Family = Family {
    model_types: &["granite"],
    classes: &["GraniteForCausalLM"],
    read: |fields| {
        let bias = fields.flag("attention_bias", false)?;
        let biases = Biases { qkv: bias, out: bias, mlp: fields.flag("mlp_bias", false)? };
        let mut model = Decoder { biases, ..Decoder::llama("granite") }.read(fields)?;
        let factor = |name| fields.positive(name, fields.number(name, 1.0)?);
        model.embedding_scale = factor("embedding_multiplier")?;
        let scale = factor("attention_multiplier")?;
        model.attention.iter_mut().for_each(|plan| plan.scale = scale);
        // What a branch adds to the stream has its factor already, and so has what the unembedding reads.
        let (branch, logits) = (factor("residual_multiplier")?, factor("logits_scaling")?);
        let layout = &mut model.layout;
        let outputs = layout.blocks.iter().flat_map(|block| [&block.out.name, &block.down.name]);
        layout.factors = outputs.map(|name| (name.clone(), branch)).collect();
        layout.factors.push((layout.final_norm.name.clone(), 1.0 / logits));
        Ok(model)
    },
};
