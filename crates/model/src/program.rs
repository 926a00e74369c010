//! The model as a straight list of operations. Forward, tangent and backward passes go through this list.

use std::collections::BTreeSet;
use std::sync::Arc;

use resolvent_ops::add::Add;
use resolvent_ops::attention::Attention;
use resolvent_ops::matmul::Matmul;
use resolvent_ops::mlp::Mlp;
use resolvent_ops::{Frozen, Op};

use crate::config::{Activation, Config};
use crate::site::Site;
use crate::weights::{Block, Weights};

/// Index of a value of the list: 0 is h\[0\], and every operation computes the next value.
pub(crate) type ValueId = usize;

/// One operation: the values that it reads, and the value `output` that it computes.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) op: Arc<dyn Op>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) output: ValueId,
    /// Name of the operation in labels, such as `blocks.3.ln_1`.
    pub(crate) scope: String,
}

/// The list of operations, and the value of each site.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) nodes: Vec<Node>,
    /// The values h\[0\] to h\[L\].
    pub(crate) field: Vec<ValueId>,
    parts: Vec<Parts>,
    /// By value: the last node that reads it.
    last_use: Vec<usize>,
}

/// The values of one block.
#[derive(Clone, Default)]
struct Parts {
    qkv: ValueId,
    z: ValueId,
    attn_out: Option<ValueId>,
    mid: ValueId,
    mlp_out: Option<ValueId>,
}

impl Program {
    /// Returns the list for `weights`.
    ///
    /// The outputs of attention and MLP are fused into the residual add. They have values of their own only where
    /// `sites` names them.
    pub(crate) fn new(config: &Config, weights: &Weights, sites: &BTreeSet<Site>) -> Self {
        let mut program = Self { nodes: Vec::new(), field: vec![0], parts: Vec::new(), last_use: Vec::new() };
        for (l, block) in weights.blocks.iter().enumerate() {
            program.block(config, l, block, sites);
        }
        program.last_use = vec![0; program.values()];
        for (i, node) in program.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&v| program.last_use[v] = i);
        }
        program
    }

    fn push(&mut self, scope: String, op: impl Op + 'static, inputs: &[ValueId]) -> ValueId {
        let output = self.nodes.len() + 1;
        self.nodes.push(Node { op: Arc::new(op), inputs: inputs.to_vec(), output, scope });
        output
    }

    fn block(&mut self, config: &Config, l: usize, block: &Block, sites: &BTreeSet<Site>) {
        let name = |part: &str| format!("blocks.{l}.{part}");
        let pre = self.field[l];
        let mut parts = Parts::default();

        let normed = self.push(name("ln_1"), block.ln_1.clone(), &[pre]);
        parts.qkv = self.push(name("attn.qkv"), block.qkv.clone(), &[normed]);
        parts.z = self.push(name("attn"), attention(config, l), &[parts.qkv]);
        let (proj, scope) = (block.proj.clone(), name("attn.proj"));
        parts.mid = if sites.contains(&Site::AttnOut(l)) {
            let out = self.push(scope, Matmul { add: false, ..proj }, &[parts.z]);
            parts.attn_out = Some(out);
            self.push(name("resid_mid"), Add, &[pre, out])
        } else {
            self.push(scope, Matmul { add: true, ..proj }, &[parts.z, pre])
        };

        let normed = self.push(name("ln_2"), block.ln_2.clone(), &[parts.mid]);
        let mlp = |add| Mlp {
            fc: block.fc.clone(),
            proj: Matmul { add, ..block.mlp_proj.clone() },
            exact: config.activation_function == Activation::Gelu,
            frozen: false,
        };
        let post = if sites.contains(&Site::MlpOut(l)) {
            let out = self.push(name("mlp"), mlp(false), &[normed]);
            parts.mlp_out = Some(out);
            self.push(name("resid_post"), Add, &[parts.mid, out])
        } else {
            self.push(name("mlp"), mlp(true), &[normed, parts.mid])
        };
        self.field.push(post);
        self.parts.push(parts);
    }

    /// Returns the same list with the factors of `frozen` frozen in its derivatives.
    pub(crate) fn freeze(&self, frozen: Frozen) -> Self {
        let node = |node: &Node| Node { op: node.op.freeze(frozen).unwrap_or_else(|| node.op.clone()), ..node.clone() };
        Self { nodes: self.nodes.iter().map(node).collect(), ..self.clone() }
    }

    /// Returns the number of values.
    pub(crate) fn values(&self) -> usize {
        self.nodes.len() + 1
    }

    /// Returns the value that contains `site`; `None` for a fused output.
    pub(crate) fn value(&self, site: Site) -> Option<ValueId> {
        let parts = &self.parts[site.layer()];
        match site {
            Site::ResidPre(l) => Some(self.field[l]),
            Site::ResidPost(l) => Some(self.field[l + 1]),
            Site::ResidMid(_) => Some(parts.mid),
            Site::AttnOut(_) => parts.attn_out,
            Site::MlpOut(_) => parts.mlp_out,
            Site::Q(..) | Site::K(..) | Site::V(..) => Some(parts.qkv),
            Site::Z(..) => Some(parts.z),
        }
    }

    /// Returns the last value below h\[level\] whose operation mixes tokens: the output of attention in the block
    /// below.
    pub(crate) fn mixed(&self, level: usize) -> Option<ValueId> {
        Some(self.parts[level.checked_sub(1)?].z)
    }

    /// Returns the values that contain sites.
    pub(crate) fn site_values(&self) -> BTreeSet<ValueId> {
        let parts = self.parts.iter().flat_map(|p| [Some(p.qkv), Some(p.z), p.attn_out, Some(p.mid), p.mlp_out]);
        parts.flatten().chain(self.field.iter().copied()).collect()
    }

    /// Drops the inputs of node `i` that no later node reads and that are not `wanted`, so that their memory is reused.
    pub(crate) fn forget<T>(&self, i: usize, wanted: &BTreeSet<ValueId>, values: &mut [Option<T>]) {
        for &v in &self.nodes[i].inputs {
            if self.last_use[v] == i && !wanted.contains(&v) {
                values[v] = None;
            }
        }
    }

    /// Returns whether `value` is a cut point: no other value is alive once it is computed, so sequences may join
    /// there.
    pub(crate) fn is_cut_point(&self, value: ValueId) -> bool {
        self.field.contains(&value) || self.parts.iter().any(|p| p.mid == value)
    }

    /// Returns the last cut point at or before `value`: where a sequence joins whose first edit or source is at
    /// `value`.
    pub(crate) fn cut_point_before(&self, value: ValueId) -> ValueId {
        (0..=value).rev().find(|&v| self.is_cut_point(v)).unwrap_or(0)
    }
}

fn attention(config: &Config, l: usize) -> Attention {
    let d_head = config.d_head();
    Attention { heads: config.n_head, d_head, scale: config.attention_scale(l) as f32, frozen: false }
}
