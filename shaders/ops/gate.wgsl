// gate:  y = act(a) b  for rows [a | b]: the hidden layer of a gated MLP.
// Pointwise. act is SiLU, or GELU in its tanh form or exact (overrides SILU, EXACT).
//   residual: x = [a | b], found through `rows`
//   jvp: y_dot = act'(a) a_dot b + act(a) b_dot      vjp: a_bar = act'(a) b y_bar,  b_bar = act(a) y_bar
//   jet: y_ddot = act''(a) a_dot^2 b + act'(a) (a_ddot b + 2 a_dot b_dot) + act(a) b_ddot,  beside y_dot
//   hvp: a_bar_dot = act' b y_bar_dot + (act'' a_dot b + act' b_dot) y_bar,  b_bar_dot = act y_bar_dot + act' a_dot
//        y_bar, for the first `tangent_rows` rows; entries of `rows` from `shared_from` on name the row of y_bar
//   FROZEN (the half rule): each factor gets half of the product, with act(a) / a and the other factor constant:
//        y_dot = ((act(a) / a) a_dot b + act(a) b_dot) / 2, and the transpose of that
// Layout: one invocation per element of y; the grid is 2D because one dimension ends at 65 535 groups. Bound by memory.
#import math

override SILU: bool = false;
override EXACT: bool = false;
override FROZEN: bool = false;

struct Params {
    rows: u32, n: u32, groups_x: u32, tangent_rows: u32,
    shared_from: u32, pad0: u32, pad1: u32, pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;                       // params
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [primal, 2n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // [rows, n]     primal out
@group(0) @binding(2) var<storage, read> rows: array<vec4<u32>>;    // [rows, 4]
@group(0) @binding(3) var<storage, read> x_dot: array<f32>;         // [rows, 2n]    jvp in; [tangent_rows, 2n] hvp in
@group(0) @binding(4) var<storage, read_write> y_dot: array<f32>;   // [rows, n]     jvp out
@group(0) @binding(3) var<storage, read> y_bar: array<f32>;         // [rows, n]     vjp in
@group(0) @binding(4) var<storage, read_write> x_bar: array<f32>;   // [rows, 2n]    vjp out
@group(0) @binding(3) var<storage, read> x_jet: array<f32>;         // [2 rows, 2n]  jet in: x_dot and x_ddot,
                                                                    //               interleaved
@group(0) @binding(4) var<storage, read_write> y_jet: array<f32>;   // [2 rows, n]   jet out
@group(0) @binding(4) var<storage, read> y_bars: array<f32>;        // [rows, n]     hvp in: y_bar_dots, then y_bar
@group(0) @binding(5) var<storage, read_write> x_bars: array<f32>;  // [rows, 2n]    hvp out: x_bar_dots, then x_bar

fn act(a: f32) -> f32 {
    if (SILU) { return silu(a); }
    if (EXACT) { return gelu_erf(a); }
    return gelu_new(a);
}

fn slope(a: f32) -> f32 {
    if (SILU) { return silu_d(a); }
    if (EXACT) { return gelu_erf_d(a); }
    return gelu_new_d(a);
}

fn second_derivative(a: f32) -> f32 {
    if (SILU) { return silu_dd(a); }
    if (EXACT) { return gelu_erf_dd(a); }
    return gelu_new_dd(a);
}

fn ratio(a: f32) -> f32 {
    if (SILU) { return logistic(a); }
    if (EXACT) { return normal_cdf(a); }
    return gelu_new_ratio(a);
}

// The derivatives of y by a and by b.
fn partials(a: f32, b: f32) -> vec2<f32> {
    if (FROZEN) { return 0.5 * vec2<f32>(ratio(a) * b, act(a)); }
    return vec2<f32>(slope(a) * b, act(a));
}

fn index(group: vec3<u32>, lane: u32) -> u32 {
    return (group.y * p.groups_x + group.x) * 64u + lane;
}

// Offset of a in a row of [a | b], for element i of y in row `row`. b lies n elements further on.
fn pair_at(row: u32, i: u32) -> u32 {
    return 2u * row * p.n + i % p.n;
}

// a and b of the primal for element i of y.
fn primal_of(i: u32) -> vec2<f32> {
    let at = pair_at(rows[i / p.n].x, i);
    return vec2<f32>(x[at], x[at + p.n]);
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let at = pair_at(i / p.n, i);
    y[i] = act(x[at]) * x[at + p.n];
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let v = primal_of(i);
    let at = pair_at(i / p.n, i);
    let d = partials(v.x, v.y);
    y_dot[i] = d.x * x_dot[at] + d.y * x_dot[at + p.n];
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let v = primal_of(i);
    let at = pair_at(i / p.n, i);
    let d = partials(v.x, v.y);
    x_bar[at] = d.x * y_bar[i];
    x_bar[at + p.n] = d.y * y_bar[i];
}

@compute @workgroup_size(64)
fn jet(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let v = primal_of(i);
    let row = i / p.n;
    let first = pair_at(2u * row, i);
    let second = first + 2u * p.n;
    let a_dot = x_jet[first];
    let b_dot = x_jet[first + p.n];
    let d = slope(v.x);
    let value = act(v.x);
    let at = 2u * row * p.n + i % p.n;
    y_jet[at] = d * a_dot * v.y + value * b_dot;
    y_jet[at + p.n] = second_derivative(v.x) * a_dot * a_dot * v.y
        + d * (x_jet[second] * v.y + 2.0 * a_dot * b_dot) + value * x_jet[second + p.n];
}

@compute @workgroup_size(64)
fn hvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let v = primal_of(i);
    let row = i / p.n;
    let at = pair_at(row, i);
    let d = slope(v.x);
    var a_bar = d * v.y * y_bars[i];
    var b_bar = act(v.x) * y_bars[i];
    if (row < p.tangent_rows) {
        let shared_cotangent = y_bars[rows[p.shared_from + row].x * p.n + i % p.n];
        a_bar += (second_derivative(v.x) * x_dot[at] * v.y + d * x_dot[at + p.n]) * shared_cotangent;
        b_bar += d * x_dot[at] * shared_cotangent;
    }
    x_bars[at] = a_bar;
    x_bars[at + p.n] = b_bar;
}
