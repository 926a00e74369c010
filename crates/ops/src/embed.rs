//! Embedding: `x_r = wte[id_r] + wpe[position_r]`.  `[rows]` ids `-> [rows, d]`
//!
//! Linear in the rows' one-hot vectors. The tangent of a row is a mixture of tokens, `sum_i c_dot_i wte[id_i]`; the
//! cotangent, read at candidate tokens, is what replacing the token by each would do to first order. No residuals.

use bytemuck::{Pod, Zeroable};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::embed as shader;

use crate::host::{axpy, dot, each_row};

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
    /// Entries a row: candidate tokens (embed) or wanted logits (unembed).
    pub(crate) entries: u32,
    pub(crate) from: u32,
    pub(crate) tokens: u32,
    pub(crate) accumulate: u32,
    pub(crate) pad: [u32; 2],
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
                pad: [0; 2],
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

    /// `x_dot` for token weights: `ids` and `c_dot`, both `[rows, mix]`.
    pub fn jvp(&self, rec: &mut Recording, ids: &Tensor, c_dot: &Tensor) -> Result<Tensor> {
        let ([rows, mix], d) = (self.mixture(ids)?, self.wte.d);
        c_dot.expect(NAME, &[("rows", rows), ("mix", mix)])?;
        let x_dot = rec.tensor("embed.dot", &[("rows", rows), ("d", d)])?;
        self.wte.each_part(rows, mix, |params, wte| {
            let n = (rows * mix * d) as f64;
            rec.launch(
                Launch::new(&JVP, params, &[wte, ids, c_dot, &x_dot], [rows as u32, 1, 1]).work(2.0 * n, 4.0 * n),
            )
        })?;
        Ok(x_dot)
    }

    /// `c_bar [rows, mix]` at candidate tokens `ids [rows, mix]`, for `x_bar [rows, d]`.
    pub fn vjp(&self, rec: &mut Recording, ids: &Tensor, x_bar: &Tensor) -> Result<Tensor> {
        let ([rows, mix], d) = (self.mixture(ids)?, self.wte.d);
        x_bar.expect(NAME, &[("rows", rows), ("d", d)])?;
        let c_bar = rec.tensor("embed.bar", &[("rows", rows), ("mix", mix)])?;
        self.wte.each_part(rows, mix, |params, wte| {
            let n = (rows * mix * d) as f64;
            let grid = [rows as u32, mix as u32, 1];
            rec.launch(Launch::new(&VJP, params, &[wte, ids, x_bar, &c_bar], grid).work(2.0 * n, 4.0 * n))
        })?;
        Ok(c_bar)
    }

    fn mixture(&self, ids: &Tensor) -> Result<[usize; 2]> {
        Ok([ids.dim(NAME, "rows")?, ids.dim(NAME, "mix")?])
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: jvp };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: vjp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &VJP];

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

fn jvp(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([wte, ids, c_dot], [x_dot]) = bound.slices();
    let (d, mix, ids) = (p.d as usize, p.entries as usize, as_u32(ids));
    each_row(x_dot, d, |i, x_dot| {
        if p.accumulate == 0 {
            x_dot.fill(0.0);
        }
        for m in i * mix..(i + 1) * mix {
            if let Some(from) = p.offset(ids[m]) {
                axpy(c_dot[m], &wte[from..][..d], x_dot);
            }
        }
    });
}

fn vjp(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([wte, ids, x_bar], [c_bar]) = bound.slices();
    let (d, mix, ids) = (p.d as usize, p.entries as usize, as_u32(ids));
    each_row(c_bar, mix, |i, c_bar| {
        for (m, c_bar) in c_bar.iter_mut().enumerate() {
            if let Some(from) = p.offset(ids[i * mix + m]) {
                *c_bar = dot(&wte[from..][..d], &x_bar[i * d..][..d]);
            }
        }
    });
}
