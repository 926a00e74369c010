// unembed:  logits_rm = <x_r, W[id_m]> for the wanted rows and vocabulary entries only: two rows of W make a logit
// difference, not 50 257. (All logits at once are a product with W transposed: matmul.vjp.)
//   jvp: the same kernel      vjp: x_bar_r = sum_m logits_bar_rm W[id_m]
//   vjp_all: the vjp for all entries, in partial sums of CHUNK of them, which vjp_sum adds up in order. A workgroup has
//     64 columns and ROWS rows, so that W is read once for ROWS rows, and V / CHUNK workgroups share a column:
//     2 rows V d flops over 4 V d (rows / ROWS) bytes, bound by memory up to many rows.
// The vocabulary may lie in several buffers: a launch covers its entries from .. from + tokens. It leaves the other
// logits unchanged (primal) or adds its part (vjp, after the first launch). Bound by memory: it reads the wanted rows
// of W once per row.
// F16_WEIGHTS (variant `base_f16`): W is f16 in pairs, the earlier in the low bits. d is even.
#ifdef F16_WEIGHTS
#import f16
#endif
#import reduce

struct Params {
    rows: u32, d: u32, wanted: u32, from_token: u32, tokens: u32, accumulate: u32, chunks: u32,
    w_is_f16: u32,  // for the host body; on a GPU the variant decides
}

@group(0) @binding(0) var<uniform> p: Params;                          // params
#ifdef F16_WEIGHTS
@group(0) @binding(1) var<storage, read> w: array<u32>;                // [tokens, d / 2] this part of the vocabulary
#else
@group(0) @binding(1) var<storage, read> w: array<f32>;                // [tokens, d]    this part of the vocabulary
#endif
@group(0) @binding(2) var<storage, read> ids: array<u32>;              // [wanted]
@group(0) @binding(3) var<storage, read> x: array<f32>;                // [rows, d]      primal
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;     // [rows, wanted] primal out
@group(0) @binding(3) var<storage, read> logits_bar: array<f32>;       // [rows, wanted] vjp in
@group(0) @binding(4) var<storage, read_write> x_bar: array<f32>;      // [rows, d]      vjp out
@group(0) @binding(2) var<storage, read> slope: array<f32>;            // [rows, wanted] vjp_all in: wanted is V
@group(0) @binding(3) var<storage, read_write> chunk_sums: array<f32>; // [chunks, rows, d]  vjp_all out, from
                                                                       //                    chunk `chunks` on
@group(0) @binding(1) var<storage, read> sums: array<f32>;             // [chunks, rows, d]  vjp_sum in
@group(0) @binding(2) var<storage, read_write> total: array<f32>;      // [rows, d]      vjp_sum out

const CHUNK: u32 = 512u;
const ROWS: u32 = 8u;
const STEP: u32 = 64u;
var<workgroup> weights: array<f32, ROWS * STEP>;

fn here(id: u32) -> bool {
    return id >= p.from_token && id - p.from_token < p.tokens;
}

fn of_w(at: u32) -> f32 {
#ifdef F16_WEIGHTS
    return one_of(w[at / 2u], at % 2u);
#else
    return w[at];
#endif
}

// One workgroup per (wanted entry, row).
@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = ids[group.x];
    if (!here(id)) { return; }
    var s = 0.0;
    for (var i = lane; i < p.d; i += WG) { s += of_w((id - p.from_token) * p.d + i) * x[group.y * p.d + i]; }
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
                s += logits_bar[group.x * p.wanted + m] * of_w((ids[m] - p.from_token) * p.d + i);
            }
        }
        x_bar[group.x * p.d + i] = s;
    }
}

@compute @workgroup_size(64)
fn vjp_all(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * WG + lane;
    let first = group.y * CHUNK;
    let end = min(first + CHUNK, p.tokens);
    let row = group.z * ROWS;
    var acc: array<f32, 8>;
    for (var from_token = first; from_token < end; from_token += STEP) {
        // The weights of STEP entries for ROWS rows, one entry a lane.
        workgroupBarrier();
        let token = from_token + lane;
        for (var r = 0u; r < ROWS; r++) {
            var weight = 0.0;
            if (token < end && row + r < p.rows) { weight = slope[(row + r) * p.wanted + p.from_token + token]; }
            weights[r * STEP + lane] = weight;
        }
        workgroupBarrier();
        if (column < p.d) {
            let count = min(STEP, end - from_token);
            for (var i = 0u; i < count; i++) {
                let x = of_w((from_token + i) * p.d + column);
                for (var r = 0u; r < ROWS; r++) { acc[r] += weights[r * STEP + i] * x; }
            }
        }
    }
    if (column >= p.d) { return; }
    let count = min(ROWS, p.rows - row);
    for (var r = 0u; r < count; r++) { chunk_sums[((p.chunks + group.y) * p.rows + row + r) * p.d + column] = acc[r]; }
}

@compute @workgroup_size(64)
fn vjp_sum(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * WG + lane;
    if (column >= p.d) { return; }
    var s = 0.0;
    for (var chunk = 0u; chunk < p.chunks; chunk++) { s += sums[(chunk * p.rows + group.y) * p.d + column]; }
    total[group.y * p.d + column] = s;
}
