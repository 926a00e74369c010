//! The MLP of a block: `y = gelu(x w1 + b1) w2 + b2`, optionally plus the residual stream.  `[rows, d] -> [rows, d]`
//!
//! A fused chain of [`crate::matmul`], [`crate::gelu`], [`crate::matmul`] and [`crate::add`] in two launches for each
//! of primal, jvp, jet and vjp: GELU, or its slope, is an epilogue of the product. Residual: the pre-activation
//! `[primal, n_inner]`. An hvp needs the two halves of a row from different runs, so GELU is a launch of its own there.

use std::sync::Arc;

use resolvent_engine::{Kernel, Recording, Result, Tensor};

use crate::gelu::{Form, Gelu};
use crate::matmul::{JET_GELU, JVP_GELU, Matmul, PRIMAL_GELU, Product, VJP_GELU, plain, pull};
use crate::op::{Bend, Held, Kept, Op, Outcome, whole};
use crate::rows::Rows;
use crate::weight::Weight;

const NAME: &str = "mlp";

/// Both products of an MLP and the activation between them.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// Into the hidden layer: weight `[d, n_inner]` and bias `[n_inner]`.
    pub fc: (Weight, Tensor),
    /// Back to the residual stream, with its add or without.
    pub proj: Matmul,
    /// Exact GELU instead of GPT-2's tanh form.
    pub exact: bool,
    /// Whether jvp and vjp hold gelu(x) / x constant.
    pub held: bool,
}

impl Mlp {
    fn hidden(&self, rec: &Recording, rows: usize) -> Result<Tensor> {
        rec.tensor("mlp.hidden", &[("rows", rows), ("n_inner", self.fc.1.shape().elements())])
    }

    /// The activation alone, over the same residual.
    fn gelu(&self) -> Gelu {
        Gelu { n: self.fc.1.shape().elements(), exact: self.exact, held: self.held }
    }

    fn form(&self) -> Form {
        Form { exact: self.exact, held: self.held }
    }

    /// `x_bar`, from the hidden layer's cotangent on.
    fn pulled(
        &self,
        rec: &mut Recording,
        hidden: &Tensor,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let x_bar = pull(rec, hidden, &self.fc.0)?;
        let mut bars = vec![crate::add::onto(rec, x_bar, &so_far[0])?];
        if self.proj.add {
            bars.push(crate::add::onto(rec, y_bar.clone(), &so_far[1])?);
        }
        Ok(bars)
    }

    /// The first product of jvp (one tangent a row) or jet (two), with its epilogue: `[orders rows, n_inner]`.
    fn push(
        &self,
        rec: &mut Recording,
        (kernel, orders): (&'static Kernel, usize),
        rows: &Rows,
        kept: &Kept,
        x: &Tensor,
    ) -> Result<Tensor> {
        let (hidden, [pre]) = (self.hidden(rec, orders * rows.count())?, kept.get());
        Product {
            kernel,
            x,
            w: &self.fc.0,
            transposed: false,
            more: &[pre, rows.table()],
            out: &[&hidden],
            gelu: Some(self.form()),
            from: 0,
        }
        .record(rec)?;
        Ok(hidden)
    }
}

impl Op for Mlp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn holding(&self, held: Held) -> Option<Arc<dyn Op>> {
        held.ratio.then(|| Arc::new(Self { held: true, ..self.clone() }) as Arc<dyn Op>)
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Kept>, inputs: &[&Tensor]) -> Result<Outcome> {
        let (hidden, pre) = (self.hidden(rec, rows.count())?, self.hidden(rec, rows.count())?);
        Product {
            kernel: &PRIMAL_GELU,
            x: inputs[0],
            w: &self.fc.0,
            transposed: false,
            more: &[&self.fc.1],
            out: &[&hidden, &pre],
            gelu: Some(self.form()),
            from: 0,
        }
        .record(rec)?;
        let mut inputs = inputs.to_vec();
        inputs[0] = &hidden;
        let y = self.proj.primal(rec, rows, None, &inputs)?.y;
        Ok(Outcome { y, kept: Kept::new(&[&pre]) })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, kept: &Kept, x_dot: &[&Tensor]) -> Result<Tensor> {
        let hidden = self.push(rec, (&JVP_GELU, 1), rows, kept, x_dot[0])?;
        let mut x_dot = x_dot.to_vec();
        x_dot[0] = &hidden;
        self.proj.jvp(rec, rows, &Kept::default(), &x_dot)
    }

    fn jet(&self, rec: &mut Recording, rows: &Rows, kept: &Kept, x_jet: &[&Tensor]) -> Result<Tensor> {
        whole(NAME, self.held)?;
        let hidden = self.push(rec, (&JET_GELU, 2), rows, kept, x_jet[0])?;
        let mut x_jet = x_jet.to_vec();
        x_jet[0] = &hidden;
        self.proj.jet(rec, rows, &Kept::default(), &x_jet)
    }

    fn tangent(&self, rec: &mut Recording, rows: &Rows, kept: &Kept, x_dot: &[&Tensor]) -> Result<Outcome> {
        whole(NAME, self.held)?;
        let pre_dot = plain(rec, x_dot[0], &self.fc.0, None)?;
        let hidden = self.gelu().jvp(rec, rows, kept, &[&pre_dot])?;
        let mut x_dot = x_dot.to_vec();
        x_dot[0] = &hidden;
        let y = self.proj.jvp(rec, rows, &Kept::default(), &x_dot)?;
        Ok(Outcome { y, kept: Kept::new(&[&pre_dot]) })
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        kept: &Kept,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let (hidden, [pre]) = (self.hidden(rec, rows.count())?, kept.get());
        Product {
            kernel: &VJP_GELU,
            x: y_bar,
            w: &self.proj.w,
            transposed: true,
            more: &[pre, rows.table()],
            out: &[&hidden],
            gelu: Some(self.form()),
            from: 0,
        }
        .record(rec)?;
        self.pulled(rec, &hidden, y_bar, so_far)
    }

    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        kept: (&Kept, Bend<'_>),
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let hidden = pull(rec, y_bar, &self.proj.w)?;
        let hidden = self.gelu().bent(rec, rows, kept, &hidden)?;
        self.pulled(rec, &hidden, y_bar, so_far)
    }
}
