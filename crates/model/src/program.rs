//! The model as a straight list of operations. Forward, tangent and backward passes go through this list.

mod build;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use resolvent_engine::Result;
use resolvent_ops::attention::Attention;
use resolvent_ops::attention_edit::{EditedAttention, HeadEdits};
use resolvent_ops::columns::Columns;
use resolvent_ops::{Frozen, Op};

use crate::arch::Sizes;
use crate::points::{Part, Point};
use crate::site::Site;
use crate::stream_norm::StreamNorm;

/// Index of a value of the list: 0 is the embedding, and every operation computes the next value.
///
/// The embedding is h\[0\]. Where sites name its parts, it is the rows of tokens and of positions side by side, and
/// h\[0\] is their sum.
pub(crate) type ValueId = usize;

/// One operation: the values that it reads, and the value `output` that it computes.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) op: Arc<dyn Op>,
    /// The op with the edits of a run, where it has such edits: its derivatives are those of the run.
    edited: Option<Arc<dyn Op>>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) output: ValueId,
    /// Name of the operation in labels, such as `blocks.3.ln_1`.
    pub(crate) scope: String,
}

impl Node {
    /// Returns the op whose derivatives are those of the run that the list belongs to.
    pub(crate) fn derivatives(&self) -> &dyn Op {
        self.edited.as_deref().unwrap_or(&*self.op)
    }
}

/// The list of operations, and the value of each site.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) nodes: Vec<Node>,
    /// The values h\[0\] to h\[L\].
    pub(crate) field: Vec<ValueId>,
    /// What the head reads: h\[L\], or the normalized rows where sites name parts of the final norm.
    pub(crate) head_input: ValueId,
    /// The final norm, or its gain and bias where its other parts are in the list.
    pub(crate) final_norm: Arc<dyn Op>,
    /// Where sites name parts of a norm: its centred rows beside their scales, and the normalized rows.
    norms: BTreeMap<StreamNorm, [ValueId; 2]>,
    parts: Vec<Parts>,
    gated: bool,
    /// Whether the model learns positions.
    learns_positions: bool,
    /// By value: the last node that reads it.
    last_use: Vec<usize>,
    /// By value: whether it is a cut point.
    cut_points: Vec<bool>,
}

/// The values of one block.
#[derive(Clone)]
struct Parts {
    qkv: ValueId,
    /// q, k and v after the rotation of q and k.
    rotated: Option<ValueId>,
    z: ValueId,
    /// What heads add to the stream, by head, where sites name it.
    results: BTreeMap<usize, ValueId>,
    attn_out: Option<ValueId>,
    mid: Option<ValueId>,
    /// Into the activation.
    hidden: Option<ValueId>,
    /// Out of the activation.
    neurons: Option<ValueId>,
    mlp_out: Option<ValueId>,
    attention: Attention,
}

impl Program {
    /// Returns the columns of the rows of tokens and of positions in the first value, where they have values of their
    /// own.
    pub(crate) fn embeddings(sizes: &Sizes) -> [Columns; 2] {
        let d = sizes.d;
        [0, d].map(|first| Columns { width: 2 * d, first, n: d })
    }

    /// Returns whether the first value has the rows of tokens and of positions side by side.
    pub(crate) fn embeds_apart(&self) -> bool {
        self.field[0] != 0
    }

    /// Returns the same list with the factors of `frozen` frozen in its derivatives.
    pub(crate) fn freeze(&self, frozen: Frozen) -> Self {
        let frozen = |op: &Arc<dyn Op>| op.freeze(frozen).unwrap_or_else(|| op.clone());
        let node =
            |node: &Node| Node { op: frozen(&node.op), edited: node.edited.as_ref().map(frozen), ..node.clone() };
        let nodes = self.nodes.iter().map(node).collect();
        Self { nodes, final_norm: frozen(&self.final_norm), ..self.clone() }
    }

    /// Returns the list with the derivatives of a run whose edits of attention `edits` returns, by the value that the
    /// attention computes.
    pub(crate) fn with_edits(
        mut self,
        edits: impl Fn(Attention, ValueId) -> Result<Option<HeadEdits>>,
    ) -> Result<Self> {
        for &Parts { z, attention, .. } in &self.parts {
            if let Some(edits) = edits(attention, z)? {
                self.nodes[z - 1].edited = Some(Arc::new(EditedAttention { attention, edits }));
            }
        }
        Ok(self)
    }

    /// Returns the attention that computes `value`, if one does.
    pub(crate) fn attention(&self, value: ValueId) -> Option<Attention> {
        self.parts.iter().find(|parts| parts.z == value).map(|parts| parts.attention)
    }

    /// Returns the first key that a query of block l at a token sees.
    pub(crate) fn first_key(&self, l: usize, token: usize) -> usize {
        self.parts[l].attention.first_key(token)
    }

    /// Returns the number of values.
    pub(crate) fn values(&self) -> usize {
        self.nodes.len() + 1
    }

    /// Returns the value that contains `site`; `None` for a fused output, and for a site that the model lacks.
    pub(crate) fn value(&self, site: Site) -> Option<ValueId> {
        let parts = &self.parts[site.layer()];
        match site {
            Site::Embed if !self.learns_positions => Some(self.field[0]),
            Site::Embed | Site::PosEmbed => self.embeds_apart().then_some(0),
            Site::ResidPre(l) => Some(self.field[l]),
            Site::ResidPost(l) => Some(self.field[l + 1]),
            Site::ResidMid(_) => parts.mid,
            Site::AttnOut(_) => parts.attn_out,
            Site::MlpOut(_) => parts.mlp_out,
            Site::Q(..) | Site::K(..) | Site::V(..) => Some(parts.qkv),
            Site::Z(..) => Some(parts.z),
            Site::Result(_, h) => parts.results.get(&h).copied(),
            Site::RotQ(..) | Site::RotK(..) => parts.rotated,
            // Scores and weights are not stored: the attention that they belong to is edited instead.
            Site::AttnScores(..) | Site::Pattern(..) => None,
            Site::MlpPreLinear(_) if !self.gated => None,
            Site::MlpPre(_) | Site::MlpPreLinear(_) => parts.hidden,
            Site::MlpPost(_) => parts.neurons,
            Site::NormScale(norm) => Some(self.norms.get(&norm)?[0]),
            Site::Normalized(norm) => Some(self.norms.get(&norm)?[1]),
        }
    }

    /// Returns the value after which an edit of `site` is applied: that of [`Program::value`], or of the attention
    /// whose scores or weights are edited.
    pub(crate) fn edited(&self, site: Site) -> Option<ValueId> {
        match site {
            Site::AttnScores(l, ..) | Site::Pattern(l, ..) => Some(self.parts[l].z),
            _ => self.value(site),
        }
    }

    /// Returns the value whose row a part of an observable is read from.
    pub(crate) fn read_from(&self, point: &Point) -> ValueId {
        match point.part {
            Part::Projection(_) => self.field[point.level],
            Part::Logits(_) => self.head_input,
        }
    }

    /// Returns whether parts of the final norm are in the list.
    pub(crate) fn divides_final_norm(&self) -> bool {
        self.head_input != self.field[self.field.len() - 1]
    }

    /// Returns the nodes whose operation is attention. Node i computes value i + 1.
    pub(crate) fn attention_nodes(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|parts| parts.z - 1)
    }

    /// Returns the last value below h\[level\] whose operation mixes tokens: the output of attention in the block
    /// below.
    pub(crate) fn mixed(&self, level: usize) -> Option<ValueId> {
        Some(self.parts[level.checked_sub(1)?].z)
    }

    /// Returns the end of the tokens that a change of a value at a token can reach: one past the last of them.
    ///
    /// A query sees its window, so each attention above the value carries the change `window - 1` tokens on. One
    /// without a window carries it to the end of any prompt.
    pub(crate) fn cone_end(&self, value: ValueId, token: usize) -> usize {
        let above = self.parts.iter().filter(|parts| parts.z > value);
        let reach: Option<usize> = above.map(|parts| Some(parts.attention.window? - 1)).sum();
        reach.map_or(usize::MAX, |reach| token.saturating_add(reach).saturating_add(1))
    }

    /// Returns the values that contain sites.
    pub(crate) fn site_values(&self) -> BTreeSet<ValueId> {
        let of = |p: &Parts| [Some(p.qkv), p.rotated, Some(p.z), p.attn_out, p.mid, p.hidden, p.neurons, p.mlp_out];
        let results = self.parts.iter().flat_map(|p| p.results.values().copied());
        let norms = self.norms.values().flatten().copied();
        let field = self.field.iter().copied().chain([0]);
        self.parts.iter().flat_map(of).flatten().chain(results).chain(norms).chain(field).collect()
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
        self.cut_points[value]
    }

    /// Returns the last cut point at or before `value`: where a sequence joins whose first edit or source is at
    /// `value`.
    pub(crate) fn cut_point_before(&self, value: ValueId) -> ValueId {
        (0..=value).rev().find(|&v| self.is_cut_point(v)).unwrap_or(0)
    }
}
