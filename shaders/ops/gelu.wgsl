// gelu:  y = x Phi(x), in GPT-2's tanh form or exact (override EXACT).   Pointwise: jvp and vjp share one derivative d.
//   jvp: y_dot = d(x) x_dot      vjp: x_bar = d(x) y_bar      residual: x, found through `rows`
//   jet: y_ddot = d(x) x_ddot + d'(x) x_dot^2, beside y_dot
//   FROZEN: d(x) = y / x, taken as a constant, in jvp and vjp
//   hvp: x_bar_dot = d(x) y_bar_dot + d'(x) x_dot y_bar, for the first `tangent_rows` rows; entry `shared_from` of
//        `rows` and those after it name the row of each row's y_bar
// Layout: one invocation per element; the grid is 2D because one dimension ends at 65 535 groups. Bound by memory.
#import activation

struct Params {
    rows: u32, n: u32, groups_x: u32, tangent_rows: u32,
    shared_from: u32, pad0: u32, pad1: u32, pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;                       // params
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [primal, n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // [rows, n]    primal out
@group(0) @binding(2) var<storage, read> rows: array<vec4<u32>>;    // [rows, 4]
@group(0) @binding(3) var<storage, read> x_dot: array<f32>;         // [rows, n]    jvp in; [tangent_rows, n] hvp in
@group(0) @binding(4) var<storage, read_write> y_dot: array<f32>;   // [rows, n]    jvp out
@group(0) @binding(3) var<storage, read> y_bar: array<f32>;         // [rows, n]    vjp in
@group(0) @binding(4) var<storage, read_write> x_bar: array<f32>;   // [rows, n]    vjp out
@group(0) @binding(3) var<storage, read> x_jet: array<f32>;         // [2 rows, n]  jet in: x_dot and x_ddot interleaved
@group(0) @binding(4) var<storage, read_write> y_jet: array<f32>;   // [2 rows, n]  jet out
@group(0) @binding(4) var<storage, read> y_bars: array<f32>;        // [rows, n]    hvp in: y_bar_dots, then y_bar
@group(0) @binding(5) var<storage, read_write> x_bars: array<f32>;  // [rows, n]    hvp out: x_bar_dots, then x_bar

// Primal input of element i.
fn primal_of(i: u32) -> f32 {
    return x[rows[i / p.n].x * p.n + i % p.n];
}

fn index(group: vec3<u32>, lane: u32) -> u32 {
    return (group.y * p.groups_x + group.x) * 64u + lane;
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i < p.rows * p.n) { y[i] = value(x[i]); }
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i < p.rows * p.n) { y_dot[i] = slope(primal_of(i)) * x_dot[i]; }
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i < p.rows * p.n) { x_bar[i] = slope(primal_of(i)) * y_bar[i]; }
}

@compute @workgroup_size(64)
fn jet(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let v = primal_of(i);
    let first = 2u * (i / p.n) * p.n + i % p.n;
    let second = first + p.n;
    let dot = x_jet[first];
    y_jet[first] = slope(v) * dot;
    y_jet[second] = slope(v) * x_jet[second] + second_derivative(v) * dot * dot;
}

@compute @workgroup_size(64)
fn hvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let v = primal_of(i);
    let row = i / p.n;
    var bar = slope(v) * y_bars[i];
    if (row < p.tangent_rows) {
        let shared_cotangent = rows[p.shared_from + row].x;
        bar += second_derivative(v) * x_dot[i] * y_bars[shared_cotangent * p.n + i % p.n];
    }
    x_bars[i] = bar;
}
