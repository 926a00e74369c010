//! Host bodies of a gate's kernels.

use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::gate::{self as shader, Params};

use super::GateActivation;
use crate::arguments::params;
use crate::host::{each_row_simd, gelu, gelu_d, gelu_dd, gelu_ratio, logistic, row_body, silu, silu_d, silu_dd};
use crate::rows::Row;

/// The scalar functions of an activation. A type selects them outside of all loops, so that these are free of branches.
trait Functions {
    fn value(a: f32) -> f32;
    /// `value(a) / a`, also at 0.
    fn ratio(a: f32) -> f32;
    fn derivative(a: f32) -> f32;
    fn second_derivative(a: f32) -> f32;
}

struct Silu;

/// GELU, exact or in its tanh form.
struct Gelu<const EXACT: bool>;

impl Functions for Silu {
    #[inline(always)]
    fn value(a: f32) -> f32 {
        silu(a)
    }

    #[inline(always)]
    fn ratio(a: f32) -> f32 {
        logistic(a)
    }

    #[inline(always)]
    fn derivative(a: f32) -> f32 {
        silu_d(a)
    }

    #[inline(always)]
    fn second_derivative(a: f32) -> f32 {
        silu_dd(a)
    }
}

impl<const EXACT: bool> Functions for Gelu<EXACT> {
    #[inline(always)]
    fn value(a: f32) -> f32 {
        gelu(EXACT, a)
    }

    #[inline(always)]
    fn ratio(a: f32) -> f32 {
        gelu_ratio(EXACT, a)
    }

    #[inline(always)]
    fn derivative(a: f32) -> f32 {
        gelu_d(EXACT, a)
    }

    #[inline(always)]
    fn second_derivative(a: f32) -> f32 {
        gelu_dd(EXACT, a)
    }
}

/// Calls a function of a row with the functions of the activation.
macro_rules! with_functions {
    ($activation:expr, $row:ident($($argument:expr),*)) => {
        match $activation {
            GateActivation::Silu => $row::<Silu>($($argument),*),
            GateActivation::GeluTanh => $row::<Gelu<false>>($($argument),*),
            GateActivation::GeluErf => $row::<Gelu<true>>($($argument),*),
        }
    };
}

/// Inputs of all bodies: the primal, the row table (which only derivatives have), and the tangent, jet or cotangent.
#[derive(Clone, Copy)]
struct Shared<'a> {
    x: &'a [f32],
    rows: &'a [f32],
    t: &'a [f32],
    n: usize,
    activation: GateActivation,
    frozen: bool,
}

impl<'a> Shared<'a> {
    fn new(p: Params, activation: GateActivation, frozen: bool, [x, rows, t]: [&'a [f32]; 3]) -> Self {
        Self { x, rows, t, n: p.n as usize, activation, frozen }
    }

    /// Returns a and b of the primal of row i.
    #[inline(always)]
    fn primal(&self, i: usize) -> [&'a [f32]; 2] {
        pair(self.x, Row::read(as_u32(self.rows), i).primal, self.n)
    }
}

/// Returns both parts of row i of an array `[_, 2n]`.
#[inline(always)]
fn pair(array: &[f32], i: usize, n: usize) -> [&[f32]; 2] {
    let (a, b) = array[2 * i * n..][..2 * n].split_at(n);
    [a, b]
}

/// Reads the activation, and whether the half rule is to be used.
fn form(bound: &Bound<'_>) -> (GateActivation, bool) {
    (GateActivation::of(bound), bound.flag("FROZEN"))
}

pub(super) fn primal(bound: Bound<'_>) {
    let (p, (activation, frozen)) = (params::<Params>(&bound), form(&bound));
    let shader::primal::Bindings { x, y } = shader::primal::Bindings::of(bound.slices());
    each_row_simd::<PrimalRow>(y, p.n as usize, Shared::new(p, activation, frozen, [x, &[], &[]]));
}

row_body!(PrimalRow<'a>(Shared<'a>) = primal_row);

#[inline(always)]
fn primal_row(shared: Shared<'_>, i: usize, y: &mut [f32]) {
    with_functions!(shared.activation, value_row(shared, i, y));
}

#[inline(always)]
fn value_row<F: Functions>(shared: Shared<'_>, i: usize, y: &mut [f32]) {
    let [a, b] = pair(shared.x, i, shared.n);
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = F::value(*a) * b;
    }
}

pub(super) fn jvp(bound: Bound<'_>) {
    let (p, (activation, frozen)) = (params::<Params>(&bound), form(&bound));
    let shader::jvp::Bindings { x, rows, x_dot, y_dot } = shader::jvp::Bindings::of(bound.slices());
    each_row_simd::<JvpRow>(y_dot, p.n as usize, Shared::new(p, activation, frozen, [x, rows, x_dot]));
}

row_body!(JvpRow<'a>(Shared<'a>) = jvp_row);

#[inline(always)]
fn jvp_row(shared: Shared<'_>, i: usize, y_dot: &mut [f32]) {
    with_functions!(shared.activation, tangent_row(shared, i, y_dot));
}

#[inline(always)]
fn tangent_row<F: Functions>(shared: Shared<'_>, i: usize, y_dot: &mut [f32]) {
    let ([a, b], [a_dot, b_dot]) = (shared.primal(i), pair(shared.t, i, shared.n));
    let each = y_dot.iter_mut().zip(a).zip(b).zip(a_dot).zip(b_dot);
    if shared.frozen {
        each.for_each(|((((y, a), b), a_dot), b_dot)| *y = 0.5 * (F::ratio(*a) * b * a_dot + F::value(*a) * b_dot));
    } else {
        each.for_each(|((((y, a), b), a_dot), b_dot)| *y = F::derivative(*a) * b * a_dot + F::value(*a) * b_dot);
    }
}

pub(super) fn vjp(bound: Bound<'_>) {
    let (p, (activation, frozen)) = (params::<Params>(&bound), form(&bound));
    let shader::vjp::Bindings { x, rows, y_bar, x_bar } = shader::vjp::Bindings::of(bound.slices());
    each_row_simd::<VjpRow>(x_bar, 2 * p.n as usize, Shared::new(p, activation, frozen, [x, rows, y_bar]));
}

row_body!(VjpRow<'a>(Shared<'a>) = vjp_row);

#[inline(always)]
fn vjp_row(shared: Shared<'_>, i: usize, x_bar: &mut [f32]) {
    with_functions!(shared.activation, cotangent_row(shared, i, x_bar));
}

#[inline(always)]
fn cotangent_row<F: Functions>(shared: Shared<'_>, i: usize, x_bar: &mut [f32]) {
    let ([a, b], y_bar) = (shared.primal(i), &shared.t[i * shared.n..][..shared.n]);
    let (a_bar, b_bar) = x_bar.split_at_mut(shared.n);
    let each = a_bar.iter_mut().zip(b_bar).zip(a).zip(b).zip(y_bar);
    if shared.frozen {
        each.for_each(|((((a_bar, b_bar), a), b), y_bar)| {
            *a_bar = 0.5 * F::ratio(*a) * b * y_bar;
            *b_bar = 0.5 * F::value(*a) * y_bar;
        });
    } else {
        each.for_each(|((((a_bar, b_bar), a), b), y_bar)| {
            *a_bar = F::derivative(*a) * b * y_bar;
            *b_bar = F::value(*a) * y_bar;
        });
    }
}

pub(super) fn jet(bound: Bound<'_>) {
    let (p, (activation, frozen)) = (params::<Params>(&bound), form(&bound));
    let shader::jet::Bindings { x, rows, x_jet, y_jet } = shader::jet::Bindings::of(bound.slices());
    each_row_simd::<JetRow>(y_jet, 2 * p.n as usize, Shared::new(p, activation, frozen, [x, rows, x_jet]));
}

row_body!(JetRow<'a>(Shared<'a>) = jet_row);

#[inline(always)]
fn jet_row(shared: Shared<'_>, i: usize, y_jet: &mut [f32]) {
    with_functions!(shared.activation, both_orders_row(shared, i, y_jet));
}

#[inline(always)]
fn both_orders_row<F: Functions>(shared: Shared<'_>, i: usize, y_jet: &mut [f32]) {
    let n = shared.n;
    let ([a, b], [a_dot, b_dot]) = (shared.primal(i), pair(shared.t, 2 * i, n));
    let [a_ddot, b_ddot] = pair(shared.t, 2 * i + 1, n);
    let (y_dot, y_ddot) = y_jet.split_at_mut(n);
    let each = y_dot.iter_mut().zip(y_ddot).zip(a).zip(b).zip(a_dot).zip(b_dot).zip(a_ddot).zip(b_ddot);
    each.for_each(|(((((((y_dot, y_ddot), a), b), a_dot), b_dot), a_ddot), b_ddot)| {
        let (value, d) = (F::value(*a), F::derivative(*a));
        let quadratic = (F::second_derivative(*a) * b * a_dot + 2.0 * d * b_dot) * a_dot;
        *y_dot = d * b * a_dot + value * b_dot;
        *y_ddot = d * b * a_ddot + value * b_ddot + quadratic;
    });
}

pub(super) fn hvp(bound: Bound<'_>) {
    let (p, (activation, frozen)) = (params::<Params>(&bound), form(&bound));
    let shader::hvp::Bindings { x, rows, x_dot, y_bars, x_bars } = shader::hvp::Bindings::of(bound.slices());
    let shared = Shared::new(p, activation, frozen, [x, rows, y_bars]);
    each_row_simd::<HvpRow>(x_bars, 2 * p.n as usize, HvpInputs { shared, x_dot, p });
}

/// What an hvp reads: `t` of the shared part is the cotangents.
#[derive(Clone, Copy)]
struct HvpInputs<'a> {
    shared: Shared<'a>,
    x_dot: &'a [f32],
    p: Params,
}

row_body!(HvpRow<'a>(HvpInputs<'a>) = hvp_row);

#[inline(always)]
fn hvp_row(inputs: HvpInputs<'_>, i: usize, x_bar: &mut [f32]) {
    vjp_row(inputs.shared, i, x_bar);
    if i < inputs.p.tangent_rows as usize {
        with_functions!(inputs.shared.activation, paired_row(inputs, i, x_bar));
    }
}

/// Adds the second derivative along the tangent of row i, times the shared cotangent.
#[inline(always)]
fn paired_row<F: Functions>(HvpInputs { shared, x_dot, p }: HvpInputs<'_>, i: usize, x_bar: &mut [f32]) {
    let shared_cotangent = p.shared_cotangent as usize + i - Row::read(as_u32(shared.rows), i).first;
    let ([a, b], [a_dot, b_dot]) = (shared.primal(i), pair(x_dot, i, shared.n));
    let y_bar = &shared.t[shared_cotangent * shared.n..][..shared.n];
    let (a_bar, b_bar) = x_bar.split_at_mut(shared.n);
    let each = a_bar.iter_mut().zip(b_bar).zip(a).zip(b).zip(a_dot).zip(b_dot).zip(y_bar);
    each.for_each(|((((((a_bar, b_bar), a), b), a_dot), b_dot), y_bar)| {
        let d = F::derivative(*a);
        *a_bar += (F::second_derivative(*a) * b * a_dot + d * b_dot) * y_bar;
        *b_bar += d * a_dot * y_bar;
    });
}
