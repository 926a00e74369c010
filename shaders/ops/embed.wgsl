// embed:  x_r = scale wte[id_r] + wpe[position_r].   Linearisations start from h[0], so there are no derivatives by tokens.
// The vocabulary may lie in several buffers: a launch sees tokens from .. from + tokens of it and writes the rows of
// those alone. Bound by memory: one row of wte and one of wpe for each row.

struct Params { d: u32, from_token: u32, tokens: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;                       // params
@group(0) @binding(1) var<storage, read> wte: array<f32>;           // [tokens, d]     this part of the vocabulary
@group(0) @binding(2) var<storage, read> ids: array<u32>;           // [rows]
@group(0) @binding(3) var<storage, read> positions: array<u32>;     // [rows]
@group(0) @binding(4) var<storage, read> wpe: array<f32>;           // [n_positions, d]
@group(0) @binding(5) var<storage, read_write> x: array<f32>;       // [rows, d]

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = ids[group.x];
    if (id < p.from_token || id - p.from_token >= p.tokens) { return; }
    let source = (id - p.from_token) * p.d;
    let place = positions[group.x] * p.d;
    for (var i = lane; i < p.d; i += 64u) { x[group.x * p.d + i] = p.scale * wte[source + i] + wpe[place + i]; }
}
