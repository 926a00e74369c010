//! Host bodies of the gate's kernels.

use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::gate::{self as shader, Params};

use super::GateActivation;
use crate::arguments::params;
use crate::host::{each_row_simd, gelu, gelu_d, gelu_dd, gelu_ratio, logistic, row_body};
use crate::rows::{Row, shared_row};

/// Inputs of all bodies. `t` is the tangent, jet or cotangent.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    x: &'a [f32],
    rows: &'a [f32],
    t: &'a [f32],
    /// The tangents of an hvp.
    x_dot: &'a [f32],
    activation: GateActivation,
    frozen: bool,
    p: Params,
}

/// Value, slope, second derivative and ratio of an activation. Unused ones are not computed once it is inlined.
trait Act {
    fn value(a: f32) -> f32;
    fn slope(a: f32) -> f32;
    fn second(a: f32) -> f32;
    fn ratio(a: f32) -> f32;
}

struct Silu;
struct Gelu<const EXACT: bool>;

/// The logistic function of the host ends at about 1e-38 instead of 0: beyond this point its product with an argument
/// is taken at the point itself, where it is below the smallest f32 that matters.
const FAR: f32 = 100.0;

impl Act for Silu {
    #[inline(always)]
    fn value(a: f32) -> f32 {
        a.max(-FAR) * logistic(a)
    }

    #[inline(always)]
    fn slope(a: f32) -> f32 {
        let s = logistic(a);
        s + a.clamp(-FAR, FAR) * s * logistic(-a)
    }

    #[inline(always)]
    fn second(a: f32) -> f32 {
        let (s, t) = (logistic(a), logistic(-a));
        s * t * (2.0 + a.clamp(-FAR, FAR) * (t - s))
    }

    #[inline(always)]
    fn ratio(a: f32) -> f32 {
        logistic(a)
    }
}

impl<const EXACT: bool> Act for Gelu<EXACT> {
    #[inline(always)]
    fn value(a: f32) -> f32 {
        gelu(EXACT, a)
    }

    #[inline(always)]
    fn slope(a: f32) -> f32 {
        gelu_d(EXACT, a)
    }

    #[inline(always)]
    fn second(a: f32) -> f32 {
        gelu_dd(EXACT, a)
    }

    #[inline(always)]
    fn ratio(a: f32) -> f32 {
        gelu_ratio(EXACT, a)
    }
}

/// Calls `$row::<A>` for the activation of the inputs: the choice is made outside of the loops, which have no branches.
macro_rules! by_activation {
    ($row:ident($inputs:expr, $i:expr, $y:expr)) => {
        match $inputs.activation {
            GateActivation::Silu => $row::<Silu>($inputs, $i, $y),
            GateActivation::GeluTanh => $row::<Gelu<false>>($inputs, $i, $y),
            GateActivation::GeluErf => $row::<Gelu<true>>($inputs, $i, $y),
        }
    };
}

impl<'a> Inputs<'a> {
    fn new(bound: &Bound<'_>) -> Self {
        let (activation, frozen, p) = (GateActivation::of(bound), bound.flag("FROZEN"), params(bound));
        Self { x: &[], rows: &[], t: &[], x_dot: &[], activation, frozen, p }
    }

    /// Returns a and b of row `row` of `data`.
    #[inline(always)]
    fn pair(&self, data: &'a [f32], row: usize) -> (&'a [f32], &'a [f32]) {
        let n = self.p.n as usize;
        data[2 * row * n..][..2 * n].split_at(n)
    }

    /// Returns a and b of the primal of batch row `i`.
    #[inline(always)]
    fn primal(&self, i: usize) -> (&'a [f32], &'a [f32]) {
        self.pair(self.x, Row::read(as_u32(self.rows), i).primal)
    }
}

/// Returns the derivatives of y by a and by b.
#[inline(always)]
fn partials<A: Act>(frozen: bool, a: f32, b: f32) -> (f32, f32) {
    match frozen {
        true => (0.5 * A::ratio(a) * b, 0.5 * A::value(a)),
        false => (A::slope(a) * b, A::value(a)),
    }
}

pub(super) fn primal(bound: Bound<'_>) {
    let inputs = Inputs::new(&bound);
    let shader::primal::Bindings { x, y } = shader::primal::Bindings::of(bound.slices());
    each_row_simd::<PrimalRow>(y, inputs.p.n as usize, Inputs { x, ..inputs });
}

row_body!(PrimalRow<'a>(Inputs<'a>) = primal_row);

#[inline(always)]
fn primal_row(inputs: Inputs<'_>, i: usize, y: &mut [f32]) {
    by_activation!(primal_of(inputs, i, y));
}

#[inline(always)]
fn primal_of<A: Act>(inputs: Inputs<'_>, i: usize, y: &mut [f32]) {
    let (a, b) = inputs.pair(inputs.x, i);
    y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = A::value(*a) * b);
}

pub(super) fn jvp(bound: Bound<'_>) {
    let inputs = Inputs::new(&bound);
    let shader::jvp::Bindings { x, rows, x_dot: t, y_dot } = shader::jvp::Bindings::of(bound.slices());
    each_row_simd::<JvpRow>(y_dot, inputs.p.n as usize, Inputs { x, rows, t, ..inputs });
}

row_body!(JvpRow<'a>(Inputs<'a>) = jvp_row);

#[inline(always)]
fn jvp_row(inputs: Inputs<'_>, i: usize, y_dot: &mut [f32]) {
    by_activation!(jvp_of(inputs, i, y_dot));
}

#[inline(always)]
fn jvp_of<A: Act>(inputs: Inputs<'_>, i: usize, y_dot: &mut [f32]) {
    let ((a, b), (a_dot, b_dot)) = (inputs.primal(i), inputs.pair(inputs.t, i));
    let each = y_dot.iter_mut().zip(a).zip(b).zip(a_dot).zip(b_dot);
    each.for_each(|((((y, a), b), a_dot), b_dot)| {
        let (by_a, by_b) = partials::<A>(inputs.frozen, *a, *b);
        *y = by_a * a_dot + by_b * b_dot;
    });
}

pub(super) fn vjp(bound: Bound<'_>) {
    let inputs = Inputs::new(&bound);
    let shader::vjp::Bindings { x, rows, y_bar: t, x_bar } = shader::vjp::Bindings::of(bound.slices());
    each_row_simd::<VjpRow>(x_bar, 2 * inputs.p.n as usize, Inputs { x, rows, t, ..inputs });
}

row_body!(VjpRow<'a>(Inputs<'a>) = vjp_row);

#[inline(always)]
fn vjp_row(inputs: Inputs<'_>, i: usize, x_bar: &mut [f32]) {
    by_activation!(vjp_of(inputs, i, x_bar));
}

#[inline(always)]
fn vjp_of<A: Act>(inputs: Inputs<'_>, i: usize, x_bar: &mut [f32]) {
    let ((a, b), n) = (inputs.primal(i), x_bar.len() / 2);
    let (a_bar, b_bar) = x_bar.split_at_mut(n);
    let each = a_bar.iter_mut().zip(b_bar).zip(a).zip(b).zip(&inputs.t[i * n..]);
    each.for_each(|((((a_bar, b_bar), a), b), y_bar)| {
        let (by_a, by_b) = partials::<A>(inputs.frozen, *a, *b);
        (*a_bar, *b_bar) = (by_a * y_bar, by_b * y_bar);
    });
}

pub(super) fn jet(bound: Bound<'_>) {
    let inputs = Inputs::new(&bound);
    let shader::jet::Bindings { x, rows, x_jet: t, y_jet } = shader::jet::Bindings::of(bound.slices());
    each_row_simd::<JetRow>(y_jet, 2 * inputs.p.n as usize, Inputs { x, rows, t, ..inputs });
}

row_body!(JetRow<'a>(Inputs<'a>) = jet_row);

#[inline(always)]
fn jet_row(inputs: Inputs<'_>, i: usize, y_jet: &mut [f32]) {
    by_activation!(jet_of(inputs, i, y_jet));
}

#[inline(always)]
fn jet_of<A: Act>(inputs: Inputs<'_>, i: usize, y_jet: &mut [f32]) {
    let (a, b) = inputs.primal(i);
    let ((a_dot, b_dot), (a_ddot, b_ddot)) = (inputs.pair(inputs.t, 2 * i), inputs.pair(inputs.t, 2 * i + 1));
    let (y_dot, y_ddot) = y_jet.split_at_mut(y_jet.len() / 2);
    for (j, (y_dot, y_ddot)) in y_dot.iter_mut().zip(y_ddot).enumerate() {
        let (a, b, a_dot, b_dot) = (a[j], b[j], a_dot[j], b_dot[j]);
        let (slope, value) = (A::slope(a), A::value(a));
        *y_dot = slope * a_dot * b + value * b_dot;
        *y_ddot = A::second(a) * a_dot * a_dot * b + slope * (a_ddot[j] * b + 2.0 * a_dot * b_dot) + value * b_ddot[j];
    }
}

pub(super) fn hvp(bound: Bound<'_>) {
    let inputs = Inputs::new(&bound);
    let shader::hvp::Bindings { x, rows, x_dot, y_bars: t, x_bars } = shader::hvp::Bindings::of(bound.slices());
    each_row_simd::<HvpRow>(x_bars, 2 * inputs.p.n as usize, Inputs { x, rows, t, x_dot, ..inputs });
}

row_body!(HvpRow<'a>(Inputs<'a>) = hvp_row);

#[inline(always)]
fn hvp_row(inputs: Inputs<'_>, i: usize, x_bar: &mut [f32]) {
    by_activation!(hvp_of(inputs, i, x_bar));
}

/// Computes the vjp of row i. A row with a tangent also gets the tangents of both partial derivatives times the shared
/// cotangent.
#[inline(always)]
fn hvp_of<A: Act>(inputs: Inputs<'_>, i: usize, x_bar: &mut [f32]) {
    vjp_of::<A>(inputs, i, x_bar);
    if i >= inputs.p.tangent_rows as usize {
        return;
    }
    let n = x_bar.len() / 2;
    let ((a, b), (a_dot, b_dot)) = (inputs.primal(i), inputs.pair(inputs.x_dot, i));
    let shared = &inputs.t[shared_row(as_u32(inputs.rows), inputs.p.shared_from, i) * n..][..n];
    let (a_bar, b_bar) = x_bar.split_at_mut(n);
    for (j, (a_bar, b_bar)) in a_bar.iter_mut().zip(b_bar).enumerate() {
        let slope = A::slope(a[j]);
        *a_bar += (A::second(a[j]) * a_dot[j] * b[j] + slope * b_dot[j]) * shared[j];
        *b_bar += slope * a_dot[j] * shared[j];
    }
}
