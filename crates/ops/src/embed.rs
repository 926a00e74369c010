//! Embedding: `x_r = scale wte[id_r] + wpe[position_r]`.  `[rows]` ids `-> [rows, d]`
//!
//! Linearisations start from h\[0\], the output, so embed has no derivatives and no residuals.

use resolvent_engine::host::Elements;
use resolvent_engine::{Bound, Kernel, Recording, Result, Tensor, as_u32};
use resolvent_shaders::embed::{self as shader, Params};

use crate::arguments::{launch, params};
use crate::host::each_row;
use crate::weight::{self, Weight};

const NAME: &str = "embed";

/// A `[vocab, d]` table in as many buffers as the device's binding limit asks for.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// Parts `[tokens, d]`, each with its first token.
    pub parts: Vec<(usize, Weight)>,
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
    pub(crate) w: &'a Weight,
    /// Token of the first row.
    pub(crate) from_token: u32,
    /// Number of rows.
    pub(crate) tokens: u32,
    /// Whether it is the first part.
    pub(crate) is_first: bool,
}

/// The part that a host body has: rows of `d` elements each, of the tokens from `from_token` on.
#[derive(Clone, Copy)]
pub(crate) struct HostPart<'a> {
    pub(crate) words: &'a [f32],
    pub(crate) is_f16: bool,
    pub(crate) from_token: u32,
    pub(crate) tokens: u32,
    pub(crate) d: u32,
}

impl HostPart<'_> {
    /// Returns the row of `id`, if it is here. Elements in f16 are widened into `wide`.
    pub(crate) fn row<'b>(&'b self, id: u32, wide: &'b mut Vec<f32>) -> Option<&'b [f32]> {
        if id < self.from_token || id - self.from_token >= self.tokens {
            return None;
        }
        let d = self.d as usize;
        let at = (id - self.from_token) as usize * d;
        Some(match weight::read(self.words, self.is_f16, false).elements {
            Elements::F32(elements) => &elements[at..][..d],
            Elements::F16(packed) => {
                weight::widen(&packed[at..][..d], wide);
                wide
            }
        })
    }
}

impl Vocabulary {
    /// Returns the parts in order.
    pub(crate) fn each_part(&self) -> impl Iterator<Item = Part<'_>> {
        self.parts.iter().enumerate().map(|(i, (from, w))| Part {
            w,
            from_token: *from as u32,
            tokens: w.lengths()[0] as u32,
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
        for Part { w, from_token, tokens, .. } in self.wte.each_part() {
            let w_is_f16 = u32::from(w.is_f16());
            let params = Params { d: d as u32, from_token, tokens, scale: self.scale, w_is_f16 };
            let buffers = shader::primal::Bindings { wte: w.words(), ids, positions, wpe: &self.wpe, x: &x };
            let n = (rows * d) as f64;
            let launch = launch(&PRIMAL, params, buffers, [rows as u32, 1, 1]).variant(w.table_variant());
            rec.launch(launch.work(n, (8.0 + w.element_bytes()) * n))?;
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
    let shader::primal::Bindings { wte: words, wpe, .. } = buffers;
    let (d, ids, positions) = (p.d as usize, as_u32(buffers.ids), as_u32(buffers.positions));
    let Params { d: width, from_token, tokens, .. } = p;
    let part = HostPart { words, is_f16: p.w_is_f16 != 0, from_token, tokens, d: width };
    each_row(buffers.x, d, |i, x| {
        let mut wide = Vec::new();
        let Some(row) = part.row(ids[i], &mut wide) else { return };
        let place = positions[i] as usize * d;
        for (e, x) in x.iter_mut().enumerate() {
            *x = p.scale * row[e] + wpe[place + e];
        }
    });
}
