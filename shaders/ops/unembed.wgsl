// unembed:  logits_rm = <x_r, W[id_m]> for the wanted rows and vocabulary entries only: two rows of W make a logit
// difference, not 50 257. (All logits at once are a product with W transposed: matmul.vjp.)
//   jvp: the same kernel      vjp: x_bar_r = sum_m logits_bar_rm W[id_m]
// The vocabulary may lie in several buffers: a launch sees entries from .. from + tokens of it and leaves the other
// logits alone (primal) or adds its part (vjp, after the first launch). Bound by memory: the wanted rows of W, once a row.
#import reduce

struct Params { rows: u32, d: u32, wanted: u32, from_token: u32, tokens: u32, accumulate: u32, pad0: u32, pad1: u32 }

@group(0) @binding(0) var<uniform> p: Params;                          // params
@group(0) @binding(1) var<storage, read> w: array<f32>;                // [tokens, d]    this part of the vocabulary
@group(0) @binding(2) var<storage, read> ids: array<u32>;              // [wanted]
@group(0) @binding(3) var<storage, read> x: array<f32>;                // [rows, d]      primal
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;     // [rows, wanted] primal out
@group(0) @binding(3) var<storage, read> logits_bar: array<f32>;       // [rows, wanted] vjp in
@group(0) @binding(4) var<storage, read_write> x_bar: array<f32>;      // [rows, d]      vjp out

fn here(id: u32) -> bool {
    return id >= p.from_token && id - p.from_token < p.tokens;
}

// One workgroup a (wanted entry, row).
@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = ids[group.x];
    if (!here(id)) { return; }
    var s = 0.0;
    for (var i = lane; i < p.d; i += WG) { s += w[(id - p.from_token) * p.d + i] * x[group.y * p.d + i]; }
    s = sum(lane, s);
    if (lane == 0u) { logits[group.y * p.wanted + group.x] = s; }
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < p.d; i += WG) {
        var s = 0.0;
        if (p.accumulate != 0u) { s = x_bar[group.x * p.d + i]; }
        for (var m = 0u; m < p.wanted; m++) {
            if (here(ids[m])) {
                s += logits_bar[group.x * p.wanted + m] * w[(ids[m] - p.from_token) * p.d + i];
            }
        }
        x_bar[group.x * p.d + i] = s;
    }
}
