// matmul:  y = x w,  x [rows, k], w [k, n] (vjp, part: [n, k], used transposed), with what follows fused into the store:
//   primal: + bias            primal_add: + bias + residual        primal_gelu: pre = x w + b kept, y = gelu(pre)
//   jvp:    nothing           jvp_add: + residual                  jvp_gelu:    y = gelu'(pre) (x w)
//   vjp:    x w^T             vjp_gelu: y = gelu'(pre) (x w^T)     part: x w^T, as n columns of a wider y
//   HELD: gelu(pre) / pre in the place of gelu'(pre), in jvp_gelu and vjp_gelu
//   jet:    jvp of both orders, whose rows come in turn (x_dot, x_ddot), so that one product serves both
//   jet_gelu, with a = x_dot w and b = x_ddot w:  y_dot = gelu'(pre) a,  y_ddot = gelu'(pre) b + gelu''(pre) a^2
// 2 rows k n flops over 4 (rows k + k n + rows n) bytes: bound by memory up to about a dozen rows, by arithmetic above.
// Ways to bring x and w to the arithmetic (variants.toml):
//   base       a 64 x 64 tile a workgroup, 16 steps of k at a time through workgroup memory, 4 x 4 numbers an invocation:
//              two vec4 reads of workgroup memory for 16 multiply-adds. Any k and n.
//   subgroup   16 x 8 numbers an invocation, no barrier: it reads its own 8 columns of w, and the eight lanes of the subgroup
//              read a row of x each, and hand them round. For processors that play the GPU: a load there is a loop over the
//              lanes, whatever it brings, so what counts is multiply-adds a load: 51 here. k and n in whole vec4, but n in part.
//   tall       the same with 24 rows, 70 multiply-adds a load.
// HALVES, a text of each: w is halves in pairs, the earlier in the low bits, and every sum is f32. Half the bytes and, in
// subgroup and tall, half the loads of w. k and n in multiples of eight.
#import activation
#import half
#import number
#import rows

struct Params { rows: u32, k: u32, n: u32, stride: u32, first: u32, pad0: u32, pad1: u32, pad2: u32 }

@group(0) @binding(0) var<uniform> p: Params;                          // params: part writes n columns from `first` of rows of `stride`
@group(0) @binding(1) var<storage, read> x: array<Number>;             // [rows, k]
#ifdef HALVES
@group(0) @binding(2) var<storage, read> w: array<Words>;              // [k, n / 2], in vjp [n, k / 2]
#else
@group(0) @binding(2) var<storage, read> w: array<Number>;             // [k, n], in vjp and part [n, k]
#endif
@group(0) @binding(3) var<storage, read> bias: array<Number>;          // [n]           primal*
@group(0) @binding(4) var<storage, read> add: array<Number>;           // [rows, n]     primal_add
@group(0) @binding(5) var<storage, read_write> y: array<Number>;       // [rows, n]     out
@group(0) @binding(6) var<storage, read_write> pre: array<Number>;     // [rows, n]     primal_gelu out

@group(0) @binding(3) var<storage, read> carry: array<Number>;         // [rows, n]     jvp_add
@group(0) @binding(3) var<storage, read> pre_kept: array<Number>;      // [primal, n]   jvp_gelu, vjp_gelu, jet_gelu
@group(0) @binding(4) var<storage, read> rows: array<vec4<u32>>;       // [rows, 4]     jvp_gelu, vjp_gelu; [rows / 2, 4] jet_gelu
@group(0) @binding(5) var<storage, read_write> wide_y: array<f32>;     // [rows, stride] part out

// Two rows of what this invocation computed, on their way to y: rows own.x .., columns own.y .., ACROSS Numbers a row.
var<private> acc: Pair;
var<private> own: vec2<u32>;

#ifdef SUBGROUP
#import octet
alias Pair = array<vec4<f32>, 4>;

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) sub: u32,
}

var<private> octets: array<Octet, OCTETS>;

fn bring(pair: u32) {
    if (pair < 4u) { acc = pair_of(octets[0], pair); }
    if (pair / 4u == 1u) { acc = pair_of(octets[1], pair - 4u); }
#ifdef TALL
    if (pair / 4u == 2u) { acc = pair_of(octets[2], pair - 8u); }
#endif
}

// Four steps of k of this lane's eight columns of w.
struct Panel { low: mat4x4<f32>, high: mat4x4<f32> }

// From quad `s` of k on. Columns beyond the edge repeat the last ones and are not stored: no branch around a load. No arrays: an
// index that is checked, constant or not, keeps a compiler from seeing through them, and costs a third of the speed.
#ifdef HALVES
struct Panels { first: Panel, second: Panel }

fn words(s: u32, i: u32, transposed: bool) -> vec4<u32> {
    let along = min(own.y + i, p.n - 1u) * p.k + 4u * s;
    return w[select((4u * s + i) * p.n + min(own.y, p.n - 8u), along, transposed) / 8u];
}

fn panels(s: u32, transposed: bool) -> Panels {
    let w0 = words(s, 0u, transposed);
    let w1 = words(s, 1u, transposed);
    let w2 = words(s, 2u, transposed);
    let w3 = words(s, 3u, transposed);
    let w4 = words(s, 4u, transposed);
    let w5 = words(s, 5u, transposed);
    let w6 = words(s, 6u, transposed);
    let w7 = words(s, 7u, transposed);
    let a = mat4x4<f32>(four(w0.xy), four(w1.xy), four(w2.xy), four(w3.xy));
    let b = mat4x4<f32>(four(w0.zw), four(w1.zw), four(w2.zw), four(w3.zw));
    let c = mat4x4<f32>(four(w4.xy), four(w5.xy), four(w6.xy), four(w7.xy));
    let d = mat4x4<f32>(four(w4.zw), four(w5.zw), four(w6.zw), four(w7.zw));
    if (transposed) { return Panels(Panel(transpose(a), transpose(c)), Panel(transpose(b), transpose(d))); }
    return Panels(Panel(a, b), Panel(c, d));
}

// The product so far, with the quads of x from `at` on.
fn onto(o: Octet, at: u32, w: Panels) -> Octet {
    return steps(steps(o, x[at], w.first.low, w.first.high), x[at + 1u], w.second.low, w.second.high);
}
#else
fn straight(s: u32, column: u32) -> mat4x4<f32> {
    let across = p.n / 4u;
    let at = 4u * s * across + min(column / 4u, across - 1u);
    return mat4x4<f32>(w[at], w[at + across], w[at + 2u * across], w[at + 3u * across]);
}

fn turned(s: u32, column: u32) -> mat4x4<f32> {
    let last = p.n - 1u;
    let k = p.k / 4u;
    return transpose(mat4x4<f32>(
        w[min(column, last) * k + s], w[min(column + 1u, last) * k + s],
        w[min(column + 2u, last) * k + s], w[min(column + 3u, last) * k + s],
    ));
}

fn panels(s: u32, transposed: bool) -> Panel {
    if (transposed) { return Panel(turned(s, own.y), turned(s, own.y + 4u)); }
    return Panel(straight(s, own.y), straight(s, own.y + 4u));
}

fn onto(o: Octet, at: u32, w: Panel) -> Octet {
    return steps(o, x[at], w.low, w.high);
}
#endif

fn product(place: Place, transposed: bool) {
    own = vec2<u32>(place.group.y * GROUP_ROWS, place.group.x * GROUP_COLS + 8u * place.lane);
    let k = p.k / 4u;
    let last = p.rows - 1u;
    let row = own.x + (place.sub & 7u);
    let r0 = min(row, last) * k;
    let r1 = min(row + 8u, last) * k;
    var o0 = Octet();
    var o1 = Octet();
#ifdef TALL
    let r2 = min(row + 16u, last) * k;
    var o2 = Octet();
#endif
    for (var s = 0u; s < k; s += QUADS) {
        let weights = panels(s, transposed);
        o0 = onto(o0, r0 + s, weights);
        o1 = onto(o1, r1 + s, weights);
#ifdef TALL
        o2 = onto(o2, r2 + s, weights);
#endif
    }
    octets[0] = o0;
    octets[1] = o1;
#ifdef TALL
    octets[2] = o2;
#endif
}
#else
alias Pair = array<f32, 8>;

fn load_x(row: u32, i: u32) -> f32 {
    if (row < p.rows && i < p.k) { return x[row * p.k + i]; }
    return 0.0;
}

fn load_w(i: u32, col: u32, transposed: bool) -> f32 {
    if (i < p.k && col < p.n) {
        let at = select(i * p.n + col, col * p.k + i, transposed);
#ifdef HALVES
        return four(vec2<u32>(w[at / 2u]))[at % 2u];
#else
        return w[at];
#endif
    }
    return 0.0;
}

var<workgroup> x_tile: array<vec4<f32>, 256>;    // [16 steps of k, 16 groups of 4 rows]
var<workgroup> w_tile: array<vec4<f32>, 256>;    // [16 steps of k, 16 groups of 4 columns]

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

var<private> quad: array<vec4<f32>, 4>;

fn bring(pair: u32) {
    let a = select(quad[2], quad[0], pair == 0u);
    let b = select(quad[3], quad[1], pair == 0u);
    acc = Pair(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
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
    quad = array<vec4<f32>, 4>(a0, a1, a2, a3);
}
#endif

// Pairs of this invocation's rows of which y has one.
fn pairs() -> u32 {
    return min(PAIRS, (p.rows + 1u - min(own.x, p.rows)) / 2u);
}

// Brings a pair; they are asked for in turn.
fn turn_to(pair: u32) {
    own.x += select(2u, 0u, pair == 0u);
    bring(pair);
}

// Row and first column of Number i of the tile.
fn spot(i: u32) -> vec2<u32> {
    return own + vec2<u32>(i / ACROSS, UNIT * (i % ACROSS));
}

fn inside(at: vec2<u32>) -> bool {
    return at.x < p.rows && at.y < p.n;
}

// Place in an array [rows, n] of Numbers.
fn number(at: vec2<u32>) -> u32 {
    return (at.x * p.n + at.y) / UNIT;
}

// GELU's argument in the primal of row `row`, at the columns of `at`.
fn primal_pre(row: u32, at: vec2<u32>) -> Number {
    return pre_kept[number(vec2<u32>(rows[row].x, at.y))];
}

@compute @workgroup_size(GROUP)
fn primal(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[number(at)] = acc[i] + bias[at.y / UNIT]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn primal_add(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[number(at)] = acc[i] + bias[at.y / UNIT] + add[number(at)]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn primal_gelu(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) {
                let u = acc[i] + bias[at.y / UNIT];
                pre[number(at)] = u;
                y[number(at)] = value(u);
            }
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[number(at)] = acc[i]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp_add(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[number(at)] = acc[i] + carry[number(at)]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp_gelu(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[number(at)] = acc[i] * slope(primal_pre(at.x, at)); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn vjp(place: Place) {
    product(place, true);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[number(at)] = acc[i]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn vjp_gelu(place: Place) {
    product(place, true);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[number(at)] = acc[i] * slope(primal_pre(at.x, at)); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn part(place: Place) {
    product(place, true);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            for (var e = 0u; e < UNIT; e++) {
                let number_e = at + vec2<u32>(0u, e);
                if (inside(number_e)) { wide_y[at.x * p.stride + p.first + at.y + e] = scalar(acc[i], e); }
            }
        }
    }
}

// A tile begins at an even row and is an even number of rows high, so both orders of a row are in this invocation.
@compute @workgroup_size(GROUP)
fn jet_gelu(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        turn_to(pair);
        for (var i = 0u; i < ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) {
                let a = acc[i];
                let b = acc[i + ACROSS];
                let v = primal_pre(at.x / 2u, at);
                y[number(at)] = slope(v) * a;
                y[number(at + vec2<u32>(1u, 0u))] = slope(v) * b + bend(v) * a * a;
            }
        }
    }
}
