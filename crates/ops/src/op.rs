//! What the model's list of operations is made of.

use std::sync::Arc;

use resolvent_engine::{Error, Recording, Result, Tensor};

use crate::rows::Rows;

/// What a primal keeps for its derivatives; each op's page says which tensors, in which order.
#[derive(Clone, Debug, Default)]
pub struct Residuals(Vec<Tensor>);

impl Residuals {
    /// Keeps `tensors`.
    pub fn new(tensors: &[&Tensor]) -> Self {
        Self(tensors.iter().map(|&t| t.clone()).collect())
    }

    /// The tensors, whose number the op that kept them knows.
    pub(crate) fn get<const N: usize>(&self) -> [&Tensor; N] {
        let all: Vec<&Tensor> = self.0.iter().collect();
        all.try_into().expect("an op reads back the residuals that it kept")
    }
}

/// A primal's output and residuals.
#[derive(Debug)]
pub struct Outcome {
    /// The output.
    pub y: Tensor,
    /// What jvp, jet and vjp need.
    pub residuals: Residuals,
}

/// What jvp and vjp take as constant at the primal's value: each of them a switch of the op that has such a factor. There is
/// no second order then: jet, tangent and hvp refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// [`crate::layer_norm`]: 1 / std.
    pub norm: bool,
    /// [`crate::attention`]: the weights of the keys, so that only values carry.
    pub pattern: bool,
    /// [`crate::gelu`], [`crate::mlp`]: gelu(x) / x.
    pub ratio: bool,
}

/// Refuses the second order of an op that holds a factor constant.
pub(crate) fn whole(op: &'static str, frozen: bool) -> Result<()> {
    match frozen {
        true => Err(Error::shape(op, "holds a factor constant, so it has no second order; use it with nothing held")),
        false => Ok(()),
    }
}

/// The switch of a kernel that holds a factor constant.
pub(crate) fn switch(frozen: bool) -> (&'static str, f64) {
    ("FROZEN", f64::from(u8::from(frozen)))
}

/// What [`Op::hvp`] knows of a batch besides its rows: whose tangents bend whose cotangent.
#[derive(Clone, Copy, Debug)]
pub struct Paired<'a> {
    /// What [`Op::tangent`] kept: tensors over the first `rows` rows of the batch.
    pub residuals: &'a Residuals,
    /// How many rows have a tangent, from the first on. The tangents of the others are zero.
    pub rows: usize,
    /// First row of the last run, which holds the cotangent `y_bar` itself.
    pub shared_cotangent: usize,
}

/// An operation of the model's list, with its weights.
///
/// Inputs are `[rows, _]` tensors over the rows of the batch. The primal of a ragged batch also needs its base run's
/// residuals, where an op looks at earlier tokens.
pub trait Op: Send + Sync {
    /// The op's one name: shader file, module, reference, page.
    fn name(&self) -> &'static str;

    /// The same op with jvp and vjp that hold what `frozen` says; `None` where nothing of it changes that.
    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>>;

    /// `y = f(inputs)`. `base` is the base run's residuals, or `None` where every run owns all its tokens.
    fn primal(&self, rec: &mut Recording, rows: &Rows, base: Option<&Residuals>, inputs: &[&Tensor])
    -> Result<Outcome>;

    /// `y_dot` for tangents of the inputs, over `residuals`, the shared primal's residuals.
    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor>;

    /// `y_jet` for jets of the inputs, over `residuals`: both orders of a response at once.
    ///
    /// A jet is `[2 rows, _]`, first and second order of a row in turn: `x_dot` in row 2i, `x_ddot` in row 2i + 1, of
    /// `x(a) = x + a x_dot + a^2/2 x_ddot`. So a product takes it as twice as many rows, and a run that joins a batch
    /// leaves the rows before it where they are.
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor>;

    /// [`Op::jvp`], with what [`Op::hvp`] needs of the tangents. An op that is linear in its inputs needs nothing.
    fn tangent(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Outcome>;

    /// `x_bar` for each input, given `y_bar` and what has reached the input already (`so_far`, which is added).
    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>>;

    /// The vjp and its tangents at once: forward over reverse.
    ///
    /// All runs of the batch own the same tokens, from 0 on. The last one carries `y_bar`, and gets `x_bar`. Each of the
    /// others carries `y_bar_dot`, the tangent of `y_bar` along its own tangent `x_dot`, and gets
    /// `x_bar_dot = J^T y_bar_dot + (dJ/dx x_dot)^T y_bar`. For an op that is linear in its inputs this is the vjp.
    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: (&Residuals, Paired<'_>),
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>>;
}
