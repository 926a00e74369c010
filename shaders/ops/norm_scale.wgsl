// norm_scale:  y = [c | s],  c = x - <x> of a layer norm, and x of an RMS norm,  s = sqrt(<c^2> + eps),  over one row.
//   jvp: c_dot = P x_dot,  s_dot = <n c_dot>,  n = c / s     <.> is the mean over the row; P takes it off a layer norm
//   vjp: x_bar = P c_bar + s_bar n / d
//   FROZEN: s is a constant, so s_dot is 0, and the term with s_bar is gone
//   jet: w = n_dot = (c_dot - n s_dot) / s,  s_ddot = <n c_ddot> + s <w^2> + eps s_dot^2 / s^3
//   hvp: x_bar_dot = vjp(y_bar_dot) + s_bar w / d for the first `tangent_rows` rows, with s_bar of the shared
//        cotangent, whose row is in `rows`, from entry `shared_from` on
// Residuals: y. A tangent or cotangent row finds its primal through `rows`, so K of them share one primal.
// Layout: one workgroup a row, its invocations stride over the row. Bound by memory: 3 reads, 1 write an element.
// The variance is taken about the mean, in a second pass over the row: the one-pass form cancels in f32.
// A row whose elements sum to more than LARGE in size is multiplied by DOWN before it is squared, and this sum is taken
// over elements times SMALL. No sum overflows while the row is finite. All three are powers of two.
#import reduce

override FROZEN: bool = false;

const LARGE: f32 = 0x1p50f;
const DOWN: f32 = 0x1p-77f;
const SMALL: f32 = 0x1p-16f;

struct Params { d: u32, centred: u32, eps: f32, tangent_rows: u32, shared_from: u32, pad0: u32, pad1: u32, pad2: u32 }

@group(0) @binding(0) var<uniform> p: Params;                          // params
@group(0) @binding(1) var<storage, read> x: array<f32>;                // [rows, d]             primal in
@group(0) @binding(2) var<storage, read_write> y: array<f32>;          // [rows, d + 1]         primal out

@group(0) @binding(1) var<storage, read> y_saved: array<f32>;          // [primal, d + 1]       y, in derivatives
@group(0) @binding(2) var<storage, read> rows: array<vec4<u32>>;       // [rows, 4]
@group(0) @binding(3) var<storage, read> x_dot: array<f32>;            // [rows, d]  jvp in; [tangent_rows, d] hvp
@group(0) @binding(4) var<storage, read_write> y_dot: array<f32>;      // [rows, d + 1]         jvp out
@group(0) @binding(3) var<storage, read> x_jet: array<f32>;            // [2 rows, d]           jet in: interleaved
@group(0) @binding(4) var<storage, read_write> y_jet: array<f32>;      // [2 rows, d + 1]       jet out
@group(0) @binding(3) var<storage, read> y_bar: array<f32>;            // [rows, d + 1]         vjp in
@group(0) @binding(4) var<storage, read_write> x_bar: array<f32>;      // [rows, d]             vjp out
@group(0) @binding(4) var<storage, read> y_bars: array<f32>;           // [rows, d + 1]         hvp in: dots, y_bar
@group(0) @binding(5) var<storage, read_write> x_bars: array<f32>;     // [rows, d]             hvp out: dots, x_bar

// The mean that a layer norm takes off; 0 for an RMS norm.
fn taken(mean: f32) -> f32 {
    return select(0.0, mean, p.centred == 1u);
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.x * p.d;
    let out = group.x * (p.d + 1u);
    let inv_d = 1.0 / f32(p.d);
    var s = vec2<f32>(0.0);
    for (var i = lane; i < p.d; i += WG) {
        let small = x[base + i] * SMALL;
        s += vec2<f32>(small, abs(small));
    }
    let size = sum2(lane, s);
    let mean = taken(size.x * inv_d * (1.0 / SMALL));
    let scale = select(1.0, DOWN, size.y > LARGE * SMALL);
    var square = 0.0;
    for (var i = lane; i < p.d; i += WG) {
        let c = x[base + i] * scale - mean * scale;
        square += c * c;
    }
    // Scaled, eps may underflow; the second part keeps its effect, which is to bound the quotient of a constant row.
    let deviation = max(sqrt(sum(lane, square) * inv_d + p.eps * scale * scale), sqrt(p.eps) * scale);
    for (var i = lane; i < p.d; i += WG) { y[out + i] = x[base + i] - mean; }
    if (lane == 0u) { y[out + p.d] = deviation / scale; }
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x * (p.d + 1u);
    let base = group.x * p.d;
    let out = group.x * (p.d + 1u);
    let s = y_saved[at + p.d];
    var m = vec2<f32>(0.0);
    for (var i = lane; i < p.d; i += WG) {
        let t = x_dot[base + i];
        m += vec2<f32>(t, t * (y_saved[at + i] / s));
    }
    m = sum2(lane, m) / f32(p.d);
    let mean = taken(m.x);
    for (var i = lane; i < p.d; i += WG) { y_dot[out + i] = x_dot[base + i] - mean; }
    if (lane == 0u) { y_dot[out + p.d] = select(m.y, 0.0, FROZEN); }
}

// Both orders of one row in one workgroup. <w^2> is summed in a second pass: from <c_dot^2> by subtraction it would
// cancel where c_dot is nearly along c.
@compute @workgroup_size(64)
fn jet(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x * (p.d + 1u);
    let first = 2u * group.x * p.d;
    let second = first + p.d;
    let first_out = 2u * group.x * (p.d + 1u);
    let second_out = first_out + p.d + 1u;
    let s = y_saved[at + p.d];
    var first_mean = vec2<f32>(0.0);
    var second_mean = vec2<f32>(0.0);
    for (var i = lane; i < p.d; i += WG) {
        let n = y_saved[at + i] / s;
        first_mean += x_jet[first + i] * vec2<f32>(1.0, n);
        second_mean += x_jet[second + i] * vec2<f32>(1.0, n);
    }
    first_mean = sum2(lane, first_mean) / f32(p.d);
    second_mean = sum2(lane, second_mean) / f32(p.d);
    let mean = vec2<f32>(taken(first_mean.x), taken(second_mean.x));
    var square = 0.0;
    for (var i = lane; i < p.d; i += WG) {
        let w = (x_jet[first + i] - mean.x - y_saved[at + i] / s * first_mean.y) / s;
        square += w * w;
    }
    let turn = first_mean.y / s;
    let inward = s * (sum(lane, square) / f32(p.d)) + p.eps / s * turn * turn;
    for (var i = lane; i < p.d; i += WG) {
        y_jet[first_out + i] = x_jet[first + i] - mean.x;
        y_jet[second_out + i] = x_jet[second + i] - mean.y;
    }
    if (lane == 0u) {
        y_jet[first_out + p.d] = first_mean.y;
        y_jet[second_out + p.d] = second_mean.y + inward;
    }
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x * (p.d + 1u);
    let own = group.x * (p.d + 1u);
    let out = group.x * p.d;
    var m = 0.0;
    for (var i = lane; i < p.d; i += WG) { m += y_bar[own + i]; }
    let mean = taken(sum(lane, m) / f32(p.d));
    let along = select(y_bar[own + p.d] / f32(p.d), 0.0, FROZEN);
    for (var i = lane; i < p.d; i += WG) {
        x_bar[out + i] = y_bar[own + i] - mean + along * (y_saved[at + i] / y_saved[at + p.d]);
    }
}

@compute @workgroup_size(64)
fn hvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = rows[group.x].x * (p.d + 1u);
    let own = group.x * (p.d + 1u);
    let out = group.x * p.d;
    let has_tangent = group.x < p.tangent_rows;
    let shared_cotangent = rows[p.shared_from + group.x].x * (p.d + 1u);
    let s = y_saved[at + p.d];
    var m = 0.0;
    for (var i = lane; i < p.d; i += WG) { m += y_bars[own + i]; }
    let mean = taken(sum(lane, m) / f32(p.d));
    var tangent_mean = vec2<f32>(0.0);
    if (has_tangent) {
        for (var i = lane; i < p.d; i += WG) { tangent_mean += x_dot[out + i] * vec2<f32>(1.0, y_saved[at + i] / s); }
        tangent_mean = sum2(lane, tangent_mean) / f32(p.d);
    }
    let along = y_bars[own + p.d] / f32(p.d);
    for (var i = lane; i < p.d; i += WG) {
        let n = y_saved[at + i] / s;
        var bar = y_bars[own + i] - mean + along * n;
        if (has_tangent) {
            let w = (x_dot[out + i] - taken(tangent_mean.x) - n * tangent_mean.y) / s;
            bar += y_bars[shared_cotangent + p.d] / f32(p.d) * w;
        }
        x_bars[out + i] = bar;
    }
}
