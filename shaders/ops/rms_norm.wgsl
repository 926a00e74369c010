// rms_norm:  y = gain u,  u = x r,  r = 1 / sqrt(<x^2> + eps),  over each segment of a row; other columns are copied.
//   jvp: y_dot = gain r (x_dot - u <u x_dot>)                          <.> is the mean over the segment
//   vjp: x_bar = r (g - u <u g>),  g = gain y_bar                      vjp_add: plus what the residual path brings
//   FROZEN: r is a constant, so the terms with u are gone from jvp and vjp
//   jet: w = u_dot,  alpha = r <u x_dot>,  beside y_dot
//        y_ddot = gain (r (x_ddot - u <u x_ddot>) - 2 alpha w - (<w^2> + eps r^2 alpha^2) u)
//   hvp: x_bar_dot = vjp(y_bar_dot) - r (alpha (g - u <u g>) + w <u g> + u <w g>) for the first `tangent_rows` rows,
//        with g of the shared cotangent, whose row is in `rows`, from entry `shared_from` on
// Residuals: x and r. A tangent or cotangent row finds its primal through `rows`, so K of them share one primal.
// Layout: one workgroup for each row and stretch. A stretch is a segment, or a run of columns between segments. Its
// invocations stride over it. Bound by memory: 2 reads and 1 write an element.
// A segment whose elements sum to more than LARGE in size is multiplied by DOWN before it is squared, and this sum is
// taken over elements times SMALL. No sum overflows while the row is finite. All three are powers of two, so ordinary
// rows keep their bits.
#import reduce

override FROZEN: bool = false;

const LARGE: f32 = 0x1p50f;
const DOWN: f32 = 0x1p-77f;
const SMALL: f32 = 0x1p-16f;
// In place of the index of a segment: the columns of this stretch are copied.
const COPIED: u32 = 0xffffffffu;

struct Params {
    n: u32, segments: u32, eps: f32, tangent_rows: u32,
    shared_from: u32, pad0: u32, pad1: u32, pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;                              // params
@group(0) @binding(1) var<storage, read> x: array<f32>;                    // [primal, n]
@group(0) @binding(2) var<storage, read> gain: array<f32>;                 // [n]
@group(0) @binding(3) var<storage, read> stretches: array<vec4<u32>>;      // [stretches, 4]  start, width, segment
@group(0) @binding(4) var<storage, read_write> y: array<f32>;              // [rows, n]         primal out
@group(0) @binding(5) var<storage, read_write> inverses: array<f32>;       // [rows, segments]  primal out: r

@group(0) @binding(4) var<storage, read> residuals: array<f32>;            // [primal, segments]  r, in derivatives
@group(0) @binding(5) var<storage, read> rows: array<vec4<u32>>;           // [rows, 4]
@group(0) @binding(6) var<storage, read> x_dot: array<f32>;                // [rows, n]    jvp in; [tangent_rows, n] hvp
@group(0) @binding(7) var<storage, read_write> y_dot: array<f32>;          // [rows, n]    jvp out
@group(0) @binding(6) var<storage, read> y_bar: array<f32>;                // [rows, n]    vjp in
@group(0) @binding(7) var<storage, read_write> x_bar: array<f32>;          // [rows, n]    vjp out
@group(0) @binding(8) var<storage, read> add: array<f32>;                  // [rows, n]    vjp_add: added to x_bar
@group(0) @binding(7) var<storage, read> y_bars: array<f32>;               // [rows, n]    hvp in: y_bar_dots, y_bar
@group(0) @binding(8) var<storage, read_write> x_bars: array<f32>;         // [rows, n]    hvp out: x_bar_dots, x_bar
@group(0) @binding(6) var<storage, read> x_jet: array<f32>;                // [2 rows, n]  jet in: interleaved
@group(0) @binding(7) var<storage, read_write> y_jet: array<f32>;          // [2 rows, n]  jet out

// A stretch of a batch row: its offset in the row, in arrays of batch rows and in x, and r of a segment.
struct Stretch { column: u32, own: u32, at: u32, width: u32, is_copied: bool, r: f32 }

fn stretch_of(group: vec3<u32>) -> Stretch {
    let s = stretches[group.y];
    let at = rows[group.x].x;
    var k = Stretch(s.x, group.x * p.n + s.x, at * p.n + s.x, s.y, s.z == COPIED, 0.0);
    if (!k.is_copied) { k.r = residuals[at * p.segments + s.z]; }
    return k;
}

fn u_at(k: Stretch, i: u32) -> f32 {
    return x[k.at + i] * k.r;
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let stretch = stretches[group.y];
    let base = group.x * p.n + stretch.x;
    let width = stretch.y;
    if (stretch.z == COPIED) {
        for (var i = lane; i < width; i += WG) { y[base + i] = x[base + i]; }
        return;
    }
    var size = 0.0;
    for (var i = lane; i < width; i += WG) { size += abs(x[base + i]) * SMALL; }
    let scale = select(1.0, DOWN, sum(lane, size) > LARGE * SMALL);
    var square = 0.0;
    for (var i = lane; i < width; i += WG) {
        let c = x[base + i] * scale;
        square += c * c;
    }
    // Scaled, eps may underflow; but then the elements are so large that it has no effect.
    let r = 1.0 / sqrt(sum(lane, square) / f32(width) + p.eps * scale * scale);
    for (var i = lane; i < width; i += WG) {
        y[base + i] = gain[stretch.x + i] * (x[base + i] * scale * r);
    }
    if (lane == 0u) { inverses[group.x * p.segments + stretch.z] = r * scale; }
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = stretch_of(group);
    if (k.is_copied) {
        for (var i = lane; i < k.width; i += WG) { y_dot[k.own + i] = x_dot[k.own + i]; }
        return;
    }
    var m = 0.0;
    if (!FROZEN) {
        for (var i = lane; i < k.width; i += WG) { m += u_at(k, i) * x_dot[k.own + i]; }
        m = sum(lane, m) / f32(k.width);
    }
    for (var i = lane; i < k.width; i += WG) {
        var along = 0.0;
        if (!FROZEN) { along = u_at(k, i) * m; }
        y_dot[k.own + i] = gain[k.column + i] * k.r * (x_dot[k.own + i] - along);
    }
}

// Both orders of one stretch in one workgroup. <w^2> is summed in a second pass: from <x_dot^2> by subtraction it would
// cancel where x_dot is nearly along x.
@compute @workgroup_size(64)
fn jet(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = stretch_of(group);
    let first = 2u * group.x * p.n + k.column;
    let second = first + p.n;
    if (k.is_copied) {
        for (var i = lane; i < k.width; i += WG) {
            y_jet[first + i] = x_jet[first + i];
            y_jet[second + i] = x_jet[second + i];
        }
        return;
    }
    var s = vec2<f32>(0.0);
    for (var i = lane; i < k.width; i += WG) { s += u_at(k, i) * vec2<f32>(x_jet[first + i], x_jet[second + i]); }
    let m = sum2(lane, s) / f32(k.width);
    var square = 0.0;
    for (var i = lane; i < k.width; i += WG) {
        let w = k.r * (x_jet[first + i] - u_at(k, i) * m.x);
        square += w * w;
    }
    let alpha = k.r * m.x;
    let inward = sum(lane, square) / f32(k.width) + p.eps * k.r * k.r * alpha * alpha;
    for (var i = lane; i < k.width; i += WG) {
        let u = u_at(k, i);
        let w = k.r * (x_jet[first + i] - u * m.x);
        let linear = k.r * (x_jet[second + i] - u * m.y);
        y_jet[first + i] = gain[k.column + i] * w;
        y_jet[second + i] = gain[k.column + i] * (linear - 2.0 * alpha * w - inward * u);
    }
}

// The mean <u g> of the vjp of a segment.
fn vjp_mean(k: Stretch, lane: u32) -> f32 {
    var m = 0.0;
    if (FROZEN || k.is_copied) { return m; }
    for (var i = lane; i < k.width; i += WG) { m += u_at(k, i) * gain[k.column + i] * y_bar[k.own + i]; }
    return sum(lane, m) / f32(k.width);
}

fn vjp_at(k: Stretch, i: u32, m: f32) -> f32 {
    if (k.is_copied) { return y_bar[k.own + i]; }
    var along = 0.0;
    if (!FROZEN) { along = u_at(k, i) * m; }
    return k.r * (gain[k.column + i] * y_bar[k.own + i] - along);
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = stretch_of(group);
    let m = vjp_mean(k, lane);
    for (var i = lane; i < k.width; i += WG) { x_bar[k.own + i] = vjp_at(k, i, m); }
}

@compute @workgroup_size(64)
fn vjp_add(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = stretch_of(group);
    let m = vjp_mean(k, lane);
    for (var i = lane; i < k.width; i += WG) { x_bar[k.own + i] = add[k.own + i] + vjp_at(k, i, m); }
}

// <w g> is summed in a second pass, for the reason that <w^2> of a jet is.
@compute @workgroup_size(64)
fn hvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let k = stretch_of(group);
    if (k.is_copied) {
        for (var i = lane; i < k.width; i += WG) { x_bars[k.own + i] = y_bars[k.own + i]; }
        return;
    }
    let has_tangent = group.x < p.tangent_rows;
    let shared_cotangent = rows[p.shared_from + group.x].x * p.n + k.column;
    var own = 0.0;
    for (var i = lane; i < k.width; i += WG) { own += u_at(k, i) * gain[k.column + i] * y_bars[k.own + i]; }
    own = sum(lane, own) / f32(k.width);
    // <u x_dot> and <u g>.
    var m = vec2<f32>(0.0);
    var turn = 0.0;
    if (has_tangent) {
        for (var i = lane; i < k.width; i += WG) {
            m += u_at(k, i) * vec2<f32>(x_dot[k.own + i], gain[k.column + i] * y_bars[shared_cotangent + i]);
        }
        m = sum2(lane, m) / f32(k.width);
        for (var i = lane; i < k.width; i += WG) {
            let w = k.r * (x_dot[k.own + i] - u_at(k, i) * m.x);
            turn += w * gain[k.column + i] * y_bars[shared_cotangent + i];
        }
        turn = sum(lane, turn) / f32(k.width);
    }
    for (var i = lane; i < k.width; i += WG) {
        let u = u_at(k, i);
        var bar = gain[k.column + i] * y_bars[k.own + i] - u * own;
        if (has_tangent) {
            let w = k.r * (x_dot[k.own + i] - u * m.x);
            let g = gain[k.column + i] * y_bars[shared_cotangent + i] - u * m.y;
            bar -= k.r * m.x * g + w * m.y + u * turn;
        }
        x_bars[k.own + i] = k.r * bar;
    }
}
