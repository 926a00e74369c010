//! The MLP of a block: `y = gelu(x w1 + b1) w2 + b2`, optionally plus the residual stream.  `[rows, d] -> [rows, d]`
//!
//! It fuses [`crate::matmul`], [`crate::gelu`], [`crate::matmul`] and [`crate::add`] into two launches for each of
//! primal, jvp, jet and vjp: GELU, or its slope, is an epilogue of the product. Residual: the pre-activation
//! `[primal, n_inner]`. In an hvp, GELU needs rows of two sequences, the tangent's and that of the shared cotangent, so
//! it is a separate launch.

use std::sync::Arc;

use resolvent_engine::{Recording, Result, Tensor};

use crate::accumulate::accumulate;
use crate::gelu::{Form, Gelu};
use crate::linear::Linear;
use crate::matmul::{Activation, Formula, Matmul, Product, product, transposed_product};
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder, with_first};
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
    /// Whether jvp and vjp freeze gelu(x) / x.
    pub frozen: bool,
}

impl Mlp {
    fn hidden(&self, rec: &Recording, rows: usize) -> Result<Tensor> {
        rec.tensor("mlp.hidden", &[("rows", rows), ("n_inner", self.fc.1.shape().elements())])
    }

    /// Returns the activation alone, over the same residual.
    fn gelu(&self) -> Gelu {
        Gelu { n: self.fc.1.shape().elements(), exact: self.exact, frozen: self.frozen }
    }

    fn form(&self) -> Form {
        Form { exact: self.exact, frozen: self.frozen }
    }

    /// Returns `x_bar`, given the cotangent of the hidden layer.
    fn vjp_from_hidden(
        &self,
        rec: &mut Recording,
        hidden: &Tensor,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let x_bar = transposed_product(rec, hidden, &self.fc.0)?;
        let mut bars = vec![x_bar];
        bars.extend(self.proj.add.then(|| y_bar.clone()));
        accumulate(rec, bars, so_far)
    }

    /// Returns the activation that a derivative passes.
    fn activation<'a>(&self, rows: &'a Rows, residuals: &'a Residuals) -> Activation<'a> {
        let [pre] = residuals.get();
        Activation { pre, rows: rows.table(), form: self.form() }
    }
}

impl Op for Mlp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>> {
        frozen.ratio.then(|| Arc::new(Self { frozen: true, ..self.clone() }) as Arc<dyn Op>)
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        let (hidden, pre) = (self.hidden(rec, rows.count())?, self.hidden(rec, rows.count())?);
        let (w, bias) = (&self.fc.0, &self.fc.1);
        let formula = Formula::BiasGelu { bias, pre: &pre, form: self.form() };
        Product { x: inputs[0], w, y: &hidden, formula }.record(rec)?;
        let y = self.proj.affine(rec, &with_first(inputs, &hidden))?;
        Ok(Outcome { y, residuals: Residuals::new(&[&pre]) })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let hidden = self.hidden(rec, rows.count())?;
        let formula = Formula::StraightSlope(self.activation(rows, residuals));
        Product { x: x_dot[0], w: &self.fc.0, y: &hidden, formula }.record(rec)?;
        self.proj.apply(rec, &with_first(x_dot, &hidden))
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let hidden = self.hidden(rec, rows.count())?;
        let formula = Formula::TransposedSlope(self.activation(rows, residuals));
        Product { x: y_bar, w: &self.proj.w, y: &hidden, formula }.record(rec)?;
        self.vjp_from_hidden(rec, &hidden, y_bar, so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

impl Nonlinear for Mlp {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        let hidden = self.hidden(rec, 2 * rows.count())?;
        let formula = Formula::StraightJet(self.activation(rows, residuals));
        Product { x: x_jet[0], w: &self.fc.0, y: &hidden, formula }.record(rec)?;
        self.proj.apply(rec, &with_first(x_jet, &hidden))
    }

    fn tangent(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Outcome> {
        let pre_dot = product(rec, x_dot[0], &self.fc.0, None)?;
        let hidden = self.gelu().jvp(rec, rows, residuals, &[&pre_dot])?;
        let y = self.proj.apply(rec, &with_first(x_dot, &hidden))?;
        Ok(Outcome { y, residuals: Residuals::new(&[&pre_dot]) })
    }

    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: HvpResiduals<'_>,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let hidden = transposed_product(rec, y_bar, &self.proj.w)?;
        let hidden = self.gelu().hvp_from(rec, rows, residuals, &hidden)?;
        self.vjp_from_hidden(rec, &hidden, y_bar, so_far)
    }
}
