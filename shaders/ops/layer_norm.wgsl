// layer_norm:  y = gain x_hat + bias,  x_hat = (x - mean) rstd,  rstd = 1 / sqrt(var + eps),  over one row.
//   jvp: y_dot = gain rstd (x_dot - <x_dot> - x_hat <x_hat x_dot>)          <.> is the mean over the row
//   vjp: x_bar = rstd (g - <g> - x_hat <x_hat g>),  g = gain y_bar          vjp_add: plus what the residual path brings
//   FROZEN: rstd is a constant, so the terms with x_hat are gone from jvp and vjp
//   jet: u = x_hat_dot,  alpha = rstd <x_hat x_dot>,  beside y_dot
//        y_ddot = gain (rstd (x_ddot - <x_ddot> - x_hat <x_hat x_ddot>) - 2 alpha u - (<u^2> + eps rstd^2 alpha^2)
//                 x_hat)
//   hvp: with g of the shared cotangent, x_bar_dot = vjp(y_bar_dot) + rstd (-alpha (g - <g> - x_hat <x_hat g>)
//        - u <x_hat g> - x_hat <u g>) for the first `tangent_rows` rows; entries of `rows` from `shared_from` on name
//        the row of the shared cotangent.  hvp_add: like vjp_add
// Residuals: x and stats. A tangent or cotangent row finds its primal through `rows`, so K of them share one primal.
// Layout: one workgroup a row, its invocations stride over the row. Bound by memory: 2 reads and 1 write a number.
// The variance is taken about the mean, in a second pass over the row: the one-pass form cancels in f32.
// A row whose numbers sum to more than LARGE in size is multiplied by DOWN before it is squared, and other sums by
// SMALL. No sum overflows while the row is finite. All three are powers of two, so ordinary rows keep their bits.
#import reduce

override FROZEN: bool = false;

const LARGE: f32 = 0x1p50f;
const DOWN: f32 = 0x1p-77f;
const SMALL: f32 = 0x1p-16f;

struct Params { rows: u32, d: u32, eps: f32, tangent_rows: u32, shared_from: u32, pad0: u32, pad1: u32, pad2: u32 }

@group(0) @binding(0) var<uniform> p: Params;                              // params
@group(0) @binding(1) var<storage, read> x: array<f32>;                    // [primal, d]
@group(0) @binding(2) var<storage, read> gain: array<f32>;                 // [d]
@group(0) @binding(3) var<storage, read> bias: array<f32>;                 // [d]          primal
@group(0) @binding(4) var<storage, read_write> y: array<f32>;              // [rows, d]    primal out
@group(0) @binding(5) var<storage, read_write> stats: array<vec2<f32>>;    // [rows, 2]    primal out: mean, rstd

@group(0) @binding(3) var<storage, read> residuals: array<vec2<f32>>;           // [primal, 2]  stats, in jvp and vjp
@group(0) @binding(4) var<storage, read> rows: array<vec4<u32>>;           // [rows, 4]
@group(0) @binding(5) var<storage, read> x_dot: array<f32>;                // [rows, d]    jvp in;
                                                                           //              [tangent_rows, d] hvp in
@group(0) @binding(6) var<storage, read_write> y_dot: array<f32>;          // [rows, d]    jvp out
@group(0) @binding(5) var<storage, read> y_bar: array<f32>;                // [rows, d]    vjp in
@group(0) @binding(6) var<storage, read_write> x_bar: array<f32>;          // [rows, d]    vjp out
@group(0) @binding(7) var<storage, read> add: array<f32>;                  // [rows, d]    vjp_add: added to x_bar
@group(0) @binding(6) var<storage, read> y_bars: array<f32>;               // [rows, d]    hvp in: y_bar_dot of
                                                                           //              each run, then y_bar
@group(0) @binding(7) var<storage, read_write> x_bars: array<f32>;         // [rows, d]    hvp out: x_bar_dot of
                                                                           //              each run, then x_bar
@group(0) @binding(8) var<storage, read> adds: array<f32>;                 // [rows, d]    hvp_add: added to x_bars
@group(0) @binding(5) var<storage, read> x_jet: array<f32>;                // [2 rows, d]  jet in: x_dot and x_ddot,
                                                                           //              interleaved
@group(0) @binding(6) var<storage, read_write> y_jet: array<f32>;          // [2 rows, d]  jet out

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.x * p.d;
    let inv_d = 1.0 / f32(p.d);
    var s = vec2<f32>(0.0);
    for (var i = lane; i < p.d; i += WG) {
        let small = x[base + i] * SMALL;
        s += vec2<f32>(small, abs(small));
    }
    let size = sum2(lane, s);
    let mean = size.x * inv_d * (1.0 / SMALL);
    let scale = select(1.0, DOWN, size.y > LARGE * SMALL);
    var v = 0.0;
    for (var i = lane; i < p.d; i += WG) {
        let c = x[base + i] * scale - mean * scale;
        v += c * c;
    }
    // Scaled, eps may underflow; the second part keeps its effect, which is to bound the quotient of a constant row.
    let deviation = max(sqrt(sum(lane, v) * inv_d + p.eps * scale * scale), sqrt(p.eps) * scale);
    let rstd = 1.0 / deviation;
    for (var i = lane; i < p.d; i += WG) {
        y[base + i] = gain[i] * ((x[base + i] * scale - mean * scale) * rstd) + bias[i];
    }
    if (lane == 0u) { stats[group.x] = vec2<f32>(mean, rstd * scale); }
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x;
    let mean = residuals[at].x;
    let rstd = residuals[at].y;
    let base = group.x * p.d;
    var s = vec2<f32>(0.0);
    for (var i = lane; i < p.d; i += WG) {
        let t = x_dot[base + i];
        if (FROZEN) { s.x += t; } else { s += vec2<f32>(t, t * ((x[at * p.d + i] - mean) * rstd)); }
    }
    let m = sum2(lane, s) / f32(p.d);
    for (var i = lane; i < p.d; i += WG) {
        var along = 0.0;
        if (!FROZEN) { along = (x[at * p.d + i] - mean) * rstd * m.y; }
        y_dot[base + i] = gain[i] * rstd * (x_dot[base + i] - m.x - along);
    }
}

// Both orders of one row in one workgroup. <u^2> is summed in a second pass, as the variance is in the primal: from
// <x_dot^2> by subtraction it would cancel where the components of x_dot have much in common.
@compute @workgroup_size(64)
fn jet(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x;
    let mean = residuals[at].x;
    let rstd = residuals[at].y;
    let first = 2u * group.x * p.d;
    let second = first + p.d;
    var s = vec2<f32>(0.0);
    var t = vec2<f32>(0.0);
    for (var i = lane; i < p.d; i += WG) {
        let x_hat = (x[at * p.d + i] - mean) * rstd;
        s += x_jet[first + i] * vec2<f32>(1.0, x_hat);
        t += x_jet[second + i] * vec2<f32>(1.0, x_hat);
    }
    let m = sum2(lane, s) / f32(p.d);
    let n = sum2(lane, t) / f32(p.d);
    var square = 0.0;
    for (var i = lane; i < p.d; i += WG) {
        let x_hat = (x[at * p.d + i] - mean) * rstd;
        let u = rstd * (x_jet[first + i] - m.x - x_hat * m.y);
        square += u * u;
    }
    let alpha = rstd * m.y;
    let inward = sum(lane, square) / f32(p.d) + p.eps * rstd * rstd * alpha * alpha;
    for (var i = lane; i < p.d; i += WG) {
        let x_hat = (x[at * p.d + i] - mean) * rstd;
        let u = rstd * (x_jet[first + i] - m.x - x_hat * m.y);
        let linear = rstd * (x_jet[second + i] - n.x - x_hat * n.y);
        y_jet[first + i] = gain[i] * u;
        y_jet[second + i] = gain[i] * (linear - 2.0 * alpha * u - inward * x_hat);
    }
}

// The two means of the vjp of one row.
fn vjp_means(row: u32, at: u32, lane: u32) -> vec2<f32> {
    let k = residuals[at];
    var s = vec2<f32>(0.0);
    for (var i = lane; i < p.d; i += WG) {
        let g = gain[i] * y_bar[row * p.d + i];
        if (FROZEN) { s.x += g; } else { s += vec2<f32>(g, g * ((x[at * p.d + i] - k.x) * k.y)); }
    }
    return sum2(lane, s) / f32(p.d);
}

fn vjp_at(row: u32, at: u32, i: u32, m: vec2<f32>) -> f32 {
    let k = residuals[at];
    var along = 0.0;
    if (!FROZEN) { along = (x[at * p.d + i] - k.x) * k.y * m.y; }
    return k.y * (gain[i] * y_bar[row * p.d + i] - m.x - along);
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x;
    let m = vjp_means(group.x, at, lane);
    for (var i = lane; i < p.d; i += WG) { x_bar[group.x * p.d + i] = vjp_at(group.x, at, i, m); }
}

@compute @workgroup_size(64)
fn vjp_add(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x;
    let m = vjp_means(group.x, at, lane);
    for (var i = lane; i < p.d; i += WG) {
        x_bar[group.x * p.d + i] = add[group.x * p.d + i] + vjp_at(group.x, at, i, m);
    }
}

fn x_hat_at(at: u32, i: u32) -> f32 {
    return (x[at * p.d + i] - residuals[at].x) * residuals[at].y;
}

// What an hvp sums over a row: plain <.> and <x_hat .>, of the row's own gain y_bar, and of x_dot and g where it has a
// tangent.
struct SecondOrder { own: vec2<f32>, dot: vec2<f32>, g: vec2<f32>, turn: f32 }

fn u_at(row: u32, at: u32, i: u32, b: SecondOrder) -> f32 {
    return residuals[at].y * (x_dot[row * p.d + i] - b.dot.x - x_hat_at(at, i) * b.dot.y);
}

// Row of the shared cotangent for a row's token.
fn shared_cotangent_row(row: u32) -> u32 {
    return rows[p.shared_from + row].x;
}

// <u g> is summed in a second pass, for the reason that <u^2> of a jet is.
fn second_order(row: u32, at: u32, lane: u32) -> SecondOrder {
    var b = SecondOrder();
    for (var i = lane; i < p.d; i += WG) {
        b.own += gain[i] * y_bars[row * p.d + i] * vec2<f32>(1.0, x_hat_at(at, i));
    }
    b.own = sum2(lane, b.own) / f32(p.d);
    if (row < p.tangent_rows) {
        let shared_cotangent = shared_cotangent_row(row) * p.d;
        for (var i = lane; i < p.d; i += WG) {
            let weights = vec2<f32>(1.0, x_hat_at(at, i));
            b.dot += x_dot[row * p.d + i] * weights;
            b.g += gain[i] * y_bars[shared_cotangent + i] * weights;
        }
        b.dot = sum2(lane, b.dot) / f32(p.d);
        b.g = sum2(lane, b.g) / f32(p.d);
        for (var i = lane; i < p.d; i += WG) {
            b.turn += u_at(row, at, i, b) * gain[i] * y_bars[shared_cotangent + i];
        }
        b.turn = sum(lane, b.turn) / f32(p.d);
    }
    return b;
}

fn hvp_at(row: u32, at: u32, i: u32, b: SecondOrder) -> f32 {
    let x_hat = x_hat_at(at, i);
    var bar = gain[i] * y_bars[row * p.d + i] - b.own.x - x_hat * b.own.y;
    if (row < p.tangent_rows) {
        let g = gain[i] * y_bars[shared_cotangent_row(row) * p.d + i] - b.g.x - x_hat * b.g.y;
        bar -= residuals[at].y * b.dot.y * g + u_at(row, at, i, b) * b.g.y + x_hat * b.turn;
    }
    return residuals[at].y * bar;
}

@compute @workgroup_size(64)
fn hvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x;
    let b = second_order(group.x, at, lane);
    for (var i = lane; i < p.d; i += WG) { x_bars[group.x * p.d + i] = hvp_at(group.x, at, i, b); }
}

@compute @workgroup_size(64)
fn hvp_add(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x;
    let b = second_order(group.x, at, lane);
    for (var i = lane; i < p.d; i += WG) {
        x_bars[group.x * p.d + i] = adds[group.x * p.d + i] + hvp_at(group.x, at, i, b);
    }
}
