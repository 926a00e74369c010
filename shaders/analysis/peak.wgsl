// peak:  what this device can do at most, measured by itself, for a bench to hold other kernels against.
//   fma:  a_i = a_i m + c, 16 independent chains an invocation, `steps` times: arithmetic without memory.
//   copy: y = x: memory without arithmetic, in vec4.
// Layout: one invocation a number (fma) or a vec4 (copy), a 2D grid because one dimension ends at 65 535 groups.
// fma does 32 steps flops a number; copy moves 32 bytes a vec4.

struct Params { n: u32, groups_x: u32, steps: u32, pad: u32 }

@group(0) @binding(0) var<uniform> p: Params;                            // params
@group(0) @binding(1) var<storage, read> x: array<f32>;                  // [n]         fma
@group(0) @binding(2) var<storage, read_write> y: array<f32>;            // [n]         fma out
@group(0) @binding(1) var<storage, read> from_x: array<vec4<f32>>;       // [n]         copy: n vec4
@group(0) @binding(2) var<storage, read_write> to_y: array<vec4<f32>>;   // [n]         copy out

// Sixteen chains: four registers of four, so that the longest pipeline is full.
@compute @workgroup_size(64)
fn fma_chains(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * p.groups_x + group.x) * 64u + lane;
    if (i >= p.n) { return; }
    let m = vec4<f32>(x[i]);
    let c = vec4<f32>(1.0e-3, 2.0e-3, 3.0e-3, 4.0e-3);
    var a0 = m;
    var a1 = m + c;
    var a2 = m - c;
    var a3 = c;
    for (var s = 0u; s < p.steps; s++) {
        a0 = fma(a0, m, c);
        a1 = fma(a1, m, c);
        a2 = fma(a2, m, c);
        a3 = fma(a3, m, c);
    }
    y[i] = dot(a0 + a1 + a2 + a3, vec4<f32>(1.0));
}

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * p.groups_x + group.x) * 64u + lane;
    if (i < p.n) { to_y[i] = from_x[i]; }
}
