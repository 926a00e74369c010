//! Rotary embedding: pairs of columns of queries and keys turn by an angle that grows with the token.
//! `[rows, n] -> [rows, n]`
//!
//! Linear, with coefficients that depend on the row's token. A jet is a jvp over two rows for each row of the batch,
//! and a vjp turns back. No residuals.

use std::sync::Arc;

use resolvent_engine::{Bound, Device, Error, Kernel, Recording, Result, Tensor, as_u32};
use resolvent_shaders::rope::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::{launch, params};
use crate::host::{each_row_simd, row_body};
use crate::op::{Frozen, Op, Outcome, Residuals, SecondOrder};
use crate::rows::{Row, Rows};

const NAME: &str = "rope";

/// Positions of the first table; the second has their multiples.
const FINE: usize = 256;

/// Cosines and sines of the angles of every position, in two short tables whose rotations are composed.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// `[fine + coarse, pairs, 2]`
    turns: Tensor,
    pairs: usize,
}

impl RopeTable {
    /// Creates the tables for positions below `positions`. `frequencies` has the angle of each pair of columns, in
    /// radians a token. `scale` multiplies cosines and sines.
    ///
    /// # Errors
    /// There is no frequency or no position, or the device has no room.
    pub fn new(device: &Device, frequencies: &[f64], scale: f64, positions: usize) -> Result<Self> {
        if frequencies.is_empty() || positions == 0 {
            return Err(Error::shape(NAME, "a table needs at least one frequency and one position"));
        }
        let coarse = positions.div_ceil(FINE);
        let fine = (0..FINE).map(|position| (position, scale));
        let all = fine.chain((0..coarse).map(|i| (i * FINE, 1.0)));
        let turn = |(position, scale): (usize, f64)| {
            frequencies.iter().flat_map(move |frequency| {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                [(scale * cos) as f32, (scale * sin) as f32]
            })
        };
        let turns: Vec<f32> = all.flat_map(turn).collect();
        let dims = [("positions", FINE + coarse), ("pairs", frequencies.len()), ("turn", 2)];
        Ok(Self { turns: device.upload("rope.turns", &dims, &turns)?, pairs: frequencies.len() })
    }
}

/// A rotary embedding of the first heads of a row.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Angles of every position.
    pub table: RopeTable,
    /// Number of heads that turn, from column 0 on.
    pub heads: usize,
    /// Width of a head, at least twice the number of frequencies.
    pub d_head: usize,
    /// Length of a row. Columns after the heads are copied.
    pub n: usize,
}

impl Rope {
    fn params(&self, orders: usize) -> Params {
        let [n, heads, d_head, pairs, orders, fine] =
            [self.n, self.heads, self.d_head, self.table.pairs, orders, FINE].map(|n| n as u32);
        Params { n, heads, d_head, pairs, orders, fine }
    }

    /// Creates the output for `x`, and returns how many rows `x` has for each row of the batch.
    fn output(&self, rec: &Recording, rows: &Rows, x: &Tensor) -> Result<(Tensor, usize)> {
        let (heads, pairs) = (self.heads * self.d_head, 2 * self.table.pairs);
        if heads > self.n || pairs > self.d_head {
            let reason =
                format!("{} heads of {}, of which {pairs} turn, in rows of {}", self.heads, self.d_head, self.n);
            return Err(Error::shape(NAME, reason));
        }
        let orders = (x.shape().lengths()[0] / rows.count()).max(1);
        let dims = [("rows", orders * rows.count()), ("n", self.n)];
        x.expect(NAME, &dims)?;
        Ok((rec.tensor(NAME, &dims)?, orders))
    }

    fn turn(&self, rec: &mut Recording, rows: &Rows, x: &Tensor) -> Result<Tensor> {
        let (y, orders) = self.output(rec, rows, x)?;
        let n = y.shape().elements() as f64;
        let buffers = shader::primal::Bindings { rows: rows.table(), turns: &self.table.turns, x, y: &y };
        let grid = [(orders * rows.count()) as u32, 1, 1];
        rec.launch(launch(&PRIMAL, self.params(orders), buffers, grid).work(6.0 * n, 8.0 * n))?;
        Ok(y)
    }
}

impl Op for Rope {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, _: Frozen) -> Option<Arc<dyn Op>> {
        None
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        Ok(Outcome { y: self.turn(rec, rows, inputs[0])?, residuals: Residuals::default() })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, _: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        self.turn(rec, rows, x_dot[0])
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        _: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let (x_bar, _) = self.output(rec, rows, y_bar)?;
        let n = x_bar.shape().elements() as f64;
        let buffers = shader::vjp::Bindings { rows: rows.table(), turns: &self.table.turns, y_bar, x_bar: &x_bar };
        rec.launch(launch(&VJP, self.params(1), buffers, [rows.count() as u32, 1, 1]).work(6.0 * n, 8.0 * n))?;
        accumulate(rec, vec![x_bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::linear()
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: vjp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &VJP];

/// Inputs of both host bodies.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    p: Params,
    rows: &'a [f32],
    turns: &'a [f32],
    x: &'a [f32],
    /// 1, or -1 to turn back.
    sign: f32,
}

fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { rows, turns, x, y } = shader::primal::Bindings::of(bound.slices());
    each_row_simd::<TurnRow>(y, p.n as usize, Inputs { p, rows, turns, x, sign: 1.0 });
}

fn vjp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::vjp::Bindings { rows, turns, y_bar: x, x_bar } = shader::vjp::Bindings::of(bound.slices());
    each_row_simd::<TurnRow>(x_bar, p.n as usize, Inputs { p, rows, turns, x, sign: -1.0 });
}

row_body!(TurnRow<'a>(Inputs<'a>) = turn_row);

#[inline(always)]
fn turn_row(Inputs { p, rows, turns, x, sign }: Inputs<'_>, i: usize, y: &mut [f32]) {
    let (row, pairs, fine) = (i / p.orders as usize, p.pairs as usize, p.fine as usize);
    let position = Row::read(as_u32(rows), row).token(row);
    let table = |at: usize| &turns[2 * at * pairs..][..2 * pairs];
    let (low, high) = (table(position % fine), table(fine + position / fine));
    y.copy_from_slice(&x[i * y.len()..][..y.len()]);
    for head in y.chunks_mut(p.d_head as usize).take(p.heads as usize) {
        let (first, rest) = head.split_at_mut(pairs);
        let turns = low.as_chunks::<2>().0.iter().zip(high.as_chunks::<2>().0);
        for ((a, b), ([lc, ls], [hc, hs])) in first.iter_mut().zip(rest).zip(turns) {
            let (c, s) = (hc * lc - hs * ls, sign * (hs * lc + hc * ls));
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }
}
