// columns:  y_ri = x_r,(first + i), some columns of each row.   Linear: jvp is the same kernel
//   vjp: x_bar_r,(first + i) = y_bar_ri, and 0 in all other columns
// Layout: one invocation per element that is written; the grid is 2D because one dimension ends at 65 535 groups.
// Bound by memory.

struct Params { elements: u32, groups_x: u32, width: u32, n: u32, first: u32, pad0: u32, pad1: u32, pad2: u32 }

@group(0) @binding(0) var<uniform> p: Params;                       // params
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // [rows, n]

@group(0) @binding(1) var<storage, read> y_bar: array<f32>;         // [rows, n]       vjp in
@group(0) @binding(2) var<storage, read_write> x_bar: array<f32>;   // [rows, width]   vjp out

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * p.groups_x + group.x) * 64u + lane;
    if (i < p.elements) { y[i] = x[i / p.n * p.width + p.first + i % p.n]; }
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * p.groups_x + group.x) * 64u + lane;
    if (i < p.elements) {
        let column = i % p.width;
        var bar = 0.0;
        if (column >= p.first && column < p.first + p.n) { bar = y_bar[i / p.width * p.n + column - p.first]; }
        x_bar[i] = bar;
    }
}
