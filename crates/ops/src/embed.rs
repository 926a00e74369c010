//! Embedding: `x_r = wte[id_r] + wpe[position_r]`.  `[rows]` ids `-> [rows, d]`
//!
//! Linearisations start from h\[0\], the output, so embed has no derivatives and no residuals.

use bytemuck::{Pod, Zeroable};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::embed as shader;

use crate::host::each_row;

const NAME: &str = "embed";

/// A `[vocab, d]` table in as many buffers as the device's binding limit asks for.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// Parts `[tokens, d]`, each with its first token.
    pub parts: Vec<(usize, Tensor)>,
    /// Number of tokens.
    pub tokens: usize,
    /// Width.
    pub d: usize,
}

/// Token and position embeddings.
#[derive(Clone, Debug)]
pub struct Embed {
    /// Token rows `[vocab, d]`.
    pub wte: Vocabulary,
    /// Position rows `[n_positions, d]`.
    pub wpe: Tensor,
}

/// Params of kernels over a part of the vocabulary; embed and unembed share it.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) d: u32,
    /// Entries a row: wanted logits (unembed); one in embed.
    pub(crate) entries: u32,
    pub(crate) from: u32,
    pub(crate) tokens: u32,
    pub(crate) accumulate: u32,
    /// First chunk of partial sums that is written, or how many are read (unembed).
    pub(crate) chunks: u32,
    pub(crate) pad: u32,
}

impl Params {
    /// Offset of `id`'s row in this part, if it lies here.
    pub(crate) fn offset(&self, id: u32) -> Option<usize> {
        let here = id >= self.from && id - self.from < self.tokens;
        here.then(|| (id - self.from) as usize * self.d as usize)
    }
}

impl Vocabulary {
    /// One launch a part, with its params.
    pub(crate) fn each_part(
        &self,
        rows: usize,
        entries: usize,
        mut launch: impl FnMut(Params, &Tensor) -> Result<()>,
    ) -> Result<()> {
        for (i, (from, part)) in self.parts.iter().enumerate() {
            let params = Params {
                rows: rows as u32,
                d: self.d as u32,
                entries: entries as u32,
                from: *from as u32,
                tokens: part.shape().lengths()[0] as u32,
                accumulate: u32::from(i > 0),
                chunks: 0,
                pad: 0,
            };
            launch(params, part)?;
        }
        Ok(())
    }
}

impl Embed {
    /// `x` for token ids and positions, both `[rows]` u32 below the tables' lengths.
    pub fn primal(&self, rec: &mut Recording, ids: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let (rows, d) = (ids.shape().elements(), self.wte.d);
        positions.expect(NAME, &[("rows", rows)])?;
        let x = rec.tensor(NAME, &[("rows", rows), ("d", d)])?;
        self.wte.each_part(rows, 1, |params, wte| {
            let bindings = [wte, ids, positions, &self.wpe, &x];
            let n = (rows * d) as f64;
            rec.launch(Launch::new(&PRIMAL, params, &bindings, [rows as u32, 1, 1]).work(n, 12.0 * n))
        })?;
        Ok(x)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL];

fn primal(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([wte, ids, positions, wpe], [x]) = bound.slices();
    let (d, ids, positions) = (p.d as usize, as_u32(ids), as_u32(positions));
    each_row(x, d, |i, x| {
        let Some(from) = p.offset(ids[i]) else { return };
        let place = positions[i] as usize * d;
        for (e, x) in x.iter_mut().enumerate() {
            *x = wte[from + e] + wpe[place + e];
        }
    });
}
