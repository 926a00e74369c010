// add:  y = a + b, the residual stream where nothing could be fused with it.   Linear: jvp is the same kernel, and the
// vjp hands y_bar to both sides without a launch.
// Layout: one invocation a number, a 2D grid because one dimension ends at 65 535 groups. Bound by memory.

struct Params { n: u32, groups_x: u32, pad0: u32, pad1: u32 }

@group(0) @binding(0) var<uniform> p: Params;                   // params
@group(0) @binding(1) var<storage, read> a: array<f32>;         // [n]
@group(0) @binding(2) var<storage, read> b: array<f32>;         // [n]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;   // [n]

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * p.groups_x + group.x) * 64u + lane;
    if (i < p.n) { y[i] = a[i] + b[i]; }
}
