// softcap:  y = c tanh(x / c), the soft-cap of logits.
// Pointwise. With u = tanh(x / c):  g' = 1 - u^2,  g'' = -2 u g' / c
//   slope:  out = g'(x) t, for tangents and for cotangents t of y: rows t of the points whose logits are x
//   second: out = g''(x) bar t, which turns cotangents: with bar the cotangent of y, its product with t is the second
//           derivative along t that the cap adds
//   fold:   moments_out = moments + (0, 0, 0, <q, t>) for each row, summed in a fixed order
// Layout: one invocation per element; the grid is 2D because one dimension ends at 65 535 groups. fold: one workgroup
// per row. Bound by memory.
#import math
#import reduce

struct Params { rows: u32, n: u32, groups_x: u32, cap: f32 }

@group(0) @binding(0) var<uniform> p: Params;                              // params
@group(0) @binding(1) var<storage, read> x: array<f32>;                    // [points, n]  logits before the cap
@group(0) @binding(2) var<storage, read_write> y: array<f32>;              // [rows, n]    primal out
@group(0) @binding(2) var<storage, read> points: array<u32>;               // [rows]       point of each row
@group(0) @binding(3) var<storage, read> t: array<f32>;                    // [rows, n]
@group(0) @binding(4) var<storage, read_write> out: array<f32>;            // [rows, n]    slope out
@group(0) @binding(4) var<storage, read> bar: array<f32>;                  // [points, n]  second in
@group(0) @binding(5) var<storage, read_write> turned: array<f32>;         // [rows, n]    second out
@group(0) @binding(1) var<storage, read> q: array<f32>;                    // [rows, n]    fold in
@group(0) @binding(2) var<storage, read> along: array<f32>;                // [rows, n]    fold in
@group(0) @binding(3) var<storage, read> moments: array<vec4<f32>>;        // [rows, 4]    fold in
@group(0) @binding(4) var<storage, read_write> folded: array<vec4<f32>>;   // [rows, 4]    fold out

fn index(group: vec3<u32>, lane: u32) -> u32 {
    return (group.y * p.groups_x + group.x) * 64u + lane;
}

// Logit of the point of element i.
fn logit(i: u32) -> f32 {
    return x[points[i / p.n] * p.n + i % p.n];
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i < p.rows * p.n) { y[i] = p.cap * tanh_safe(x[i] / p.cap); }
}

@compute @workgroup_size(64)
fn slope(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i < p.rows * p.n) { out[i] = tanh_d(logit(i) / p.cap) * t[i]; }
}

@compute @workgroup_size(64)
fn second(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = index(group, lane);
    if (i >= p.rows * p.n) { return; }
    let v = logit(i) / p.cap;
    let curve = -2.0 * tanh_safe(v) * tanh_d(v) / p.cap;
    turned[i] = curve * bar[points[i / p.n] * p.n + i % p.n] * t[i];
}

@compute @workgroup_size(64)
fn fold(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    var s = 0.0;
    for (var i = lane; i < p.n; i += 64u) { s += q[row * p.n + i] * along[row * p.n + i]; }
    let total = sum(lane, s);
    if (lane == 0u) { folded[row] = moments[row] + vec4<f32>(0.0, 0.0, 0.0, total); }
}
