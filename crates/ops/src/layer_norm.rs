//! Layer norm: `y = gain (x - mean) / std + bias` over each row.  `[rows, d] -> [rows, d]`
//!
//! Residuals: the input `[primal, d]` and its statistics `[primal, 2]` (mean, 1/std).

use bytemuck::{Pod, Zeroable};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::layer_norm as shader;

use crate::host::{each_row, sum};
use crate::op::{Kept, Op, Outcome};
use crate::rows::{Row, Rows};

const NAME: &str = "layer_norm";

/// Layer norm with its gain and bias, both `[d]`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Gain `[d]`.
    pub gain: Tensor,
    /// Bias `[d]`.
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    eps: f32,
    pad: u32,
}

impl LayerNorm {
    fn params(&self, rows: usize, d: usize) -> Params {
        Params { rows: rows as u32, d: d as u32, eps: self.eps, pad: 0 }
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn primal(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        _: Option<&Kept>,
        inputs: &[&Tensor],
    ) -> Result<Outcome> {
        let (r, d, x) = (rows.count(), self.gain.dim(NAME, "d")?, inputs[0]);
        x.expect(NAME, &[("rows", r), ("d", d)])?;
        let y = rec.tensor("layer_norm", &[("rows", r), ("d", d)])?;
        let stats = rec.tensor("layer_norm.stats", &[("rows", r), ("stat", 2)])?;
        let n = (r * d) as f64;
        let bindings = [x, &self.gain, &self.bias, &y, &stats];
        rec.launch(
            Launch::new(&PRIMAL, self.params(r, d), &bindings, [r as u32, 1, 1]).work(8.0 * n, 8.0 * n),
        )?;
        Ok(Outcome { kept: Kept::new(&[x, &stats]), y })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, kept: &Kept, x_dot: &[&Tensor]) -> Result<Tensor> {
        let (r, d, [x, stats]) = (rows.count(), self.gain.dim(NAME, "d")?, kept.get());
        x_dot[0].expect(NAME, &[("rows", r), ("d", d)])?;
        let y_dot = rec.tensor("layer_norm.dot", &[("rows", r), ("d", d)])?;
        let n = (r * d) as f64;
        let bindings = [x, &self.gain, stats, rows.table(), x_dot[0], &y_dot];
        rec.launch(
            Launch::new(&JVP, self.params(r, d), &bindings, [r as u32, 1, 1]).work(10.0 * n, 12.0 * n),
        )?;
        Ok(y_dot)
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        kept: &Kept,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let (r, d, [x, stats]) = (rows.count(), self.gain.dim(NAME, "d")?, kept.get());
        y_bar.expect(NAME, &[("rows", r), ("d", d)])?;
        let x_bar = rec.tensor("layer_norm.bar", &[("rows", r), ("d", d)])?;
        let n = (r * d) as f64;
        let mut bindings = vec![x, &self.gain, stats, rows.table(), y_bar, &x_bar];
        let mut kernel = &VJP;
        if let Some(add) = &so_far[0] {
            kernel = &VJP_ADD;
            bindings.push(add);
        }
        rec.launch(
            Launch::new(kernel, self.params(r, d), &bindings, [r as u32, 1, 1]).work(12.0 * n, 16.0 * n),
        )?;
        Ok(vec![x_bar])
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: jvp };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: vjp };
static VJP_ADD: Kernel = Kernel { shader: &shader::VJP_ADD, host: vjp_add };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &VJP, &VJP_ADD];

fn primal(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, gain, bias], [y, stats]) = bound.slices();
    let d = p.d as usize;
    let statistics = |i: usize| {
        let x = &x[i * d..][..d];
        let mean = sum(d, |e| x[e]) / d as f32;
        let var = sum(d, |e| (x[e] - mean) * (x[e] - mean)) / d as f32;
        [mean, 1.0 / (var + p.eps).sqrt()]
    };
    each_row(stats, 2, |i, out| out.copy_from_slice(&statistics(i)));
    each_row(y, d, |i, y| {
        let (x, [mean, rstd]) = (&x[i * d..][..d], [stats[2 * i], stats[2 * i + 1]]);
        for e in 0..d {
            y[e] = gain[e] * ((x[e] - mean) * rstd) + bias[e];
        }
    });
}

fn jvp(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, gain, kept, rows, x_dot], [y_dot]) = bound.slices();
    let d = p.d as usize;
    each_row(y_dot, d, |i, y_dot| {
        let at = Row::read(as_u32(rows), i).primal;
        let (x, x_dot, [mean, rstd]) =
            (&x[at * d..][..d], &x_dot[i * d..][..d], [kept[2 * at], kept[2 * at + 1]]);
        let m0 = sum(d, |e| x_dot[e]) / d as f32;
        let m1 = sum(d, |e| x_dot[e] * (x[e] - mean) * rstd) / d as f32;
        for e in 0..d {
            y_dot[e] = gain[e] * rstd * (x_dot[e] - m0 - (x[e] - mean) * rstd * m1);
        }
    });
}

fn vjp(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, gain, kept, rows, y_bar], [x_bar]) = bound.slices();
    vjp_rows(p, [x, gain, kept, rows, y_bar], x_bar);
}

fn vjp_add(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, gain, kept, rows, y_bar, add], [x_bar]) = bound.slices();
    vjp_rows(p, [x, gain, kept, rows, y_bar], x_bar);
    each_row(x_bar, p.d as usize, |i, x_bar| {
        for (bar, add) in x_bar.iter_mut().zip(&add[i * p.d as usize..]) {
            *bar += add;
        }
    });
}

fn vjp_rows(p: Params, [x, gain, kept, rows, y_bar]: [&[f32]; 5], x_bar: &mut [f32]) {
    let d = p.d as usize;
    each_row(x_bar, d, |i, x_bar| {
        let at = Row::read(as_u32(rows), i).primal;
        let (x, y_bar, [mean, rstd]) =
            (&x[at * d..][..d], &y_bar[i * d..][..d], [kept[2 * at], kept[2 * at + 1]]);
        let m0 = sum(d, |e| gain[e] * y_bar[e]) / d as f32;
        let m1 = sum(d, |e| gain[e] * y_bar[e] * (x[e] - mean) * rstd) / d as f32;
        for e in 0..d {
            x_bar[e] = rstd * (gain[e] * y_bar[e] - m0 - (x[e] - mean) * rstd * m1);
        }
    });
}
