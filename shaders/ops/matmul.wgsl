// matmul:  y = x w,  x [rows, k], w [k, n] (vjp, part: [n, k], used transposed). The store includes what follows:
//   primal: + bias            primal_add: + bias + residual        primal_gelu: saves pre = x w + b, y = gelu(pre)
//   jvp:    nothing           jvp_add: + residual                  jvp_gelu:    y = gelu'(pre) (x w)
//   vjp:    x w^T             vjp_gelu: y = gelu'(pre) (x w^T)     part: x w^T, as n columns of a wider y
//   FROZEN: gelu(pre) / pre instead of gelu'(pre), in jvp_gelu and vjp_gelu
//   jet:    jvp of both orders; their rows are interleaved (x_dot, x_ddot), so one product serves both
//   jet_gelu, with a = x_dot w and b = x_ddot w:  y_dot = gelu'(pre) a,  y_ddot = gelu'(pre) b + gelu''(pre) a^2
// 2 rows k n flops over 4 (rows k + k n + rows n) bytes: bound by memory up to about a dozen rows, by arithmetic above.
// Tiling strategies (variants.toml):
//   base       a 64 x 64 tile per workgroup, 16 steps of k at a time through workgroup memory, 4 x 4 elements per
//              invocation: two vec4 reads of workgroup memory for 16 multiply-adds. Any k and n.
//   subgroup   16 x 8 elements per invocation, no barrier. An invocation reads its own 8 columns of w. Each of eight
//              lanes of the subgroup reads a row of x and broadcasts it. For software GPUs: there, a load is a loop
//              over the lanes whatever its width, so multiply-adds per load matter: 51 here. k and n in whole vec4, but
//              not n in part.
//   tall       the same with 24 rows, 70 multiply-adds per load.
//   direct     like subgroup, but each invocation reads all 16 rows of x itself: 21 multiply-adds per load. For
//              software GPUs without subgroups of eight lanes.
//   wide       like base, with 128 x 128 and 8 x 8: four reads of workgroup memory for 64 multiply-adds, and half as
//              many reads of x and w. For GPUs with enough registers, and many rows. k and n in whole vec4.
// F16_WEIGHTS, a variant of each (NAME_f16): w is f16 in pairs, the earlier in the low bits, and every sum is f32. It
// reads half the bytes and, in subgroup and tall, half the loads of w. k and n in multiples of eight, but not n in
// part; base_f16 takes any even row length of w.
#import activation
#import element
#import product
#import rows

@group(0) @binding(0) var<uniform> p: Params;                        // params: part writes n columns from `first` on
@group(0) @binding(1) var<storage, read> x: array<Element>;          // [rows, k]
#ifdef F16_WEIGHTS
@group(0) @binding(2) var<storage, read> w: array<Words>;            // [k, n / 2], in vjp and part [n, k / 2]
#else
@group(0) @binding(2) var<storage, read> w: array<Element>;          // [k, n], in vjp and part [n, k]
#endif
@group(0) @binding(3) var<storage, read> bias: array<Element>;       // [n]             primal*
@group(0) @binding(4) var<storage, read> add: array<Element>;        // [rows, n]       primal_add
@group(0) @binding(5) var<storage, read_write> y: array<Element>;    // [rows, n]       out
@group(0) @binding(6) var<storage, read_write> pre: array<Element>;  // [rows, n]       primal_gelu out

@group(0) @binding(3) var<storage, read> carry: array<Element>;      // [rows, n]       jvp_add
@group(0) @binding(3) var<storage, read> pre_saved: array<Element>;  // [primal, n]     jvp_gelu, vjp_gelu, jet_gelu
@group(0) @binding(4) var<storage, read> rows: array<vec4<u32>>;     // [rows, 4]       *_gelu; [rows / 2, 4] jet_gelu
@group(0) @binding(5) var<storage, read_write> wide_y: array<f32>;   // [rows, stride]  part out

// Two rows of what this invocation computed, to be stored in y: rows from own.x on, with ACROSS Elements each. These
// begin at column own.y and lie APART columns apart.
var<private> acc: Pair;
var<private> own: vec2<u32>;

#ifdef OCTET
#import matmul_octets
#else
#ifdef WIDE
#import matmul_wide
#else
#import matmul_tile
#endif
#endif

// Number of pairs of this invocation's rows that y has.
fn pairs() -> u32 {
    return min(PAIRS, (p.rows + 1u - min(own.x, p.rows)) / 2u);
}

// Loads a pair into `acc`; the pairs must be loaded in order.
fn load_pair(pair: u32) {
    own.x += select(2u, 0u, pair == 0u);
    bring(pair);
}

// Row and first column of Element i of `acc`.
fn spot(i: u32) -> vec2<u32> {
    return own + vec2<u32>(i / ACROSS, APART * (i % ACROSS));
}

fn inside(at: vec2<u32>) -> bool {
    return at.x < p.rows && at.y < p.n;
}

// Index in an array [rows, n] of Elements.
fn element(at: vec2<u32>) -> u32 {
    return (at.x * p.n + at.y) / UNIT;
}

// GELU's argument in the primal of row `row`, at the columns of `at`.
fn primal_pre(row: u32, at: vec2<u32>) -> Element {
    return pre_saved[element(vec2<u32>(rows[row].x, at.y))];
}

@compute @workgroup_size(GROUP)
fn primal(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[element(at)] = acc[i] + bias[at.y / UNIT]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn primal_add(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[element(at)] = acc[i] + bias[at.y / UNIT] + add[element(at)]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn primal_gelu(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) {
                let u = acc[i] + bias[at.y / UNIT];
                pre[element(at)] = u;
                y[element(at)] = value(u);
            }
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[element(at)] = acc[i]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp_add(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[element(at)] = acc[i] + carry[element(at)]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn jvp_gelu(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[element(at)] = acc[i] * slope(primal_pre(at.x, at)); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn vjp(place: Place) {
    product(place, true);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[element(at)] = acc[i]; }
        }
    }
}

@compute @workgroup_size(GROUP)
fn vjp_gelu(place: Place) {
    product(place, true);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) { y[element(at)] = acc[i] * slope(primal_pre(at.x, at)); }
        }
    }
}

@compute @workgroup_size(GROUP)
fn part(place: Place) {
    product(place, true);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < 2u * ACROSS; i++) {
            let at = spot(i);
            for (var e = 0u; e < UNIT; e++) {
                let at_e = at + vec2<u32>(0u, e);
                if (inside(at_e)) { wide_y[at.x * p.stride + p.first + at.y + e] = scalar(acc[i], e); }
            }
        }
    }
}

// A tile begins at an even row and has an even number of rows, so both orders of a row are in this invocation.
@compute @workgroup_size(GROUP)
fn jet_gelu(place: Place) {
    product(place, false);
    let pairs = pairs();
    for (var pair = 0u; pair < pairs; pair++) {
        load_pair(pair);
        for (var i = 0u; i < ACROSS; i++) {
            let at = spot(i);
            if (inside(at)) {
                let a = acc[i];
                let b = acc[i + ACROSS];
                let v = primal_pre(at.x / 2u, at);
                y[element(at)] = slope(v) * a;
                y[element(at + vec2<u32>(1u, 0u))] = slope(v) * b + second_derivative(v) * a * a;
            }
        }
    }
}
