// matmul_f16:  y = r(x) w,  r(x) [rows, k] x rounded to f16, w [k, n] f16 in pairs, sums in f32. The store includes:
//   primal: + bias            primal_add: + bias + residual        primal_gelu: saves pre = r(x) w + b, y = gelu(pre)
// It is the primal of matmul in models with f16 inputs: matrix units multiply only f16. k and n in multiples of eight.
// 2 rows k n flops over 4 rows k + 2 k n + 4 rows n bytes. A workgroup computes 32 x 64 elements, 32 steps of k at a
// time. Its 128 invocations load these to workgroup memory, in quads of x and eight elements of w. There x is rounded,
// once for 64 columns.
//   base            f32 multiply-adds: the same results without matrix units, and no faster than matmul.
//   cooperative8    pieces of 8 x 8 by cooperative matrices: a subgroup computes 16 x 32 elements, with 2 + 4 loads of
//                   pieces for 8 products of them. For subgroups of 32 lanes. Other sizes are correct, but they idle
//                   or go through k again.
//   cooperative16   pieces of 16 x 16: 1 + 2 loads for 2 products.
#import activation
#import f16
#import product

@group(0) @binding(0) var<uniform> p: Params;                          // params
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [rows, k]
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;          // [k, n / 2]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;       // [n]
@group(0) @binding(4) var<storage, read> add: array<vec4<f32>>;        // [rows, n]     primal_add
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;    // [rows, n]     out
@group(0) @binding(6) var<storage, read_write> pre: array<vec4<f32>>;  // [rows, n]     primal_gelu out

const DEEP: u32 = 32u;    // steps of k a tile

#ifdef COOPERATIVE
alias Input = f16;

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
}
#else
alias Input = f32;

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}
#endif

var<workgroup> x_tile: array<Input, 1024>;    // [GROUP_ROWS, DEEP]
var<workgroup> w_tile: array<Input, 2048>;    // [DEEP, GROUP_COLS]

// Loads x and w, from step k0 on, into workgroup memory, with zeros beyond their edges.
fn bring(place: Place, k0: u32) {
    let row0 = place.group.y * GROUP_ROWS;
    let col0 = place.group.x * GROUP_COLS;
    workgroupBarrier();
    for (var i = place.lane; i < GROUP_ROWS * DEEP / 4u; i += GROUP) {
        let row = row0 + i / (DEEP / 4u);
        let step = k0 + 4u * (i % (DEEP / 4u));
        var v = vec4<f32>(0.0);
        if (row < p.rows && step < p.k) { v = rounded(x[(row * p.k + step) / 4u]); }
        for (var e = 0u; e < 4u; e++) { x_tile[4u * i + e] = Input(v[e]); }
    }
    for (var i = place.lane; i < DEEP * GROUP_COLS / 8u; i += GROUP) {
        let step = k0 + i / (GROUP_COLS / 8u);
        let col = col0 + 8u * (i % (GROUP_COLS / 8u));
        var words = vec4<u32>(0u);
        if (step < p.k && col < p.n) { words = w[(step * p.n + col) / 8u]; }
        let low = four(words.xy);
        let high = four(words.zw);
        for (var e = 0u; e < 4u; e++) {
            w_tile[8u * i + e] = Input(low[e]);
            w_tile[8u * i + 4u + e] = Input(high[e]);
        }
    }
    workgroupBarrier();
}

// First row and column, within the tile, of the 4 x 4 elements that an invocation stores.
fn own(place: Place) -> vec2<u32> {
    return 4u * vec2<u32>(place.lane / 16u, place.lane % 16u);
}

#ifdef COOPERATIVE
var<workgroup> y_tile: array<f32, 2048>;     // [GROUP_ROWS, GROUP_COLS]

// Four blocks of 16 x 32 elements make the tile.
const BLOCKS: u32 = 4u;

#ifdef SIXTEEN
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
#else
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
#endif

// Each subgroup computes a block. Fewer than four subgroups loop over the blocks; of more, some repeat the last block.
fn product(place: Place) {
    for (var first = 0u; first < BLOCKS; first += place.subgroups) {
        let block = min(first + place.subgroup, BLOCKS - 1u);
        let row = 16u * (block / 2u);
        let col = 32u * (block % 2u);
        // No array: the sums must stay in registers.
        var s0 = Sum();
        var s1 = Sum();
#ifndef SIXTEEN
        var s2 = Sum();
        var s3 = Sum();
        var s4 = Sum();
        var s5 = Sum();
        var s6 = Sum();
        var s7 = Sum();
#endif
        for (var k0 = 0u; k0 < p.k; k0 += DEEP) {
            bring(place, k0);
            for (var j = 0u; j < DEEP; j += SIDE) {
                let at = GROUP_COLS * j + col;
                let a0 = coopLoadT<Left>(&x_tile[DEEP * row + j], DEEP);
                let b0 = coopLoadT<Right>(&w_tile[at], GROUP_COLS);
                let b1 = coopLoadT<Right>(&w_tile[at + SIDE], GROUP_COLS);
                s0 = coopMultiplyAdd(a0, b0, s0);
                s1 = coopMultiplyAdd(a0, b1, s1);
#ifndef SIXTEEN
                let a1 = coopLoadT<Left>(&x_tile[DEEP * (row + SIDE) + j], DEEP);
                let b2 = coopLoadT<Right>(&w_tile[at + 2u * SIDE], GROUP_COLS);
                let b3 = coopLoadT<Right>(&w_tile[at + 3u * SIDE], GROUP_COLS);
                s2 = coopMultiplyAdd(a0, b2, s2);
                s3 = coopMultiplyAdd(a0, b3, s3);
                s4 = coopMultiplyAdd(a1, b0, s4);
                s5 = coopMultiplyAdd(a1, b1, s5);
                s6 = coopMultiplyAdd(a1, b2, s6);
                s7 = coopMultiplyAdd(a1, b3, s7);
#endif
            }
        }
        let at = GROUP_COLS * row + col;
        coopStoreT(s0, &y_tile[at], GROUP_COLS);
        coopStoreT(s1, &y_tile[at + SIDE], GROUP_COLS);
#ifndef SIXTEEN
        let below = at + SIDE * GROUP_COLS;
        coopStoreT(s2, &y_tile[at + 2u * SIDE], GROUP_COLS);
        coopStoreT(s3, &y_tile[at + 3u * SIDE], GROUP_COLS);
        coopStoreT(s4, &y_tile[below], GROUP_COLS);
        coopStoreT(s5, &y_tile[below + SIDE], GROUP_COLS);
        coopStoreT(s6, &y_tile[below + 2u * SIDE], GROUP_COLS);
        coopStoreT(s7, &y_tile[below + 3u * SIDE], GROUP_COLS);
#endif
    }
    workgroupBarrier();
}

fn quad(place: Place, i: u32) -> vec4<f32> {
    let mine = own(place);
    let at = GROUP_COLS * (mine.x + i) + mine.y;
    return vec4<f32>(y_tile[at], y_tile[at + 1u], y_tile[at + 2u], y_tile[at + 3u]);
}
#else
var<private> sums: array<vec4<f32>, 4>;

fn product(place: Place) {
    let mine = own(place);
    var s0 = vec4<f32>(0.0);
    var s1 = vec4<f32>(0.0);
    var s2 = vec4<f32>(0.0);
    var s3 = vec4<f32>(0.0);
    for (var k0 = 0u; k0 < p.k; k0 += DEEP) {
        bring(place, k0);
        for (var j = 0u; j < DEEP; j++) {
            let at = GROUP_COLS * j + mine.y;
            let ws = vec4<f32>(w_tile[at], w_tile[at + 1u], w_tile[at + 2u], w_tile[at + 3u]);
            let xs = DEEP * mine.x + j;
            s0 += x_tile[xs] * ws;
            s1 += x_tile[xs + DEEP] * ws;
            s2 += x_tile[xs + 2u * DEEP] * ws;
            s3 += x_tile[xs + 3u * DEEP] * ws;
        }
    }
    sums = array<vec4<f32>, 4>(s0, s1, s2, s3);
}

// Row i of the elements that this invocation stores.
fn quad(place: Place, i: u32) -> vec4<f32> {
    return sums[i];
}
#endif

// Row and first column, in y, of quad i.
fn spot(place: Place, i: u32) -> vec2<u32> {
    return vec2<u32>(GROUP_ROWS, GROUP_COLS) * place.group.yx + own(place) + vec2<u32>(i, 0u);
}

fn inside(at: vec2<u32>) -> bool {
    return at.x < p.rows && at.y < p.n;
}

// Index in an array [rows, n] of quads.
fn element(at: vec2<u32>) -> u32 {
    return (at.x * p.n + at.y) / 4u;
}

@compute @workgroup_size(GROUP)
fn primal(place: Place) {
    product(place);
    for (var i = 0u; i < 4u; i++) {
        let at = spot(place, i);
        if (inside(at)) { y[element(at)] = quad(place, i) + bias[at.y / 4u]; }
    }
}

@compute @workgroup_size(GROUP)
fn primal_add(place: Place) {
    product(place);
    for (var i = 0u; i < 4u; i++) {
        let at = spot(place, i);
        if (inside(at)) { y[element(at)] = quad(place, i) + bias[at.y / 4u] + add[element(at)]; }
    }
}

@compute @workgroup_size(GROUP)
fn primal_gelu(place: Place) {
    product(place);
    for (var i = 0u; i < 4u; i++) {
        let at = spot(place, i);
        if (inside(at)) {
            let u = quad(place, i) + bias[at.y / 4u];
            pre[element(at)] = u;
            y[element(at)] = vec4<f32>(value_of(u.x), value_of(u.y), value_of(u.z), value_of(u.w));
        }
    }
}
