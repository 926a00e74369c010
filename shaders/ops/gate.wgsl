// gate:  y = f(a) b  for rows [a | b].  f is SiLU (override SILU), or GELU in GPT-2's tanh form or exact (override EXACT).
//   jvp: y_dot = f'(a) b a_dot + f(a) b_dot
//   vjp: a_bar = f'(a) b y_bar,  b_bar = f(a) y_bar                           residual: x = [a | b], found through `rows`
//   jet: y_ddot = f'(a) b a_ddot + f(a) b_ddot + f''(a) b a_dot^2 + 2 f'(a) a_dot b_dot, beside y_dot
//   FROZEN: in jvp and vjp, f(a) / a replaces f'(a), and each product has a factor 1/2. So x_dot = x gives y_dot = y.
//   hvp: a_bar_dot = f'(a) b y_bar_dot + (f''(a) b a_dot + f'(a) b_dot) y_bar,  b_bar_dot = f(a) y_bar_dot + f'(a) a_dot y_bar,
//        for the first `tangent_rows` rows; the sequence of y_bar begins at row `shared_cotangent`
// Layout: one invocation per element of y; the grid is 2D because one dimension ends at 65 535 groups. Bound by memory.
#import math

override SILU: bool = false;
override EXACT: bool = false;
override FROZEN: bool = false;

struct Params {
    rows: u32, n: u32, groups_x: u32, tangent_rows: u32,
    shared_cotangent: u32, pad0: u32, pad1: u32, pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;                       // params
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [primal, 2n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // [rows, n]     primal out
@group(0) @binding(2) var<storage, read> rows: array<vec4<u32>>;    // [rows, 4]
@group(0) @binding(3) var<storage, read> x_dot: array<f32>;         // [rows, 2n]    jvp in; [tangent_rows, 2n] hvp in
@group(0) @binding(4) var<storage, read_write> y_dot: array<f32>;   // [rows, n]     jvp out
@group(0) @binding(3) var<storage, read> y_bar: array<f32>;         // [rows, n]     vjp in
@group(0) @binding(4) var<storage, read_write> x_bar: array<f32>;   // [rows, 2n]    vjp out
@group(0) @binding(3) var<storage, read> x_jet: array<f32>;         // [2 rows, 2n]  jet in: x_dot and x_ddot interleaved
@group(0) @binding(4) var<storage, read_write> y_jet: array<f32>;   // [2 rows, n]   jet out
@group(0) @binding(4) var<storage, read> y_bars: array<f32>;        // [rows, n]     hvp in: y_bar_dots, then y_bar
@group(0) @binding(5) var<storage, read_write> x_bars: array<f32>;  // [rows, 2n]    hvp out: x_bar_dots, then x_bar

fn value(a: f32) -> f32 {
    if (SILU) { return silu(a); }
    if (EXACT) { return gelu_erf(a); }
    return gelu_new(a);
}

fn derivative(a: f32) -> f32 {
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

// The row and column of an element of y, and the primal's a and b there.
struct Element { row: u32, column: u32, a: f32, b: f32 }

fn element(i: u32) -> Element {
    let row = i / p.n;
    let column = i % p.n;
    let at = 2u * rows[row].x * p.n + column;
    return Element(row, column, x[at], x[at + p.n]);
}

// The derivatives of y along a and along b.
fn slopes(e: Element) -> vec2<f32> {
    if (FROZEN) { return 0.5 * vec2<f32>(ratio(e.a) * e.b, value(e.a)); }
    return vec2<f32>(derivative(e.a) * e.b, value(e.a));
}

// The place of a in an array [_, 2n]; b is n further.
fn place(e: Element, row: u32) -> u32 {
    return 2u * row * p.n + e.column;
}

fn index(group: vec3<u32>, lane: u32) -> u32 {
    return (group.y * p.groups_x + group.x) * 64u + lane;
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let at = 2u * (i / p.n) * p.n + i % p.n;
    y[i] = value(x[at]) * x[at + p.n];
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let e = element(i);
    let at = place(e, e.row);
    let d = slopes(e);
    y_dot[i] = d.x * x_dot[at] + d.y * x_dot[at + p.n];
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let e = element(i);
    let at = place(e, e.row);
    let d = slopes(e);
    x_bar[at] = d.x * y_bar[i];
    x_bar[at + p.n] = d.y * y_bar[i];
}

@compute @workgroup_size(64)
fn jet(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let e = element(i);
    let d = slopes(e);
    let first = place(e, 2u * e.row);
    let second = place(e, 2u * e.row + 1u);
    let a_dot = x_jet[first];
    let b_dot = x_jet[first + p.n];
    let quadratic = (second_derivative(e.a) * e.b * a_dot + 2.0 * derivative(e.a) * b_dot) * a_dot;
    let y_first = 2u * e.row * p.n + e.column;
    y_jet[y_first] = d.x * a_dot + d.y * b_dot;
    y_jet[y_first + p.n] = d.x * x_jet[second] + d.y * x_jet[second + p.n] + quadratic;
}

@compute @workgroup_size(64)
fn hvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let e = element(i);
    let at = place(e, e.row);
    var bars = slopes(e) * y_bars[i];
    if (e.row < p.tangent_rows) {
        let shared_cotangent = p.shared_cotangent + e.row - rows[e.row].y;
        let bar = y_bars[shared_cotangent * p.n + e.column];
        let d = derivative(e.a);
        let along_a = second_derivative(e.a) * e.b * x_dot[at] + d * x_dot[at + p.n];
        bars += vec2<f32>(along_a, d * x_dot[at]) * bar;
    }
    x_bars[at] = bars.x;
    x_bars[at + p.n] = bars.y;
}
