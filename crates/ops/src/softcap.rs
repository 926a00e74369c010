//! The soft-cap of logits, `y = c tanh(x / c)`, with the derivatives that the head needs.  `[rows, n] -> [rows, n]`
//!
//! Rows of derivatives belong to points, whose logits before the cap they share. There are no residuals beside these.

use resolvent_engine::{Bound, Kernel, Recording, Result, Tensor, as_u32};
use resolvent_shaders::Entry;
use resolvent_shaders::softcap::{self as shader, Params};

use crate::arguments::{launch, params};
use crate::flat_grid;
use crate::host::{dot, each_row, tanh_d};

const NAME: &str = "softcap";

/// A soft-cap.
#[derive(Clone, Copy, Debug)]
pub struct SoftCap {
    /// The bound c that values approach, positive.
    pub cap: f32,
}

/// Points at which a soft-cap is expanded, and the rows of derivatives there.
#[derive(Clone, Copy, Debug)]
pub struct CapPoints<'a> {
    /// Values before the cap `[points, n]`.
    pub x: &'a Tensor,
    /// The point of each row `[rows]`, u32.
    pub points: &'a Tensor,
}

impl SoftCap {
    /// Computes `c tanh(x / c)`.
    pub fn primal(&self, rec: &mut Recording, x: &Tensor) -> Result<Tensor> {
        let y = rec.tensor(NAME, x.shape().dims())?;
        self.record(rec, &PRIMAL, x, shader::primal::Bindings { x, y: &y })?;
        Ok(y)
    }

    /// Multiplies tangents or cotangents `t [rows, n]` by the slope of the cap at their points.
    pub fn slope(&self, rec: &mut Recording, CapPoints { x, points }: CapPoints<'_>, t: &Tensor) -> Result<Tensor> {
        let out = rec.tensor("softcap.slope", t.shape().dims())?;
        self.record(rec, &SLOPE, t, shader::slope::Bindings { x, points, t, out: &out })?;
        Ok(out)
    }

    /// Returns `g''(x) bar t [rows, n]`, where `bar [points, n]` is the cotangent of the capped values.
    pub fn second(
        &self,
        rec: &mut Recording,
        CapPoints { x, points }: CapPoints<'_>,
        bar: &Tensor,
        t: &Tensor,
    ) -> Result<Tensor> {
        bar.expect(NAME, x.shape().dims())?;
        let turned = rec.tensor("softcap.second", t.shape().dims())?;
        self.record(rec, &SECOND, t, shader::second::Bindings { x, points, t, bar, turned: &turned })?;
        Ok(turned)
    }

    /// Adds `<q, along>` to the last of the four moments of each row, `[rows, 4]`.
    pub fn fold(&self, rec: &mut Recording, [q, along]: [&Tensor; 2], moments: &Tensor) -> Result<Tensor> {
        let [rows, n] = [0, 1].map(|i| q.shape().lengths()[i]);
        along.expect(NAME, q.shape().dims())?;
        let folded = rec.tensor("softcap.moments", moments.shape().dims())?;
        let params = Params { rows: rows as u32, n: n as u32, groups_x: rows as u32, cap: self.cap };
        let buffers = shader::fold::Bindings { q, along, moments, folded: &folded };
        let items = (rows * n) as f64;
        rec.launch(launch(&FOLD, params, buffers, [rows as u32, 1, 1]).work(2.0 * items, 8.0 * items))?;
        Ok(folded)
    }

    /// Records a pointwise launch over the elements of `like [rows, n]`.
    fn record<'a, E>(&self, rec: &mut Recording, kernel: &'static Kernel, like: &Tensor, buffers: E) -> Result<()>
    where
        E: Entry<Slot = &'a Tensor, Params = Params>,
    {
        let [rows, n] = [0, 1].map(|i| like.shape().lengths()[i]);
        let (items, (grid, groups_x)) = (rows * n, flat_grid(rows * n));
        let params = Params { rows: rows as u32, n: n as u32, groups_x, cap: self.cap };
        rec.launch(launch(kernel, params, buffers, grid).work(12.0 * items as f64, 12.0 * items as f64))
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static SLOPE: Kernel = Kernel { shader: &shader::SLOPE, host: slope };
static SECOND: Kernel = Kernel { shader: &shader::SECOND, host: second };
static FOLD: Kernel = Kernel { shader: &shader::FOLD, host: fold };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &SLOPE, &SECOND, &FOLD];

fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { x, y } = shader::primal::Bindings::of(bound.slices());
    each_row(y, p.n as usize, |row, y| {
        let x = &x[row * y.len()..][..y.len()];
        y.iter_mut().zip(x).for_each(|(y, x)| *y = p.cap * (x / p.cap).tanh());
    });
}

fn slope(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::slope::Bindings { x, points, t, out } = shader::slope::Bindings::of(bound.slices());
    let points = as_u32(points);
    each_row(out, p.n as usize, |row, out| {
        let (n, point) = (out.len(), points[row] as usize);
        let each = out.iter_mut().zip(&x[point * n..]).zip(&t[row * n..]);
        each.for_each(|((out, x), t)| *out = tanh_d(x / p.cap) * t);
    });
}

fn second(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::second::Bindings { x, points, t, bar, turned } = shader::second::Bindings::of(bound.slices());
    let points = as_u32(points);
    each_row(turned, p.n as usize, |row, out| {
        let (n, point) = (out.len(), points[row] as usize);
        let each = out.iter_mut().zip(&x[point * n..]).zip(&bar[point * n..]).zip(&t[row * n..]);
        each.for_each(|(((out, x), bar), t)| {
            *out = -2.0 * (x / p.cap).tanh() * tanh_d(x / p.cap) / p.cap * bar * t;
        });
    });
}

fn fold(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::fold::Bindings { q, along, moments, folded } = shader::fold::Bindings::of(bound.slices());
    each_row(folded, 4, |row, folded| {
        let n = p.n as usize;
        folded.copy_from_slice(&moments[4 * row..][..4]);
        folded[3] += dot(&q[row * n..][..n], &along[row * n..][..n]);
    });
}
