// matmul:  y = x w,  x [rows, k], w [k, n] (vjp: [n, k], used transposed), with what follows fused into the store:
//   primal: + bias            primal_add: + bias + residual        primal_gelu: pre = x w + b kept, y = gelu(pre)
//   jvp:    nothing           jvp_add: + residual                  jvp_gelu:    y = gelu'(pre) (x w)
//   vjp:    x w^T             vjp_gelu: y = gelu'(pre) (x w^T)
//   HELD: gelu(pre) / pre in the place of gelu'(pre), in jvp_gelu and vjp_gelu
//   jet:    jvp of both orders, whose rows come in turn (x_dot, x_ddot), so that one product serves both
//   jet_gelu, with a = x_dot w and b = x_ddot w:  y_dot = gelu'(pre) a,  y_ddot = gelu'(pre) b + gelu''(pre) a^2
// 2 rows k n flops over 4 (rows k + k n + rows n) bytes: bound by memory up to about a dozen rows, by arithmetic above.
// Two ways to bring x and w to the arithmetic (variants.toml):
//   base       a 64 x 64 tile a workgroup, 16 steps of k at a time through workgroup memory, 4 x 4 numbers an invocation:
//              two vec4 reads of workgroup memory for 16 multiply-adds. Any k and n.
//   SUBGROUP   16 x 8 numbers an invocation, no barrier: it reads its own 8 columns of w, and four lanes of the subgroup
//              read the rows of x for all and hand them round. For processors that play the GPU: a load there is a loop
//              over the lanes, about 50 cycles, so what counts is multiply-adds a load, 25 here. k and n in whole vec4.
#import math
#import rows

override EXACT: bool = false;
override HELD: bool = false;

struct Params { rows: u32, k: u32, n: u32, stride: u32, first: u32, pad0: u32, pad1: u32, pad2: u32 }

@group(0) @binding(0) var<uniform> p: Params;                          // params: y has rows of `stride`, this writes n from `first`
#ifdef SUBGROUP
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [rows, k / 4]
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;          // [k, n / 4], in vjp [n, k / 4]
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;                // [rows, k]
@group(0) @binding(2) var<storage, read> w: array<f32>;                // [k, n], in vjp [n, k]
#endif
@group(0) @binding(3) var<storage, read> bias: array<f32>;             // [n]           primal*
@group(0) @binding(4) var<storage, read> add: array<f32>;              // [rows, n]     primal_add
@group(0) @binding(5) var<storage, read_write> y: array<f32>;          // [rows, stride] out
@group(0) @binding(6) var<storage, read_write> pre: array<f32>;        // [rows, n]     primal_gelu out

@group(0) @binding(3) var<storage, read> carry: array<f32>;            // [rows, n]     jvp_add
@group(0) @binding(3) var<storage, read> pre_kept: array<f32>;         // [primal, n]   jvp_gelu, vjp_gelu, jet_gelu
@group(0) @binding(4) var<storage, read> rows: array<vec4<u32>>;       // [rows, 4]     jvp_gelu, vjp_gelu; [rows / 2, 4] jet_gelu

// This invocation's numbers: rows own.x .., columns own.y .., QUADS vec4 a row.
var<private> acc: array<vec4<f32>, TILE>;
var<private> own: vec2<u32>;

#ifdef SUBGROUP
struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) sub: u32,
}

// Four rows by eight columns. Named members, since arrays with computed indices would not stay in registers.
struct Quad {
    l0: vec4<f32>, h0: vec4<f32>, l1: vec4<f32>, h1: vec4<f32>,
    l2: vec4<f32>, h2: vec4<f32>, l3: vec4<f32>, h3: vec4<f32>,
}

// One step of k: lane i of the first four holds row i's number.
fn step(q: Quad, v: f32, low: vec4<f32>, high: vec4<f32>) -> Quad {
    let x0 = subgroupBroadcast(v, 0u);
    let x1 = subgroupBroadcast(v, 1u);
    let x2 = subgroupBroadcast(v, 2u);
    let x3 = subgroupBroadcast(v, 3u);
    return Quad(
        q.l0 + x0 * low, q.h0 + x0 * high, q.l1 + x1 * low, q.h1 + x1 * high,
        q.l2 + x2 * low, q.h2 + x2 * high, q.l3 + x3 * low, q.h3 + x3 * high,
    );
}

fn keep(first: u32, q: Quad) {
    acc[first] = q.l0;
    acc[first + 1u] = q.h0;
    acc[first + 2u] = q.l1;
    acc[first + 3u] = q.h1;
    acc[first + 4u] = q.l2;
    acc[first + 5u] = q.h2;
    acc[first + 6u] = q.l3;
    acc[first + 7u] = q.h3;
}

fn product(place: Place, transposed: bool) {
    own = vec2<u32>(place.group.y * GROUP_ROWS, place.group.x * GROUP_COLS + 8u * place.lane);
    let steps = p.k / 4u;
    // Rows and columns beyond the edge repeat the last one and are not stored: no branch around a load.
    let last = p.rows - 1u;
    let row = own.x + (place.sub & 3u);
    let r0 = min(row, last) * steps;
    let r1 = min(row + 4u, last) * steps;
    let r2 = min(row + 8u, last) * steps;
    let r3 = min(row + 12u, last) * steps;
    var q0 = Quad();
    var q1 = Quad();
    var q2 = Quad();
    var q3 = Quad();
    for (var s = 0u; s < steps; s++) {
        let x0 = x[r0 + s];
        let x1 = x[r1 + s];
        let x2 = x[r2 + s];
        let x3 = x[r3 + s];
        var low: mat4x4<f32>;
        var high: mat4x4<f32>;
        if (transposed) {
            let last_col = p.n - 1u;
            low = transpose(mat4x4<f32>(
                w[min(own.y, last_col) * steps + s], w[min(own.y + 1u, last_col) * steps + s],
                w[min(own.y + 2u, last_col) * steps + s], w[min(own.y + 3u, last_col) * steps + s],
            ));
            high = transpose(mat4x4<f32>(
                w[min(own.y + 4u, last_col) * steps + s], w[min(own.y + 5u, last_col) * steps + s],
                w[min(own.y + 6u, last_col) * steps + s], w[min(own.y + 7u, last_col) * steps + s],
            ));
        } else {
            let quads = p.n / 4u;
            let c0 = min(own.y / 4u, quads - 1u);
            let c1 = min(own.y / 4u + 1u, quads - 1u);
            let at = 4u * s * quads;
            low = mat4x4<f32>(w[at + c0], w[at + quads + c0], w[at + 2u * quads + c0], w[at + 3u * quads + c0]);
            high = mat4x4<f32>(w[at + c1], w[at + quads + c1], w[at + 2u * quads + c1], w[at + 3u * quads + c1]);
        }
        q0 = step(step(step(step(q0, x0.x, low[0], high[0]), x0.y, low[1], high[1]), x0.z, low[2], high[2]), x0.w, low[3], high[3]);
        q1 = step(step(step(step(q1, x1.x, low[0], high[0]), x1.y, low[1], high[1]), x1.z, low[2], high[2]), x1.w, low[3], high[3]);
        q2 = step(step(step(step(q2, x2.x, low[0], high[0]), x2.y, low[1], high[1]), x2.z, low[2], high[2]), x2.w, low[3], high[3]);
        q3 = step(step(step(step(q3, x3.x, low[0], high[0]), x3.y, low[1], high[1]), x3.z, low[2], high[2]), x3.w, low[3], high[3]);
    }
    keep(0u, q0);
    keep(8u, q1);
    keep(16u, q2);
    keep(24u, q3);
}
#else
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

var<workgroup> x_tile: array<vec4<f32>, 256>;    // [16 steps of k, 16 groups of 4 rows]
var<workgroup> w_tile: array<vec4<f32>, 256>;    // [16 steps of k, 16 groups of 4 columns]

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

fn product(place: Place, transposed: bool) {
    let across = place.lane % 16u;
    let down = place.lane / 16u;
    let row0 = place.group.y * GROUP_ROWS;
    let col0 = place.group.x * GROUP_COLS;
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
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}
#endif

// Row and first column of vec4 i of the tile.
fn spot(i: u32) -> vec2<u32> {
    return own + vec2<u32>(i / QUADS, 4u * (i % QUADS));
}

fn inside(at: vec2<u32>, e: u32) -> bool {
    return at.x < p.rows && at.y + e < p.n;
}

// Place of a number in an array [rows, n].
fn number(at: vec2<u32>, e: u32) -> u32 {
    return at.x * p.n + at.y + e;
}

fn put(at: vec2<u32>, e: u32, value: f32) {
    y[at.x * p.stride + p.first + at.y + e] = value;
}

fn gelu(v: f32) -> f32 {
    if (EXACT) { return gelu_erf(v); }
    return gelu_new(v);
}

fn slope_of(v: f32) -> f32 {
    if (HELD && EXACT) { return normal_cdf(v); }
    if (HELD) { return gelu_new_ratio(v); }
    if (EXACT) { return gelu_erf_d(v); }
    return gelu_new_d(v);
}

fn bend_of(v: f32) -> f32 {
    if (EXACT) { return gelu_erf_dd(v); }
    return gelu_new_dd(v);
}

// Slope of GELU at the primal of a number.
fn slope(at: vec2<u32>, e: u32) -> f32 {
    return slope_of(pre_kept[rows[at.x].x * p.n + at.y + e]);
}

@compute @workgroup_size(GROUP)
fn primal(place: Place) {
    product(place, false);
    for (var i = 0u; i < TILE; i++) {
        let at = spot(i);
        for (var e = 0u; e < 4u; e++) {
            if (inside(at, e)) { put(at, e, acc[i][e] + bias[at.y + e]); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn primal_add(place: Place) {
    product(place, false);
    for (var i = 0u; i < TILE; i++) {
        let at = spot(i);
        for (var e = 0u; e < 4u; e++) {
            if (inside(at, e)) { put(at, e, acc[i][e] + bias[at.y + e] + add[number(at, e)]); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn primal_gelu(place: Place) {
    product(place, false);
    for (var i = 0u; i < TILE; i++) {
        let at = spot(i);
        for (var e = 0u; e < 4u; e++) {
            if (inside(at, e)) {
                let u = acc[i][e] + bias[at.y + e];
                pre[number(at, e)] = u;
                put(at, e, gelu(u));
            }
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp(place: Place) {
    product(place, false);
    for (var i = 0u; i < TILE; i++) {
        let at = spot(i);
        for (var e = 0u; e < 4u; e++) {
            if (inside(at, e)) { put(at, e, acc[i][e]); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp_add(place: Place) {
    product(place, false);
    for (var i = 0u; i < TILE; i++) {
        let at = spot(i);
        for (var e = 0u; e < 4u; e++) {
            if (inside(at, e)) { put(at, e, acc[i][e] + carry[number(at, e)]); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp_gelu(place: Place) {
    product(place, false);
    for (var i = 0u; i < TILE; i++) {
        let at = spot(i);
        for (var e = 0u; e < 4u; e++) {
            if (inside(at, e)) { put(at, e, acc[i][e] * slope(at, e)); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn vjp(place: Place) {
    product(place, true);
    for (var i = 0u; i < TILE; i++) {
        let at = spot(i);
        for (var e = 0u; e < 4u; e++) {
            if (inside(at, e)) { put(at, e, acc[i][e]); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn vjp_gelu(place: Place) {
    product(place, true);
    for (var i = 0u; i < TILE; i++) {
        let at = spot(i);
        for (var e = 0u; e < 4u; e++) {
            if (inside(at, e)) { put(at, e, acc[i][e] * slope(at, e)); }
        }
    }
}

// A tile begins at an even row and is an even number of rows high, so both orders of a row are in this invocation.
@compute @workgroup_size(GROUP)
fn jet_gelu(place: Place) {
    product(place, false);
    for (var i = 0u; i < TILE / 2u; i++) {
        let first = 2u * (i / QUADS) * QUADS + i % QUADS;
        let at = spot(first);
        let a = acc[first];
        let b = acc[first + QUADS];
        for (var e = 0u; e < 4u; e++) {
            if (inside(at, e)) {
                let v = pre_kept[rows[at.x / 2u].x * p.n + at.y + e];
                put(at, e, slope_of(v) * a[e]);
                put(at + vec2<u32>(1u, 0u), e, slope_of(v) * b[e] + bend_of(v) * a[e] * a[e]);
            }
        }
    }
}
