//! Where the weights of a model lie in its files.

use std::fmt;

use super::Stored;

/// How a matrix of the model, which takes rows `[in]` to rows `[out]`, is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orientation {
    /// `[in, out]`.
    InOut,
    /// `[out, in]`, as `torch.nn.Linear` stores it.
    OutIn,
}

/// Which of the outputs of a stored matrix a part takes: `run` of them from `first` on, in every `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) first: usize,
    pub(crate) run: usize,
    pub(crate) period: usize,
}

impl Taken {
    /// Takes all `n` outputs.
    pub(crate) fn all(n: usize) -> Self {
        Self { first: 0, run: n, period: n }
    }
}

/// Outputs of a stored matrix that lie side by side in a matrix of the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Name of the module: the tensors are `NAME.weight` and `NAME.bias`.
    pub(crate) name: String,
    pub(crate) bias: bool,
    pub(crate) orientation: Orientation,
    /// Inputs and outputs of the stored matrix.
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) taken: Taken,
    /// Where a rotary embedding of the file turns neighbouring columns of a head: the width of a head. The part has the
    /// first of each two columns first, so that column p turns with column p + width / 2, as everywhere else.
    pub(crate) neighbours: Option<usize>,
}

impl Part {
    /// Returns a whole matrix as `torch.nn.Linear` stores it.
    pub(crate) fn linear(name: String, [inputs, outputs]: [usize; 2], bias: bool) -> Self {
        let (orientation, taken) = (Orientation::OutIn, Taken::all(outputs));
        Self { name, bias, orientation, inputs, outputs, taken, neighbours: None }
    }

    /// Returns the number of outputs that the part takes.
    pub(crate) fn width(&self) -> usize {
        self.outputs / self.taken.period * self.taken.run
    }

    /// Returns the outputs that the part takes, in order.
    pub(crate) fn outputs_taken(&self) -> impl Iterator<Item = usize> {
        let (Taken { first, run, period }, neighbours) = (self.taken, self.neighbours);
        let stored = move |output: usize| match neighbours {
            None => output,
            Some(head) => output - output % head + output % head % (head / 2) * 2 + output % head / (head / 2),
        };
        (0..self.outputs).step_by(period).flat_map(move |from| from + first..from + first + run).map(stored)
    }

    /// Returns the stored tensors as (name, shape).
    fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        let shape = match self.orientation {
            Orientation::InOut => [self.inputs, self.outputs],
            Orientation::OutIn => [self.outputs, self.inputs],
        };
        let bias = self.bias.then(|| (format!("{}.bias", self.name), vec![self.outputs]));
        std::iter::once((format!("{}.weight", self.name), shape.to_vec())).chain(bias)
    }
}

/// A norm: the name of its module, and its width.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NormAt {
    pub(crate) name: String,
    pub(crate) width: usize,
}

/// The weights of a block. A norm that is `None` is a norm that the block lacks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlockLayout {
    /// Before attention.
    pub(crate) attn_norm: Option<NormAt>,
    /// Queries of all heads, then keys, then values, side by side.
    pub(crate) qkv: Vec<Part>,
    /// Of queries, then of keys.
    pub(crate) qk_norm: Option<[NormAt; 2]>,
    pub(crate) out: Part,
    /// After attention, before the residual add.
    pub(crate) attn_post_norm: Option<NormAt>,
    /// Before the MLP.
    pub(crate) mlp_norm: Option<NormAt>,
    /// Into the hidden layer; of a gated MLP the gate, then what it multiplies.
    pub(crate) up: Vec<Part>,
    pub(crate) down: Part,
    /// After the MLP, before the residual add.
    pub(crate) mlp_post_norm: Option<NormAt>,
}

/// Tells which stored tensors are not weights.
#[derive(Clone, Copy)]
pub(crate) struct Ignored(pub(crate) fn(&str) -> bool);

/// The address of a function differs from run to run, and the text of an architecture identifies random models.
impl fmt::Debug for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ignored")
    }
}

/// The names of all weights.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Token embedding `[V, d]`.
    pub(crate) embedding: String,
    /// Position embedding `[n_ctx, d]`.
    pub(crate) positions: Option<String>,
    pub(crate) blocks: Vec<BlockLayout>,
    pub(crate) final_norm: NormAt,
    /// Unembedding `[V, d]`.
    pub(crate) head: String,
    /// Whether the unembedding is the token embedding.
    pub(crate) tied: bool,
    /// Modules whose stored weight and bias are multiplied by a factor.
    pub(crate) factors: Vec<(String, f64)>,
    /// Starts of names in some files, and what they are in these names.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// Start of these names, except the head's, that files of a model without a head leave out.
    pub(crate) base: &'static str,
    /// Returns whether a stored tensor is not a weight, such as a causal mask.
    pub(crate) ignored: Ignored,
}

impl Layout {
    /// Returns the tensors as (name, shape), in the order of the forward pass. `stored` tells what norms have.
    pub(crate) fn tensors(&self, [vocab, n_ctx, d]: [usize; 3], stored: Stored) -> Vec<(String, Vec<usize>)> {
        let norm = |norm: &NormAt| {
            let parts = [("weight", stored.has_gain()), ("bias", stored.has_bias())];
            let tensor = |part| (format!("{}.{part}", norm.name), vec![norm.width]);
            parts.into_iter().filter(|(_, has)| *has).map(|(part, _)| tensor(part)).collect::<Vec<_>>()
        };
        let mut list = vec![(self.embedding.clone(), vec![vocab, d])];
        list.extend(self.positions.iter().map(|name| (name.clone(), vec![n_ctx, d])));
        for block in &self.blocks {
            list.extend(block.attn_norm.iter().flat_map(norm));
            list.extend(block.qkv.iter().flat_map(Part::tensors));
            list.extend(block.qk_norm.iter().flatten().flat_map(norm));
            list.extend(block.out.tensors());
            list.extend(block.attn_post_norm.iter().flat_map(norm));
            list.extend(block.mlp_norm.iter().flat_map(norm));
            list.extend(block.up.iter().flat_map(Part::tensors));
            list.extend(block.down.tensors());
            list.extend(block.mlp_post_norm.iter().flat_map(norm));
        }
        list.extend(norm(&self.final_norm));
        if !self.tied {
            list.push((self.head.clone(), vec![vocab, d]));
        }
        // Parts of one stored matrix name it more than once.
        let mut seen = std::collections::HashSet::new();
        list.retain(|(name, _)| seen.insert(name.clone()));
        list
    }
}
