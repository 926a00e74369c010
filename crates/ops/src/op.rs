//! The interface of an operation of the model's list: [`Op`], its arguments and its results.

use std::sync::Arc;

use resolvent_engine::{Error, Recording, Result, Tensor};

use crate::rows::Rows;

/// Tensors that a primal saves for its derivatives; each op's page lists them in order.
#[derive(Clone, Debug, Default)]
pub struct Residuals(Vec<Tensor>);

impl Residuals {
    /// Collects `tensors` as residuals.
    pub fn new(tensors: &[&Tensor]) -> Self {
        Self(tensors.iter().map(|&t| t.clone()).collect())
    }

    /// Returns the tensors, whose number is known to the op that saved them.
    pub(crate) fn get<const N: usize>(&self) -> [&Tensor; N] {
        let all: Vec<&Tensor> = self.0.iter().collect();
        all.try_into().expect("an op reads back the residuals that it saved")
    }

    /// Returns the first tensor: of a norm, its input.
    pub fn first(&self) -> Option<&Tensor> {
        self.0.first()
    }
}

/// A primal's output and residuals.
#[derive(Debug)]
pub struct Outcome {
    /// The output.
    pub y: Tensor,
    /// Residuals for jvp, jet, vjp and hvp.
    pub residuals: Residuals,
}

/// Factors that jvp and vjp treat as constant, at their primal values. Each is a switch of the op that has the factor.
/// An op with a frozen factor has no second derivatives: its jet, tangent and hvp fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// [`crate::layer_norm`]: 1 / std. [`crate::rms_norm`]: 1 / rms.
    pub norm: bool,
    /// [`crate::attention`]: the weights of the keys, so that only values have tangents and cotangents.
    pub pattern: bool,
    /// [`crate::gelu`], [`crate::mlp`]: gelu(x) / x. [`crate::gate`]: act(a) / a, and in each half of the product the
    /// other factor.
    pub ratio: bool,
}

/// Returns the override constant that freezes the factor of a kernel.
pub(crate) fn switch(frozen: bool) -> (&'static str, f64) {
    ("FROZEN", f64::from(u8::from(frozen)))
}

/// The tangents of an [`Op::hvp`]. The shared cotangents with which they are paired are in the table of its rows; see
/// [`Rows::paired`].
#[derive(Clone, Copy, Debug)]
pub struct Paired<'a> {
    /// Residuals of [`Op::tangent`]: tensors over the first `rows` rows of the batch.
    pub residuals: &'a Residuals,
    /// Number of rows with a tangent, which come first. The tangents of the other rows are zero.
    pub rows: usize,
}

/// An operation of the model's list, with its weights.
///
/// Inputs are `[rows, _]` tensors over the rows of the batch. The primal of a ragged batch also needs its base run's
/// residuals, where an op looks at earlier tokens.
///
/// An op that is linear in its inputs implements [`crate::Linear`] and gets this trait from it. Any other op implements
/// this trait and [`Nonlinear`]. No rule of a nonlinear op has a default that is right only for linear ones.
///
/// ```compile_fail,E0046
/// use std::sync::Arc;
/// use resolvent_engine::{Recording, Result, Tensor};
/// use resolvent_ops::{Frozen, Op, Outcome, Residuals, Rows};
///
/// /// Without [`Op::second_order`] it would get the second derivatives of a linear op: it does not compile.
/// struct Square;
///
/// impl Op for Square {
///     fn name(&self) -> &'static str {
///         "square"
///     }
///     fn freeze(&self, _: Frozen) -> Option<Arc<dyn Op>> {
///         None
///     }
///     fn primal(&self, _: &mut Recording, _: &Rows, _: Option<&Residuals>, _: &[&Tensor]) -> Result<Outcome> {
///         unreachable!()
///     }
///     fn jvp(&self, _: &mut Recording, _: &Rows, _: &Residuals, _: &[&Tensor]) -> Result<Tensor> {
///         unreachable!()
///     }
///     fn vjp(
///         &self, _: &mut Recording, _: &Rows, _: &Residuals, _: &Tensor, _: &[Option<Tensor>],
///     ) -> Result<Vec<Tensor>> {
///         unreachable!()
///     }
/// }
/// ```
pub trait Op: Send + Sync {
    /// Returns the op's one name: shader file, module, reference, page.
    fn name(&self) -> &'static str;

    /// Returns the op with the factors of `frozen` frozen in jvp and vjp; `None` if it has none of these factors.
    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>>;

    /// Computes `y = f(inputs)`. `base` is the base run's residuals, or `None` if every sequence owns all its tokens.
    fn primal(&self, rec: &mut Recording, rows: &Rows, base: Option<&Residuals>, inputs: &[&Tensor])
    -> Result<Outcome>;

    /// Computes `y_dot` for tangents of the inputs, over `residuals`, which are those of the shared primal.
    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor>;

    /// Computes `x_bar` for each input, given `y_bar`. It adds `so_far`, the cotangents accumulated for the inputs.
    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>>;

    /// Returns where jet, tangent and hvp come from.
    fn second_order(&self) -> SecondOrder<'_>;

    /// Computes `y_jet` for jets of the inputs, over `residuals`: both orders of a response at once.
    ///
    /// A jet is `[2 rows, _]`, with both orders of a row interleaved: `x_dot` in row 2i and `x_ddot` in row 2i + 1,
    /// where `x(a) = x + a x_dot + a^2/2 x_ddot`. So a product treats a jet as twice as many rows. A sequence that
    /// joins a batch does not move the rows before it.
    ///
    /// # Errors
    /// A factor is frozen, or a tensor does not fit.
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        match self.second_order().rules(self.name())? {
            Some(rules) => Nonlinear::jet(rules, rec, rows, residuals, x_jet),
            None => self.jvp(rec, rows, residuals, x_jet),
        }
    }

    /// Like [`Op::jvp`]; also returns the residuals for [`Op::hvp`]. An op that is linear in its inputs needs none.
    ///
    /// # Errors
    /// A factor is frozen, or a tensor does not fit.
    fn tangent(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Outcome> {
        match self.second_order().rules(self.name())? {
            Some(rules) => Nonlinear::tangent(rules, rec, rows, residuals, x_dot),
            None => Ok(Outcome { y: self.jvp(rec, rows, residuals, x_dot)?, residuals: Residuals::default() }),
        }
    }

    /// Computes the vjp and its tangents at once: forward over reverse.
    ///
    /// All sequences of the batch own the same tokens, from 0 on. The last one has `y_bar` and gets `x_bar`. Each of
    /// the others has `y_bar_dot`, the tangent of `y_bar` along its own tangent `x_dot`, and gets
    /// `x_bar_dot = J^T y_bar_dot + (dJ/dx x_dot)^T y_bar`. For an op that is linear in its inputs this is the vjp.
    ///
    /// # Errors
    /// A factor is frozen, or a tensor does not fit.
    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        (residuals, paired): (&Residuals, Paired<'_>),
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        match self.second_order().rules(self.name())? {
            Some(rules) => Nonlinear::hvp(rules, rec, rows, HvpResiduals { primal: residuals, paired }, y_bar, so_far),
            None => self.vjp(rec, rows, residuals, y_bar, so_far),
        }
    }
}

/// The rules of second order of an op that is not linear. [`Op::jet`], [`Op::tangent`] and [`Op::hvp`] call them.
pub trait Nonlinear: Op {
    /// Computes [`Op::jet`].
    ///
    /// # Errors
    /// A tensor does not fit.
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor>;

    /// Computes [`Op::tangent`]. By default it is the jvp, and the tangents of the inputs are what the hvp reads.
    ///
    /// # Errors
    /// A tensor does not fit.
    fn tangent(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Outcome> {
        Ok(Outcome { y: self.jvp(rec, rows, residuals, x_dot)?, residuals: Residuals::new(x_dot) })
    }

    /// Computes [`Op::hvp`].
    ///
    /// # Errors
    /// A tensor does not fit.
    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: HvpResiduals<'_>,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>>;
}

/// The residuals that an hvp reads.
#[derive(Clone, Copy, Debug)]
pub struct HvpResiduals<'a> {
    /// Those of the primal.
    pub primal: &'a Residuals,
    /// Those of the tangents.
    pub paired: Paired<'a>,
}

/// Where an op's jet, tangent and hvp come from. Only [`crate::Linear`] derives them from jvp and vjp.
pub struct SecondOrder<'a>(Rules<'a>);

enum Rules<'a> {
    Linear,
    Without(&'static str),
    Nonlinear(&'a dyn Nonlinear),
}

impl<'a> SecondOrder<'a> {
    /// Returns the rules of an op that is linear in its inputs.
    pub(crate) fn linear() -> Self {
        Self(Rules::Linear)
    }

    /// Selects the rules of `op`. While a factor of it is `frozen`, it has none, and jet, tangent and hvp fail.
    pub fn of(op: &'a dyn Nonlinear, frozen: bool) -> Self {
        match frozen {
            true => Self::without("a frozen factor has no second derivatives; unfreeze the op"),
            false => Self(Rules::Nonlinear(op)),
        }
    }

    /// Returns no rules: jet, tangent and hvp fail with this reason.
    pub(crate) fn without(reason: &'static str) -> Self {
        Self(Rules::Without(reason))
    }

    /// Returns the rules of the op called `op`, or `None` if it is linear.
    fn rules(self, op: &'static str) -> Result<Option<&'a dyn Nonlinear>> {
        match self.0 {
            Rules::Linear => Ok(None),
            Rules::Nonlinear(rules) => Ok(Some(rules)),
            Rules::Without(reason) => Err(Error::shape(op, reason)),
        }
    }
}

/// Returns `x` with `first` in place of its first tensor.
pub(crate) fn with_first<'a>(x: &[&'a Tensor], first: &'a Tensor) -> Vec<&'a Tensor> {
    std::iter::once(first).chain(x.iter().skip(1).copied()).collect()
}
