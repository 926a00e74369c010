// gain:  y_ri = gain_i x_ri + bias_i.   jvp: the same without bias. It is diagonal, so vjp is the same kernel as jvp.
// Layout: one invocation per element; the grid is 2D because one dimension ends at 65 535 groups. Bound by memory.

struct Params { elements: u32, groups_x: u32, d: u32, pad0: u32 }

@group(0) @binding(0) var<uniform> p: Params;                       // params
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [rows, d]
@group(0) @binding(2) var<storage, read> gain: array<f32>;          // [d]
@group(0) @binding(3) var<storage, read> bias: array<f32>;          // [d]         primal
@group(0) @binding(4) var<storage, read_write> y: array<f32>;       // [rows, d]   primal out

@group(0) @binding(3) var<storage, read_write> y_dot: array<f32>;   // [rows, d]   jvp out

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * p.groups_x + group.x) * 64u + lane;
    if (i < p.elements) { y[i] = gain[i % p.d] * x[i] + bias[i % p.d]; }
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * p.groups_x + group.x) * 64u + lane;
    if (i < p.elements) { y_dot[i] = gain[i % p.d] * x[i]; }
}
