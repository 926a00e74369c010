// divide:  y = n = c / s,  where a row of x is [c | s], a vector of d elements and the scale that divides it.
//   jvp: y_dot = (c_dot - n s_dot) / s
//   vjp: c_bar = y_bar / s,  s_bar = -<y_bar, n> / s                              <.,.> sums over the row
//   jet: y_ddot = (c_ddot - n s_ddot - 2 y_dot s_dot) / s
//   hvp: c_bar_dot = (y_bar_dot - b s_dot / s) / s,  s_bar_dot = -(<y_bar_dot, n> + <b, y_dot> - <b, n> s_dot / s) / s
//        for the first `tangent_rows` rows, with b the shared cotangent, whose row is in `rows`, from `shared_from` on
// Residuals: x. A tangent or cotangent row finds its primal through `rows`, so K of them share one primal.
// Layout: one workgroup a row, its invocations stride over the row. Bound by memory: 3 reads, 1 write an element.
#import reduce

struct Params { d: u32, tangent_rows: u32, shared_from: u32, pad0: u32 }

@group(0) @binding(0) var<uniform> p: Params;                          // params
@group(0) @binding(1) var<storage, read> x: array<f32>;                // [primal, d + 1]       in all entries
@group(0) @binding(2) var<storage, read_write> y: array<f32>;          // [rows, d]             primal out

@group(0) @binding(2) var<storage, read> rows: array<vec4<u32>>;       // [rows, 4]
@group(0) @binding(3) var<storage, read> x_dot: array<f32>;            // [rows, d + 1]  jvp in; [tangents, d + 1] hvp
@group(0) @binding(4) var<storage, read_write> y_dot: array<f32>;      // [rows, d]             jvp out
@group(0) @binding(3) var<storage, read> x_jet: array<f32>;            // [2 rows, d + 1]       jet in: interleaved
@group(0) @binding(4) var<storage, read_write> y_jet: array<f32>;      // [2 rows, d]           jet out
@group(0) @binding(3) var<storage, read> y_bar: array<f32>;            // [rows, d]             vjp in
@group(0) @binding(4) var<storage, read_write> x_bar: array<f32>;      // [rows, d + 1]         vjp out
@group(0) @binding(4) var<storage, read> y_bars: array<f32>;           // [rows, d]             hvp in: dots, y_bar
@group(0) @binding(5) var<storage, read_write> x_bars: array<f32>;     // [rows, d + 1]         hvp out: dots, x_bar

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = group.x * (p.d + 1u);
    for (var i = lane; i < p.d; i += WG) { y[group.x * p.d + i] = x[own + i] / x[own + p.d]; }
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x * (p.d + 1u);
    let own = group.x * (p.d + 1u);
    let s = x[at + p.d];
    for (var i = lane; i < p.d; i += WG) {
        y_dot[group.x * p.d + i] = (x_dot[own + i] - x[at + i] / s * x_dot[own + p.d]) / s;
    }
}

@compute @workgroup_size(64)
fn jet(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x * (p.d + 1u);
    let first = 2u * group.x * (p.d + 1u);
    let second = first + p.d + 1u;
    let out = 2u * group.x * p.d;
    let s = x[at + p.d];
    let s_dot = x_jet[first + p.d];
    let s_ddot = x_jet[second + p.d];
    for (var i = lane; i < p.d; i += WG) {
        let n = x[at + i] / s;
        let n_dot = (x_jet[first + i] - n * s_dot) / s;
        y_jet[out + i] = n_dot;
        y_jet[out + p.d + i] = (x_jet[second + i] - n * s_ddot - 2.0 * n_dot * s_dot) / s;
    }
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x * (p.d + 1u);
    let own = group.x * p.d;
    let out = group.x * (p.d + 1u);
    let s = x[at + p.d];
    var along = 0.0;
    for (var i = lane; i < p.d; i += WG) {
        along += y_bar[own + i] * (x[at + i] / s);
        x_bar[out + i] = y_bar[own + i] / s;
    }
    along = sum(lane, along);
    if (lane == 0u) { x_bar[out + p.d] = -along / s; }
}

@compute @workgroup_size(64)
fn hvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x * (p.d + 1u);
    let own = group.x * p.d;
    let out = group.x * (p.d + 1u);
    let tangent = group.x * (p.d + 1u);
    let has_tangent = group.x < p.tangent_rows;
    let shared_cotangent = rows[p.shared_from + group.x].x * p.d;
    let s = x[at + p.d];
    var turn = 0.0;
    if (has_tangent) { turn = x_dot[tangent + p.d] / s; }
    var along = 0.0;
    for (var i = lane; i < p.d; i += WG) {
        let n = x[at + i] / s;
        var bar = y_bars[own + i];
        along += bar * n;
        if (has_tangent) {
            let b = y_bars[shared_cotangent + i];
            along += b * (x_dot[tangent + i] / s - 2.0 * n * turn);
            bar -= b * turn;
        }
        x_bars[out + i] = bar / s;
    }
    along = sum(lane, along);
    if (lane == 0u) { x_bars[out + p.d] = -along / s; }
}
