//! Embedding: `x_r = scale wte[id_r] + wpe[position_r]`.  `[rows]` ids `-> [rows, d]`
//!
//! Linearisations start from h\[0\], the output, so embed has no derivatives and no residuals.

use resolvent_engine::{Bound, Kernel, Recording, Result, Tensor, as_u32};
use resolvent_shaders::embed::{self as shader, Params};

use crate::arguments::{launch, params};
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
    /// Factor of the token rows.
    pub scale: f32,
}

/// One part of a vocabulary.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    /// Rows `[tokens, d]`.
    pub(crate) rows: &'a Tensor,
    /// Token of the first row.
    pub(crate) from_token: u32,
    /// Number of rows.
    pub(crate) tokens: u32,
    /// Whether it is the first part.
    pub(crate) is_first: bool,
}

/// Tokens whose rows, of `d` elements each, a host body has: those from `from_token` on.
#[derive(Clone, Copy)]
pub(crate) struct Tokens {
    pub(crate) from_token: u32,
    pub(crate) tokens: u32,
    pub(crate) d: u32,
}

impl Tokens {
    /// Returns the offset of `id`'s row, if it is here.
    pub(crate) fn offset(self, id: u32) -> Option<usize> {
        let here = id >= self.from_token && id - self.from_token < self.tokens;
        here.then(|| (id - self.from_token) as usize * self.d as usize)
    }
}

impl Vocabulary {
    /// Returns the parts in order.
    pub(crate) fn each_part(&self) -> impl Iterator<Item = Part<'_>> {
        self.parts.iter().enumerate().map(|(i, (from, rows))| Part {
            rows,
            from_token: *from as u32,
            tokens: rows.shape().lengths()[0] as u32,
            is_first: i == 0,
        })
    }
}

impl Embed {
    /// `x` for token ids and positions, both `[rows]` u32 below the tables' lengths.
    pub fn primal(&self, rec: &mut Recording, ids: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let (rows, d) = (ids.shape().elements(), self.wte.d);
        positions.expect(NAME, &[("rows", rows)])?;
        let x = rec.tensor(NAME, &[("rows", rows), ("d", d)])?;
        for Part { rows: wte, from_token, tokens, .. } in self.wte.each_part() {
            let params = Params { d: d as u32, from_token, tokens, scale: self.scale };
            let buffers = shader::primal::Bindings { wte, ids, positions, wpe: &self.wpe, x: &x };
            let n = (rows * d) as f64;
            rec.launch(launch(&PRIMAL, params, buffers, [rows as u32, 1, 1]).work(n, 12.0 * n))?;
        }
        Ok(x)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL];

fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::primal::Bindings::of(bound.slices());
    let shader::primal::Bindings { wte, wpe, .. } = buffers;
    let (d, ids, positions) = (p.d as usize, as_u32(buffers.ids), as_u32(buffers.positions));
    let here = Tokens { from_token: p.from_token, tokens: p.tokens, d: p.d };
    each_row(buffers.x, d, |i, x| {
        let Some(from) = here.offset(ids[i]) else { return };
        let place = positions[i] as usize * d;
        for (e, x) in x.iter_mut().enumerate() {
            *x = p.scale * wte[from + e] + wpe[place + e];
        }
    });
}
