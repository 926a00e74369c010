// matmul:  y = x w,  x [rows, k], w [k, n] (vjp: [n, k], used transposed), with what follows fused into the store:
//   primal: + bias            primal_add: + bias + residual        primal_gelu: pre = x w + b kept, y = gelu(pre)
//   jvp:    nothing           jvp_add: + residual                  jvp_gelu:    y = gelu'(pre) (x w)
//   vjp:    x w^T             vjp_gelu: y = gelu'(pre) (x w^T)
// 2 rows k n flops over 4 (rows k + k n + rows n) bytes: bound by memory up to about a dozen rows, by arithmetic above.
// Two ways to bring x and w to the arithmetic (variants.toml):
//   base       a 64 x 64 tile a workgroup, 16 steps of k at a time through workgroup memory, 4 x 4 numbers an invocation:
//              two vec4 reads of workgroup memory for 16 multiply-adds.
//   SUBGROUP   a column an invocation, TILE_ROWS rows: w is read once, without a barrier; the subgroup loads a piece of x
//              together and hands each number to all lanes. Best where a processor plays the GPU.
#import math
#import rows

override EXACT: bool = false;

struct Params { rows: u32, k: u32, n: u32, stride: u32, first: u32, pad0: u32, pad1: u32, pad2: u32 }

@group(0) @binding(0) var<uniform> p: Params;                          // params: y has rows of `stride`, this writes n from `first`
@group(0) @binding(1) var<storage, read> x: array<f32>;                // [rows, k]
@group(0) @binding(2) var<storage, read> w: array<f32>;                // [k, n], in vjp [n, k]
@group(0) @binding(3) var<storage, read> bias: array<f32>;             // [n]           primal*
@group(0) @binding(4) var<storage, read> add: array<f32>;              // [rows, n]     primal_add
@group(0) @binding(5) var<storage, read_write> y: array<f32>;          // [rows, stride] out
@group(0) @binding(6) var<storage, read_write> pre: array<f32>;        // [rows, n]     primal_gelu out

@group(0) @binding(3) var<storage, read> carry: array<f32>;            // [rows, n]     jvp_add
@group(0) @binding(3) var<storage, read> pre_kept: array<f32>;         // [primal, n]   jvp_gelu, vjp_gelu
@group(0) @binding(4) var<storage, read> rows: array<vec4<u32>>;       // [rows, 4]     jvp_gelu, vjp_gelu

// This invocation's numbers: rows own.x .., columns own.y ..
var<private> acc: array<f32, TILE>;
var<private> own: vec2<u32>;

fn load_x(row: u32, i: u32) -> f32 {
    if (row < p.rows && i < p.k) { return x[row * p.k + i]; }
    return 0.0;
}

fn load_w(i: u32, col: u32, transposed: bool) -> f32 {
    if (i < p.k && col < p.n) {
        if (transposed) { return w[col * p.k + i]; }
        return w[i * p.n + col];
    }
    return 0.0;
}

#ifdef SUBGROUP
struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) sub: u32,
}

fn product(at: Place, transposed: bool) {
    own = vec2<u32>(at.group.y * TILE_ROWS, at.group.x * GROUP_COLS + at.lane);
    for (var r = 0u; r < TILE; r++) { acc[r] = 0.0; }
    let quad = 4u * (at.sub & 3u);
    for (var k0 = 0u; k0 < p.k; k0 += 16u) {
        var xs: array<vec4<f32>, TILE_ROWS>;
        for (var r = 0u; r < TILE_ROWS; r++) {
            let i = k0 + quad;
            xs[r] = vec4<f32>(load_x(own.x + r, i), load_x(own.x + r, i + 1u), load_x(own.x + r, i + 2u), load_x(own.x + r, i + 3u));
        }
        for (var j = 0u; j < 4u; j++) {
            let w0 = load_w(k0 + j, own.y, transposed);
            let w1 = load_w(k0 + 4u + j, own.y, transposed);
            let w2 = load_w(k0 + 8u + j, own.y, transposed);
            let w3 = load_w(k0 + 12u + j, own.y, transposed);
            for (var r = 0u; r < TILE_ROWS; r++) {
                let v = xs[r][j];
                acc[r] += subgroupBroadcast(v, 0u) * w0;
                acc[r] += subgroupBroadcast(v, 1u) * w1;
                acc[r] += subgroupBroadcast(v, 2u) * w2;
                acc[r] += subgroupBroadcast(v, 3u) * w3;
            }
        }
    }
}
#else
var<workgroup> x_tile: array<vec4<f32>, 256>;    // [16 steps of k, 16 groups of 4 rows]
var<workgroup> w_tile: array<vec4<f32>, 256>;    // [16 steps of k, 16 groups of 4 columns]

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

fn product(at: Place, transposed: bool) {
    let across = at.lane % 16u;
    let down = at.lane / 16u;
    let row0 = at.group.y * GROUP_ROWS;
    let col0 = at.group.x * GROUP_COLS;
    own = vec2<u32>(row0 + 4u * down, col0 + 4u * across);
    var a0 = vec4<f32>(0.0);
    var a1 = vec4<f32>(0.0);
    var a2 = vec4<f32>(0.0);
    var a3 = vec4<f32>(0.0);
    for (var k0 = 0u; k0 < p.k; k0 += 16u) {
        workgroupBarrier();
        // Neighbouring invocations read neighbouring numbers: along k for x and for w transposed, along n for w.
        let i = k0 + across;
        let row = row0 + 4u * down;
        x_tile[16u * across + down] = vec4<f32>(load_x(row, i), load_x(row + 1u, i), load_x(row + 2u, i), load_x(row + 3u, i));
        if (transposed) {
            let col = col0 + 4u * down;
            w_tile[16u * across + down] = vec4<f32>(load_w(i, col, true), load_w(i, col + 1u, true), load_w(i, col + 2u, true), load_w(i, col + 3u, true));
        } else {
            let col = col0 + 4u * across;
            let j = k0 + down;
            w_tile[16u * down + across] = vec4<f32>(load_w(j, col, false), load_w(j, col + 1u, false), load_w(j, col + 2u, false), load_w(j, col + 3u, false));
        }
        workgroupBarrier();
        for (var j = 0u; j < 16u; j++) {
            let xs = x_tile[16u * j + down];
            let ws = w_tile[16u * j + across];
            a0 += xs.x * ws;
            a1 += xs.y * ws;
            a2 += xs.z * ws;
            a3 += xs.w * ws;
        }
    }
    for (var c = 0u; c < 4u; c++) {
        acc[c] = a0[c];
        acc[4u + c] = a1[c];
        acc[8u + c] = a2[c];
        acc[12u + c] = a3[c];
    }
}
#endif

fn inside(r: u32, c: u32) -> bool {
    return own.x + r < p.rows && own.y + c < p.n;
}

fn put(r: u32, c: u32, value: f32) {
    y[(own.x + r) * p.stride + p.first + own.y + c] = value;
}

fn gelu(v: f32) -> f32 {
    if (EXACT) { return gelu_erf(v); }
    return gelu_new(v);
}

fn gelu_slope(v: f32) -> f32 {
    if (EXACT) { return gelu_erf_d(v); }
    return gelu_new_d(v);
}

// Slope of GELU at the primal of this invocation's number (r, c).
fn slope(r: u32, c: u32) -> f32 {
    return gelu_slope(pre_kept[rows[own.x + r].x * p.n + own.y + c]);
}

@compute @workgroup_size(GROUP)
fn primal(at: Place) {
    product(at, false);
    for (var i = 0u; i < TILE; i++) {
        let r = i / TILE_COLS;
        let c = i % TILE_COLS;
        if (inside(r, c)) { put(r, c, acc[i] + bias[own.y + c]); }
    }
}

@compute @workgroup_size(GROUP)
fn primal_add(at: Place) {
    product(at, false);
    for (var i = 0u; i < TILE; i++) {
        let r = i / TILE_COLS;
        let c = i % TILE_COLS;
        if (inside(r, c)) { put(r, c, acc[i] + bias[own.y + c] + add[(own.x + r) * p.n + own.y + c]); }
    }
}

@compute @workgroup_size(GROUP)
fn primal_gelu(at: Place) {
    product(at, false);
    for (var i = 0u; i < TILE; i++) {
        let r = i / TILE_COLS;
        let c = i % TILE_COLS;
        if (inside(r, c)) {
            let v = acc[i] + bias[own.y + c];
            pre[(own.x + r) * p.n + own.y + c] = v;
            put(r, c, gelu(v));
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp(at: Place) {
    product(at, false);
    for (var i = 0u; i < TILE; i++) {
        let r = i / TILE_COLS;
        let c = i % TILE_COLS;
        if (inside(r, c)) { put(r, c, acc[i]); }
    }
}

@compute @workgroup_size(GROUP)
fn jvp_add(at: Place) {
    product(at, false);
    for (var i = 0u; i < TILE; i++) {
        let r = i / TILE_COLS;
        let c = i % TILE_COLS;
        if (inside(r, c)) { put(r, c, acc[i] + carry[(own.x + r) * p.n + own.y + c]); }
    }
}

@compute @workgroup_size(GROUP)
fn jvp_gelu(at: Place) {
    product(at, false);
    for (var i = 0u; i < TILE; i++) {
        let r = i / TILE_COLS;
        let c = i % TILE_COLS;
        if (inside(r, c)) { put(r, c, acc[i] * slope(r, c)); }
    }
}

@compute @workgroup_size(GROUP)
fn vjp(at: Place) {
    product(at, true);
    for (var i = 0u; i < TILE; i++) {
        let r = i / TILE_COLS;
        let c = i % TILE_COLS;
        if (inside(r, c)) { put(r, c, acc[i]); }
    }
}

@compute @workgroup_size(GROUP)
fn vjp_gelu(at: Place) {
    product(at, true);
    for (var i = 0u; i < TILE; i++) {
        let r = i / TILE_COLS;
        let c = i % TILE_COLS;
        if (inside(r, c)) { put(r, c, acc[i] * slope(r, c)); }
    }
}
