// peak:  what this device can do at most, measured by itself, for a bench to hold other kernels against.
//   fma:  a_i = a_i m + c, 8 independent chains an invocation, 8 times a turn: arithmetic without memory. More chains than
//         that spill on processors that play the GPU, fewer leave their pipelines waiting, and there a turn of a loop costs
//         as much as a few of its steps (measured on lavapipe: 16 chains, one step a turn 55 GFLOP/s; this 127).
//   copy: y = x: memory without arithmetic, in vec4.
// Layout: one invocation a number (fma) or a vec4 (copy), a 2D grid because one dimension ends at 65 535 groups.
// fma does 128 turns flops a number; copy moves 32 bytes a vec4.

struct Params { n: u32, groups_x: u32, turns: u32, pad: u32 }

@group(0) @binding(0) var<uniform> p: Params;                            // params
@group(0) @binding(1) var<storage, read> x: array<f32>;                  // [n]         fma
@group(0) @binding(2) var<storage, read_write> y: array<f32>;            // [n]         fma out
@group(0) @binding(1) var<storage, read> from_x: array<vec4<f32>>;       // [n]         copy: n vec4
@group(0) @binding(2) var<storage, read_write> to_y: array<vec4<f32>>;   // [n]         copy out

@compute @workgroup_size(64)
fn fma_chains(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * p.groups_x + group.x) * 64u + lane;
    if (i >= p.n) { return; }
    let m = vec4<f32>(x[i]);
    let c = vec4<f32>(1.0e-3, 2.0e-3, 3.0e-3, 4.0e-3);
    var a = m;
    var b = m + c;
    for (var turn = 0u; turn < p.turns; turn++) {
        a = fma(fma(fma(fma(a, m, c), m, c), m, c), m, c);
        b = fma(fma(fma(fma(b, m, c), m, c), m, c), m, c);
        a = fma(fma(fma(fma(a, m, c), m, c), m, c), m, c);
        b = fma(fma(fma(fma(b, m, c), m, c), m, c), m, c);
    }
    y[i] = dot(a + b, vec4<f32>(1.0));
}

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * p.groups_x + group.x) * 64u + lane;
    if (i < p.n) { to_y[i] = from_x[i]; }
}
