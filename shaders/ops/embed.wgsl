// embed:  x_r = scale wte[id_r] + wpe[position_r].
// Linearisations start from h[0], so there are no derivatives by tokens.
// The vocabulary may lie in several buffers: a launch sees tokens from .. from + tokens of it and writes the rows of
// those alone. Bound by memory: one row of wte and one of wpe for each row.
// F16_WEIGHTS (variant `base_f16`): wte is f16 in pairs, the earlier in the low bits. d is even.
#ifdef F16_WEIGHTS
#import f16
#endif

struct Params {
    d: u32, from_token: u32, tokens: u32, scale: f32,
    w_is_f16: u32,  // for the host body; on a GPU the variant decides
    pad0: u32, pad1: u32, pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;                       // params
#ifdef F16_WEIGHTS
@group(0) @binding(1) var<storage, read> wte: array<u32>;           // [tokens, d / 2] this part of the vocabulary
#else
@group(0) @binding(1) var<storage, read> wte: array<f32>;           // [tokens, d]     this part of the vocabulary
#endif
@group(0) @binding(2) var<storage, read> ids: array<u32>;           // [rows]
@group(0) @binding(3) var<storage, read> positions: array<u32>;     // [rows]
@group(0) @binding(4) var<storage, read> wpe: array<f32>;           // [n_positions, d]
@group(0) @binding(5) var<storage, read_write> x: array<f32>;       // [rows, d]

fn of_wte(at: u32) -> f32 {
#ifdef F16_WEIGHTS
    return one_of(wte[at / 2u], at % 2u);
#else
    return wte[at];
#endif
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = ids[group.x];
    if (id < p.from_token || id - p.from_token >= p.tokens) { return; }
    let source = (id - p.from_token) * p.d;
    let place = positions[group.x] * p.d;
    for (var i = lane; i < p.d; i += 64u) { x[group.x * p.d + i] = p.scale * of_wte(source + i) + wpe[place + i]; }
}
