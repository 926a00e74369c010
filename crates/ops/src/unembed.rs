//! Unembedding: `logits_rm = <x_r, W[id_m]>`, for wanted rows and vocabulary entries only.  `[rows, d] -> [rows, m]`
//!
//! Linear: jvp is the primal, vjp a weighted sum of the wanted rows of W; no residuals. All entries at once are a
//! product with W transposed.

use resolvent_engine::host::matmul as product;
use resolvent_engine::{Bound, Kernel, Recording, Result, Tensor, as_u32};
use resolvent_shaders::unembed::{self as shader, Params};

use crate::arguments::{launch, params};
use crate::embed::{HostPart, Part, Vocabulary};
use crate::host::{axpy, dot, each_row};
use crate::matmul;
use crate::weight::{self, Weight};

const NAME: &str = "unembed";

/// Entries of one partial sum, and rows of one workgroup, as in the shader.
const CHUNK: usize = 512;
const ROWS: usize = 8;

/// The head: token rows W `[vocab, d]`, which are those of the embedding if the model ties them.
#[derive(Clone, Debug)]
pub struct Unembed {
    /// W.
    pub w: Vocabulary,
}

impl Unembed {
    fn params(&self, part: Part<'_>, rows: usize, wanted: usize) -> Params {
        let Part { w, from_token, tokens, is_first } = part;
        let [rows, d, wanted] = [rows, self.w.d, wanted].map(|n| n as u32);
        let [accumulate, w_is_f16] = [!is_first, w.is_f16()].map(u32::from);
        Params { rows, d, wanted, from_token, tokens, accumulate, chunks: 0, w_is_f16 }
    }

    /// Computes logits `[rows, wanted]` of the entries `ids [wanted]` (u32). Also the jvp.
    pub fn primal(&self, rec: &mut Recording, x: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let (rows, wanted) = (x.dim(NAME, "rows")?, ids.shape().elements());
        x.expect(NAME, &[("rows", rows), ("d", self.w.d)])?;
        let logits = rec.tensor("logits", &[("rows", rows), ("wanted", wanted)])?;
        let n = (rows * wanted * self.w.d) as f64;
        for part in self.w.each_part() {
            let (params, grid) = (self.params(part, rows, wanted), [wanted as u32, rows as u32, 1]);
            let buffers = shader::primal::Bindings { w: part.w.words(), ids, x, logits: &logits };
            let launch = launch(&PRIMAL, params, buffers, grid).variant(part.w.table_variant());
            rec.launch(launch.work(2.0 * n, (4.0 + part.w.element_bytes()) * n))?;
        }
        Ok(logits)
    }

    /// Computes `x_bar [rows, d]` for `logits_bar [rows, wanted]` of the entries `ids [wanted]`.
    pub fn vjp(&self, rec: &mut Recording, logits_bar: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let (rows, wanted) = (logits_bar.dim(NAME, "rows")?, ids.shape().elements());
        logits_bar.expect(NAME, &[("rows", rows), ("wanted", wanted)])?;
        let x_bar = rec.tensor("unembed.bar", &[("rows", rows), ("d", self.w.d)])?;
        let n = (rows * wanted * self.w.d) as f64;
        for part in self.w.each_part() {
            let (params, grid) = (self.params(part, rows, wanted), [rows as u32, 1, 1]);
            let buffers = shader::vjp::Bindings { w: part.w.words(), ids, logits_bar, x_bar: &x_bar };
            let launch = launch(&VJP, params, buffers, grid).variant(part.w.table_variant());
            rec.launch(launch.work(2.0 * n, (4.0 + part.w.element_bytes()) * n))?;
        }
        Ok(x_bar)
    }

    /// Computes `x_bar [rows, d]` for `logits_bar [rows, vocab]` of every entry: a product with W, in partial sums
    /// whose order is fixed.
    pub fn vjp_all(&self, rec: &mut Recording, logits_bar: &Tensor) -> Result<Tensor> {
        let rows = logits_bar.dim(NAME, "rows")?;
        logits_bar.expect(NAME, &[("rows", rows), ("vocab", self.w.tokens)])?;
        let d = self.w.d;
        let chunks_of = |part: &Weight| part.lengths()[0].div_ceil(CHUNK);
        let chunks: usize = self.w.parts.iter().map(|(_, part)| chunks_of(part)).sum();
        let sums = rec.tensor("unembed.sums", &[("chunks", chunks), ("rows", rows), ("d", d)])?;
        let mut done = 0;
        for part in self.w.each_part() {
            let (here, n) = (chunks_of(part.w), (rows * part.tokens as usize * d) as f64);
            let params = Params { chunks: done as u32, ..self.params(part, rows, self.w.tokens) };
            done += here;
            let grid = [d.div_ceil(64) as u32, here as u32, rows.div_ceil(ROWS) as u32];
            let bytes = part.w.element_bytes() * n * (rows.div_ceil(ROWS) as f64 / rows as f64);
            let buffers = shader::vjp_all::Bindings { w: part.w.words(), slope: logits_bar, chunk_sums: &sums };
            let launch = launch(&VJP_ALL, params, buffers, grid).variant(part.w.table_variant());
            rec.launch(launch.work(2.0 * n, bytes))?;
        }
        let x_bar = rec.tensor("unembed.bar", &[("rows", rows), ("d", d)])?;
        let params = Params {
            rows: rows as u32,
            d: d as u32,
            chunks: chunks as u32,
            wanted: 0,
            from_token: 0,
            tokens: 0,
            accumulate: 0,
            w_is_f16: 0,
        };
        let buffers = shader::vjp_sum::Bindings { sums: &sums, total: &x_bar };
        let (grid, n) = ([d.div_ceil(64) as u32, rows as u32, 1], (chunks * rows * d) as f64);
        rec.launch(launch(&VJP_SUM, params, buffers, grid).work(n, 4.0 * n))?;
        Ok(x_bar)
    }

    /// Bytes of the partial sums of [`Unembed::vjp_all`] for one row.
    pub fn bytes_of_sums(&self) -> usize {
        4 * self.w.d * (self.w.tokens.div_ceil(CHUNK) + self.w.parts.len())
    }

    /// Computes logits `[rows, vocab]` of every entry. Also the jvp.
    pub fn primal_all(&self, rec: &mut Recording, x: &Tensor) -> Result<Tensor> {
        let rows = x.dim(NAME, "rows")?;
        let logits = rec.tensor("logits", &[("rows", rows), ("vocab", self.w.tokens)])?;
        for (from, part) in &self.w.parts {
            matmul::part_into(rec, x, part, &logits, *from)?;
        }
        Ok(logits)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: vjp };
static VJP_ALL: Kernel = Kernel { shader: &shader::VJP_ALL, host: vjp_all };
static VJP_SUM: Kernel = Kernel { shader: &shader::VJP_SUM, host: vjp_sum };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &VJP, &VJP_ALL, &VJP_SUM];

fn part(words: &[f32], p: Params) -> HostPart<'_> {
    HostPart { words, is_f16: p.w_is_f16 != 0, from_token: p.from_token, tokens: p.tokens, d: p.d }
}

fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { w, ids, x, logits } = shader::primal::Bindings::of(bound.slices());
    let (d, ids, part) = (p.d as usize, as_u32(ids), part(w, p));
    each_row(logits, p.wanted as usize, |i, logits| {
        let mut wide = Vec::new();
        for (logit, &id) in logits.iter_mut().zip(ids) {
            if let Some(row) = part.row(id, &mut wide) {
                *logit = dot(row, &x[i * d..][..d]);
            }
        }
    });
}

fn vjp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::vjp::Bindings { w, ids, logits_bar, x_bar } = shader::vjp::Bindings::of(bound.slices());
    let (d, wanted, ids, part) = (p.d as usize, p.wanted as usize, as_u32(ids), part(w, p));
    each_row(x_bar, d, |i, x_bar| {
        let mut wide = Vec::new();
        if p.accumulate == 0 {
            x_bar.fill(0.0);
        }
        for (m, &id) in ids.iter().enumerate() {
            if let Some(row) = part.row(id, &mut wide) {
                axpy(logits_bar[i * wanted + m], row, x_bar);
            }
        }
    });
}

fn vjp_all(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::vjp_all::Bindings { w, slope, chunk_sums } = shader::vjp_all::Bindings::of(bound.slices());
    let [rows, d, vocab, from, tokens] = [p.rows, p.d, p.wanted, p.from_token, p.tokens].map(|n| n as usize);
    let (first, mut weights) = (p.chunks as usize, Vec::new());
    let words_of_row = if p.w_is_f16 != 0 { d / 2 } else { d };
    for (chunk, w) in w[..tokens * words_of_row].chunks(CHUNK * words_of_row).enumerate() {
        let (at, n) = (from + chunk * CHUNK, w.len() / words_of_row);
        weights.clear();
        (0..rows).for_each(|row| weights.extend_from_slice(&slope[row * vocab + at..][..n]));
        let out = &mut chunk_sums[(first + chunk) * rows * d..][..rows * d];
        product([rows, n, d], &weights, weight::read(w, p.w_is_f16 != 0, false), false, out);
    }
}

fn vjp_sum(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::vjp_sum::Bindings { sums, total } = shader::vjp_sum::Bindings::of(bound.slices());
    let (rows, d) = (p.rows as usize, p.d as usize);
    each_row(total, d, |row, out| {
        out.fill(0.0);
        for chunk in 0..p.chunks as usize {
            axpy(1.0, &sums[(chunk * rows + row) * d..][..d], out);
        }
    });
}
