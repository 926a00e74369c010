//! Ops that are linear in their inputs: their rules of all orders follow from one product and its transpose.

use std::sync::Arc;

use resolvent_engine::{Error, Recording, Result, Tensor};

use crate::accumulate::accumulate;
use crate::op::{Frozen, Op, Outcome, Residuals, SecondOrder};
use crate::rows::Rows;

/// An op that is linear in its inputs, except for a constant that its primal may add.
///
/// Its derivative is the same at every point, so its rules get neither residuals nor the rows of a batch. A jet is two
/// tangents a row, and an hvp is a vjp.
pub trait Linear: Send + Sync {
    /// Returns the op's one name, as [`Op::name`].
    fn name(&self) -> &'static str;

    /// Computes the linear part of the op: the jvp, row by row.
    ///
    /// # Errors
    /// A tensor does not fit.
    fn apply(&self, rec: &mut Recording, x: &[&Tensor]) -> Result<Tensor>;

    /// Computes the linear part and adds the constant, if the op has one.
    ///
    /// # Errors
    /// A tensor does not fit.
    fn affine(&self, rec: &mut Recording, x: &[&Tensor]) -> Result<Tensor> {
        self.apply(rec, x)
    }

    /// Computes the cotangent of each input, given that of the output.
    ///
    /// # Errors
    /// A tensor does not fit.
    fn transpose(&self, rec: &mut Recording, y_bar: &Tensor) -> Result<Vec<Tensor>>;
}

impl<L: Linear> Op for L {
    fn name(&self) -> &'static str {
        Linear::name(self)
    }

    fn freeze(&self, _: Frozen) -> Option<Arc<dyn Op>> {
        None
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        let y = self.affine(rec, inputs)?;
        if y.shape().lengths()[0] != rows.count() {
            let reason = format!("the output {} has other rows than the batch, which has {}", y.shape(), rows.count());
            return Err(Error::shape(Linear::name(self), reason));
        }
        Ok(Outcome { y, residuals: Residuals::default() })
    }

    fn jvp(&self, rec: &mut Recording, _: &Rows, _: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        self.apply(rec, x_dot)
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        _: &Rows,
        _: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let bars = self.transpose(rec, y_bar)?;
        accumulate(rec, bars, so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::linear()
    }
}
