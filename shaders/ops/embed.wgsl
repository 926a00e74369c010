// embed:  x_r = wte[id_r] + wpe[position_r].   Linear in the one-hot rows, so its derivatives are about mixtures of tokens.
//   jvp: x_dot_r = sum_i c_dot_ri wte[id_ri]     (what a shift of token weights does to the field)
//   vjp: c_bar_ri = <wte[id_ri], x_bar_r>        (what replacing the token by each candidate would do, to first order)
// The vocabulary may lie in several buffers: a launch sees tokens from .. from + tokens of it and leaves the rest alone
// (primal, vjp) or adds its part (jvp, after the first launch). Bound by memory: one row of wte for each entry.
#import reduce

struct Params { rows: u32, d: u32, mix: u32, from_token: u32, tokens: u32, accumulate: u32, pad0: u32, pad1: u32 }

@group(0) @binding(0) var<uniform> p: Params;                       // params
@group(0) @binding(1) var<storage, read> wte: array<f32>;           // [tokens, d]     this part of the vocabulary
@group(0) @binding(2) var<storage, read> ids: array<u32>;           // [rows] in primal, [rows, mix] in jvp and vjp
@group(0) @binding(3) var<storage, read> positions: array<u32>;     // [rows]          primal
@group(0) @binding(4) var<storage, read> wpe: array<f32>;           // [n_positions, d] primal
@group(0) @binding(5) var<storage, read_write> x: array<f32>;       // [rows, d]       primal out
@group(0) @binding(3) var<storage, read> c_dot: array<f32>;         // [rows, mix]     jvp in
@group(0) @binding(4) var<storage, read_write> x_dot: array<f32>;   // [rows, d]       jvp out
@group(0) @binding(3) var<storage, read> x_bar: array<f32>;         // [rows, d]       vjp in
@group(0) @binding(4) var<storage, read_write> c_bar: array<f32>;   // [rows, mix]     vjp out

fn here(id: u32) -> bool {
    return id >= p.from_token && id - p.from_token < p.tokens;
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = ids[group.x];
    if (!here(id)) { return; }
    let source = (id - p.from_token) * p.d;
    let place = positions[group.x] * p.d;
    for (var i = lane; i < p.d; i += WG) { x[group.x * p.d + i] = wte[source + i] + wpe[place + i]; }
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < p.d; i += WG) {
        var s = 0.0;
        if (p.accumulate != 0u) { s = x_dot[group.x * p.d + i]; }
        for (var m = group.x * p.mix; m < (group.x + 1u) * p.mix; m++) {
            if (here(ids[m])) { s += c_dot[m] * wte[(ids[m] - p.from_token) * p.d + i]; }
        }
        x_dot[group.x * p.d + i] = s;
    }
}

// One workgroup a (row, entry).
@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let m = group.x * p.mix + group.y;
    let id = ids[m];
    if (!here(id)) { return; }
    var s = 0.0;
    for (var i = lane; i < p.d; i += WG) { s += wte[(id - p.from_token) * p.d + i] * x_bar[group.x * p.d + i]; }
    s = sum(lane, s);
    if (lane == 0u) { c_bar[m] = s; }
}
