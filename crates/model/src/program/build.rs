//! Building the list of operations, block by block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use resolvent_ops::Op;
use resolvent_ops::add::Add;
use resolvent_ops::gate::{Gate, GateActivation};
use resolvent_ops::gelu::Gelu;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::mlp::Mlp;

use super::{Node, Parts, Program, ValueId};
use crate::arch::{Activation, Architecture};
use crate::head_results::SplitProjection;
use crate::norm_parts::{NormParts, norm_parts};
use crate::site::Site;
use crate::stream_norm::StreamNorm;
use crate::weights::{Block, Weights};

/// A block whose operations are appended.
struct BlockOf<'a> {
    model: &'a Architecture,
    block: &'a Block,
    l: usize,
    sites: &'a BTreeSet<Site>,
    split: Option<&'a SplitProjection>,
    /// The norms that are in parts.
    norms: &'a BTreeMap<StreamNorm, NormParts>,
}

impl BlockOf<'_> {
    fn name(&self, part: &str) -> String {
        format!("blocks.{}.{part}", self.l)
    }

    fn wants(&self, site: Site) -> bool {
        self.sites.contains(&site)
    }
}

impl Program {
    /// Returns the list for `weights`.
    ///
    /// Outputs of attention and MLP are fused into the residual add, and a GELU into its MLP. They have values of their
    /// own only where `sites` names them, or where a norm follows. The same holds for the embeddings of a model that
    /// learns positions, for parts of norms, and for what heads add, of which `splits` has the projections by block.
    pub(crate) fn new(
        model: &Architecture,
        weights: &Weights,
        sites: &BTreeSet<Site>,
        splits: &BTreeMap<usize, SplitProjection>,
    ) -> Self {
        let (nodes, parts, last_use, cut_points) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let learns_positions = model.layout.positions.is_some();
        let (field, gated, in_parts) = (vec![0], model.gated, norm_parts((model, weights), sites));
        let (head_input, final_norm, norms) = (0, weights.final_norm.clone(), BTreeMap::new());
        let mut program =
            Self { nodes, field, head_input, final_norm, norms, parts, gated, learns_positions, last_use, cut_points };
        if learns_positions && [Site::Embed, Site::PosEmbed].iter().any(|site| sites.contains(site)) {
            let parts = Self::embeddings(&model.sizes).map(|part| program.push("embed".to_owned(), part, &[0]));
            program.field[0] = program.push("embed".to_owned(), Add, &parts);
        }
        for (l, block) in weights.blocks.iter().enumerate() {
            program.block(&BlockOf { model, block, l, sites, split: splits.get(&l), norms: &in_parts });
        }
        program.head_input = program.field[weights.blocks.len()];
        if let Some(parts) = in_parts.get(&StreamNorm::Final) {
            program.head_input = program.normalized("ln_f", (StreamNorm::Final, parts), program.head_input);
            program.final_norm = Arc::new(parts.gain.clone());
        }
        program.last_use = vec![0; program.values()];
        for (i, node) in program.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&v| program.last_use[v] = i);
        }
        // Node i computes value i + 1.
        let dead_before = |value: ValueId| program.last_use[..value].iter().all(|&node| node < value);
        program.cut_points = (0..program.values()).map(dead_before).collect();
        program
    }

    fn push(&mut self, scope: String, op: impl Op + 'static, inputs: &[ValueId]) -> ValueId {
        self.push_shared(scope, Arc::new(op), inputs)
    }

    fn push_shared(&mut self, scope: String, op: Arc<dyn Op>, inputs: &[ValueId]) -> ValueId {
        let output = self.nodes.len() + 1;
        self.nodes.push(Node { op, edited: None, inputs: inputs.to_vec(), output, scope });
        output
    }

    /// Appends a norm, if the block has it.
    fn norm(&mut self, scope: String, norm: Option<&Arc<dyn Op>>, input: ValueId) -> ValueId {
        norm.map_or(input, |norm| self.push_shared(scope, norm.clone(), &[input]))
    }

    /// Appends a norm of the stream, if the block has it: in parts where sites name them.
    fn stream_norm(
        &mut self,
        (of, norm): (&BlockOf<'_>, StreamNorm),
        scope: String,
        whole: Option<&Arc<dyn Op>>,
        input: ValueId,
    ) -> ValueId {
        let Some(parts) = of.norms.get(&norm) else { return self.norm(scope, whole, input) };
        let normalized = self.normalized(&scope, (norm, parts), input);
        self.push(format!("{scope}.gain"), parts.gain.clone(), &[normalized])
    }

    /// Appends all parts of a norm but the last, and returns the normalized rows.
    fn normalized(&mut self, scope: &str, (norm, parts): (StreamNorm, &NormParts), input: ValueId) -> ValueId {
        let scaled = self.push(format!("{scope}.scale"), parts.scale, &[input]);
        let normalized = self.push(format!("{scope}.divide"), parts.divide, &[scaled]);
        self.norms.insert(norm, [scaled, normalized]);
        normalized
    }

    fn block(&mut self, of: &BlockOf<'_>) {
        let BlockOf { model, block, l, .. } = *of;
        let pre = self.field[l];
        let (qkv, z, attention) = (0, 0, block.attention);
        let [rotated, attn_out, mid, hidden, neurons, mlp_out] = [None; 6];
        let results = BTreeMap::new();
        let mut parts = Parts { qkv, rotated, z, results, attn_out, mid, hidden, neurons, mlp_out, attention };

        let normed = self.stream_norm((of, StreamNorm::Attention(l)), of.name("ln_1"), block.attn_norm.as_ref(), pre);
        parts.qkv = self.push(of.name("attn.qkv"), block.qkv.clone(), &[normed]);
        let read = self.norm(of.name("attn.qk_norm"), block.qk_norm.as_ref(), parts.qkv);
        let read = match &block.rotary {
            Some(rotary) => {
                let turned = self.push(of.name("attn.rotary"), rotary.clone(), &[read]);
                parts.rotated = Some(turned);
                turned
            }
            None => read,
        };
        parts.z = self.push(of.name("attn"), block.attention, &[read]);
        let own = block.attn_post_norm.is_some() || of.wants(Site::AttnOut(l));
        let out = self.projection(of, (!own).then_some(pre), &mut parts);
        let mid = if own {
            let out = self.norm(of.name("ln_1_post"), block.attn_post_norm.as_ref(), out);
            parts.attn_out = Some(out);
            self.push(of.name("resid_mid"), Add, &[pre, out])
        } else {
            out
        };
        parts.mid = (!model.parallel).then_some(mid);

        let input = if model.parallel { pre } else { mid };
        let read = match &block.mlp_norm {
            None if model.parallel => normed,
            norm => self.stream_norm((of, StreamNorm::Mlp(l)), of.name("ln_2"), norm.as_ref(), input),
        };
        let own = block.mlp_post_norm.is_some() || of.wants(Site::MlpOut(l));
        let post = if own {
            let out = self.mlp(of, read, None, &mut parts);
            let out = self.norm(of.name("ln_2_post"), block.mlp_post_norm.as_ref(), out);
            parts.mlp_out = Some(out);
            self.push(of.name("resid_post"), Add, &[mid, out])
        } else {
            self.mlp(of, read, Some(mid), &mut parts)
        };
        self.field.push(post);
        self.parts.push(parts);
    }

    /// Appends the output projection of attention, and adds it to `add` if that is given. Heads whose outputs have
    /// values of their own come first.
    fn projection(&mut self, of: &BlockOf<'_>, add: Option<ValueId>, parts: &mut Parts) -> ValueId {
        let mut sum = add;
        for (head, own) in of.split.iter().flat_map(|split| &split.heads) {
            let z = self.push(of.name("attn.z"), own.columns, &[parts.z]);
            let result = self.push(of.name("attn.result"), own.product.clone(), &[z]);
            parts.results.insert(*head, result);
            sum = Some(sum.map_or(result, |sum| self.push(of.name("attn.sum"), Add, &[sum, result])));
        }
        let rest = of.split.map_or(&of.block.out, |split| &split.rest);
        let out = Matmul { add: sum.is_some(), ..rest.clone() };
        let inputs: Vec<ValueId> = std::iter::once(parts.z).chain(sum).collect();
        self.push(of.name("attn.proj"), out, &inputs)
    }

    /// Appends the MLP of a block, and adds it to `add` if that is given.
    fn mlp(&mut self, of: &BlockOf<'_>, read: ValueId, add: Option<ValueId>, parts: &mut Parts) -> ValueId {
        let BlockOf { model, block, l, .. } = *of;
        let down = Matmul { add: add.is_some(), ..block.down.clone() };
        let inputs = |first: ValueId| -> Vec<ValueId> { std::iter::once(first).chain(add).collect() };
        let exact = model.activation == Activation::Gelu;
        if !model.gated && ![Site::MlpPre(l), Site::MlpPost(l)].into_iter().any(|site| of.wants(site)) {
            let up = (block.up.w.clone(), block.up.bias.clone());
            let mlp = Mlp { fc: up, proj: down, exact, frozen: false };
            return self.push(of.name("mlp"), mlp, &inputs(read));
        }
        let (hidden, n) = (self.push(of.name("mlp.up"), block.up.clone(), &[read]), model.sizes.inner);
        let neurons = match model.gated {
            true => {
                self.push(of.name("mlp.act"), Gate { n, activation: gate(model.activation), frozen: false }, &[hidden])
            }
            false => self.push(of.name("mlp.act"), Gelu { n, exact, frozen: false }, &[hidden]),
        };
        (parts.hidden, parts.neurons) = (Some(hidden), Some(neurons));
        self.push(of.name("mlp.down"), down, &inputs(neurons))
    }
}

fn gate(activation: Activation) -> GateActivation {
    match activation {
        Activation::Silu => GateActivation::Silu,
        Activation::GeluNew => GateActivation::GeluTanh,
        Activation::Gelu => GateActivation::GeluErf,
    }
}
