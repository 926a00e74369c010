//! Unembedding: `logits_rm = <x_r, W[id_m]>`, for the wanted rows and vocabulary entries only.  `[rows, d] -> [rows, m]`
//!
//! Linear: jvp is the primal, vjp a weighted sum of the wanted rows of W; no residuals. All entries at once are a
//! product with W transposed.

use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::unembed as shader;

use crate::embed::{Params, Vocabulary};
use crate::host::{axpy, dot, each_row};
use crate::matmul;
use crate::weight::Weight;

const NAME: &str = "unembed";

/// The head: token rows W `[vocab, d]`, the embedding's own where the model ties them.
#[derive(Clone, Debug)]
pub struct Unembed {
    /// W.
    pub w: Vocabulary,
}

impl Unembed {
    /// Logits `[rows, wanted]` of the entries `ids [wanted]` (u32). Also the jvp.
    pub fn primal(&self, rec: &mut Recording, x: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let (rows, wanted) = (x.dim(NAME, "rows")?, ids.shape().elements());
        x.expect(NAME, &[("rows", rows), ("d", self.w.d)])?;
        let logits = rec.tensor("logits", &[("rows", rows), ("wanted", wanted)])?;
        let n = (rows * wanted * self.w.d) as f64;
        self.w.each_part(rows, wanted, |params, w| {
            let grid = [wanted as u32, rows as u32, 1];
            rec.launch(Launch::new(&PRIMAL, params, &[w, ids, x, &logits], grid).work(2.0 * n, 8.0 * n))
        })?;
        Ok(logits)
    }

    /// `x_bar [rows, d]` for `logits_bar [rows, wanted]` of the entries `ids [wanted]`.
    pub fn vjp(&self, rec: &mut Recording, logits_bar: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let (rows, wanted) = (logits_bar.dim(NAME, "rows")?, ids.shape().elements());
        logits_bar.expect(NAME, &[("rows", rows), ("wanted", wanted)])?;
        let x_bar = rec.tensor("unembed.bar", &[("rows", rows), ("d", self.w.d)])?;
        let n = (rows * wanted * self.w.d) as f64;
        self.w.each_part(rows, wanted, |params, w| {
            let grid = [rows as u32, 1, 1];
            rec.launch(Launch::new(&VJP, params, &[w, ids, logits_bar, &x_bar], grid).work(2.0 * n, 8.0 * n))
        })?;
        Ok(x_bar)
    }

    /// Logits `[rows, vocab]` of every entry. Also the jvp.
    pub fn primal_all(&self, rec: &mut Recording, x: &Tensor) -> Result<Tensor> {
        let rows = x.dim(NAME, "rows")?;
        let logits = rec.tensor("logits", &[("rows", rows), ("vocab", self.w.tokens)])?;
        for (from, part) in &self.w.parts {
            matmul::part_into(rec, x, &Weight::full(part.clone()), &logits, *from)?;
        }
        Ok(logits)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: vjp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &VJP];

fn primal(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([w, ids, x], [logits]) = bound.slices();
    let (d, ids) = (p.d as usize, as_u32(ids));
    each_row(logits, p.entries as usize, |i, logits| {
        for (logit, &id) in logits.iter_mut().zip(ids) {
            if let Some(from) = p.offset(id) {
                *logit = dot(&w[from..][..d], &x[i * d..][..d]);
            }
        }
    });
}

fn vjp(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([w, ids, logits_bar], [x_bar]) = bound.slices();
    let (d, wanted, ids) = (p.d as usize, p.entries as usize, as_u32(ids));
    each_row(x_bar, d, |i, x_bar| {
        if p.accumulate == 0 {
            x_bar.fill(0.0);
        }
        for (m, &id) in ids.iter().enumerate() {
            if let Some(from) = p.offset(id) {
                axpy(logits_bar[i * wanted + m], &w[from..][..d], x_bar);
            }
        }
    });
}
