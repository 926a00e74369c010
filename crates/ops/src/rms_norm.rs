//! RMS norm: `y = gain x / sqrt(mean(x^2) + eps)` over each segment of a row.  `[rows, n] -> [rows, n]`
//!
//! A segment is a run of columns with its own root mean square: the whole row, or a head of q or k in `[q | k | v]`.
//! Columns outside of the segments are copied. Residuals: the input `[primal, n]` and 1/rms `[primal, segments]`.

mod host;

use std::sync::Arc;

use resolvent_engine::{Device, Error, Kernel, Recording, Result, Tensor};
use resolvent_shaders::rms_norm::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::launch;
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder, switch};
use crate::rows::Rows;

const NAME: &str = "rms_norm";

/// In place of the index of a segment in the table: the columns of this stretch are copied.
const COPIED: u32 = u32::MAX;

/// The segments of a row of `n` columns, uploaded: disjoint runs of columns, each normalised on its own.
#[derive(Clone, Debug)]
pub struct Segments {
    n: usize,
    count: usize,
    /// Segments and the runs of columns between them, in order `[stretches, 4]`: first column, width, index of the
    /// segment or [`COPIED`], 0.
    table: Tensor,
}

impl Segments {
    /// Creates one segment of all `n` columns.
    ///
    /// # Errors
    /// `n` is 0, or the device fails.
    pub fn whole(device: &Device, n: usize) -> Result<Self> {
        Self::new(device, n, &[(0, n)])
    }

    /// Creates segments `(first column, width)` of a row of `n` columns.
    ///
    /// # Errors
    /// There is no segment, one is empty or ends beyond column `n`, two overlap, they are not in the order of their
    /// columns, or the device fails.
    pub fn new(device: &Device, n: usize, segments: &[(usize, usize)]) -> Result<Self> {
        if segments.is_empty() {
            return Err(Error::shape(NAME, "there is no segment; give at least one, or leave the norm out"));
        }
        let (mut table, mut end) = (Vec::new(), 0);
        for (i, &(start, width)) in segments.iter().enumerate() {
            let place = format!("segment {i} (first column {start}, width {width}) of a row of {n} columns");
            if width == 0 {
                return Err(Error::shape(NAME, format!("{place} is empty; leave it out")));
            }
            if start.checked_add(width).is_none_or(|end| end > n) {
                return Err(Error::shape(NAME, format!("{place} ends beyond the row; segments end at {n} at most")));
            }
            if start < end {
                let fix = "sort the segments by column, without overlaps";
                let reason = format!("{place} begins before column {end}, where the one before it ends; {fix}");
                return Err(Error::shape(NAME, reason));
            }
            if start > end {
                table.push([end as u32, (start - end) as u32, COPIED, 0]);
            }
            table.push([start as u32, width as u32, i as u32, 0]);
            end = start + width;
        }
        if end < n {
            table.push([end as u32, (n - end) as u32, COPIED, 0]);
        }
        let words = bytemuck::cast_slice::<_, u32>(&table);
        let table = device.upload("segments", &[("stretches", table.len()), ("entry", 4)], words)?;
        Ok(Self { n, count: segments.len(), table })
    }

    /// Returns the number of columns of a row.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Returns the number of segments.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// RMS norm with its gain and segments.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// Gain `[n]`, one element a column. Those of copied columns are not used.
    pub gain: Tensor,
    /// Added to the mean of the squares.
    pub eps: f32,
    /// The columns that are normalised together.
    pub segments: Segments,
    /// Whether jvp and vjp hold 1/rms constant.
    pub frozen: bool,
}

impl RmsNorm {
    fn params(&self) -> Params {
        let [n, segments] = [self.segments.n, self.segments.count].map(|n| n as u32);
        Params { n, segments, eps: self.eps, tangent_rows: 0, shared_from: 0 }
    }

    /// Returns a workgroup for each row and stretch.
    fn grid(&self, rows: &Rows) -> [u32; 3] {
        [rows.count() as u32, self.segments.table.shape().lengths()[0] as u32, 1]
    }

    /// Creates the output of an entry over `t`, which has one row or (in a jet) two for each of `rows`.
    fn output(
        &self,
        rec: &Recording,
        name: &'static str,
        (orders, rows): (usize, &Rows),
        t: &Tensor,
    ) -> Result<Tensor> {
        let dims = [("rows", orders * rows.count()), ("n", self.segments.n)];
        self.gain.expect(NAME, &[("n", self.segments.n)])?;
        t.expect(NAME, &dims)?;
        rec.tensor(name, &dims)
    }
}

impl Op for RmsNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>> {
        frozen.norm.then(|| Arc::new(Self { frozen: true, ..self.clone() }) as Arc<dyn Op>)
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        let x = inputs[0];
        let y = self.output(rec, "rms_norm", (1, rows), x)?;
        let inverses = rec.tensor("rms_norm.inverses", &[("rows", rows.count()), ("segments", self.segments.count)])?;
        let n = y.shape().elements() as f64;
        let buffers = shader::primal::Bindings {
            x,
            gain: &self.gain,
            stretches: &self.segments.table,
            y: &y,
            inverses: &inverses,
        };
        rec.launch(launch(&PRIMAL, self.params(), buffers, self.grid(rows)).work(6.0 * n, 8.0 * n))?;
        Ok(Outcome { residuals: Residuals::new(&[x, &inverses]), y })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let (y_dot, [x, inverses]) = (self.output(rec, "rms_norm.dot", (1, rows), x_dot[0])?, residuals.get());
        let n = y_dot.shape().elements() as f64;
        let buffers = shader::jvp::Bindings {
            x,
            gain: &self.gain,
            stretches: &self.segments.table,
            residuals: inverses,
            rows: rows.table(),
            x_dot: x_dot[0],
            y_dot: &y_dot,
        };
        rec.launch(
            launch(&JVP, self.params(), buffers, self.grid(rows))
                .constants(&[switch(self.frozen)])
                .work(8.0 * n, 12.0 * n),
        )?;
        Ok(y_dot)
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let (x_bar, [x, inverses]) = (self.output(rec, "rms_norm.bar", (1, rows), y_bar)?, residuals.get());
        let (params, grid, n) = (self.params(), self.grid(rows), x_bar.shape().elements() as f64);
        let (gain, stretches, residuals, rows) = (&self.gain, &self.segments.table, inverses, rows.table());
        let launch = match &so_far[0] {
            Some(add) => {
                add.expect(NAME, x_bar.shape().dims())?;
                let x_bar = &x_bar;
                let buffers = shader::vjp_add::Bindings { x, gain, stretches, residuals, rows, y_bar, x_bar, add };
                launch(&VJP_ADD, params, buffers, grid)
            }
            None => {
                let x_bar = &x_bar;
                let buffers = shader::vjp::Bindings { x, gain, stretches, residuals, rows, y_bar, x_bar };
                launch(&VJP, params, buffers, grid)
            }
        };
        rec.launch(launch.constants(&[switch(self.frozen)]).work(10.0 * n, 16.0 * n))?;
        Ok(vec![x_bar])
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

impl Nonlinear for RmsNorm {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        let (y_jet, [x, inverses]) = (self.output(rec, "rms_norm.jet", (2, rows), x_jet[0])?, residuals.get());
        let n = y_jet.shape().elements() as f64 / 2.0;
        let buffers = shader::jet::Bindings {
            x,
            gain: &self.gain,
            stretches: &self.segments.table,
            residuals: inverses,
            rows: rows.table(),
            x_jet: x_jet[0],
            y_jet: &y_jet,
        };
        rec.launch(launch(&JET, self.params(), buffers, self.grid(rows)).work(26.0 * n, 20.0 * n))?;
        Ok(y_jet)
    }

    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        HvpResiduals { primal, paired }: HvpResiduals<'_>,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let (x_bar, [x, inverses]) = (self.output(rec, "rms_norm.bar", (1, rows), y_bar)?, primal.get());
        let [x_dot] = paired.residuals.get();
        x_dot.expect(NAME, &[("rows", paired.rows), ("n", self.segments.n)])?;
        let params =
            Params { tangent_rows: paired.rows as u32, shared_from: rows.shared_from() as u32, ..self.params() };
        let buffers = shader::hvp::Bindings {
            x,
            gain: &self.gain,
            stretches: &self.segments.table,
            residuals: inverses,
            rows: rows.table(),
            x_dot,
            y_bars: y_bar,
            x_bars: &x_bar,
        };
        let (n, tangents) = (x_bar.shape().elements() as f64, x_dot.shape().elements() as f64);
        let launch = launch(&HVP, params, buffers, self.grid(rows));
        rec.launch(launch.work(10.0 * n + 26.0 * tangents, 16.0 * n + 8.0 * tangents))?;
        // With `so_far`, this entry would bind nine buffers, one more than all devices have.
        accumulate(rec, vec![x_bar], so_far)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: host::primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: host::jvp };
static JET: Kernel = Kernel { shader: &shader::JET, host: host::jet };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: host::vjp };
static VJP_ADD: Kernel = Kernel { shader: &shader::VJP_ADD, host: host::vjp_add };
static HVP: Kernel = Kernel { shader: &shader::HVP, host: host::hvp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &JET, &VJP, &VJP_ADD, &HVP];
