// observe:  scalars of one row of logits l [V], without a transfer of the logits to the host. With Z = ln sum exp l,
// log p = l - Z, a base distribution b, given as log b, and a row of values u, the observable of a row is
//   J = z Z + E[u] + e E[log p] + k KL(p || b) + f KL(b || p)              E[.] is the mean over p
//   probability of a set: u is 1 on the set; entropy: e = -1; log-probability: z = -1 beside a logit, which is linear
//   and belongs to unembed. The coefficients z, e, k, f of each row come as data.
//   slope: dJ/dl = y + p (z + g - E[g]) + f (p - b),  g = u + e log p + k (log p - log b)
//   along a tangent t of the logits, with s = t - E[t] and c = g - E[g]:
//     jet:  t^T d2J/dl2 t = (z + e + k + f) E[s^2] + E[s^2 c]
//     turn: d2J/dl2 t = p (s (z + e + k + f + c) - E[s c])
// The largest logit is left out of the sum of exponentials, and ln sum exp (l - max) is ln (1 + rest): where one entry
// has nearly all of the probability, its log p keeps its digits. So does the slope of its log-probability: y holds the
// weights of log-probabilities, sum y = -z, and their part of the slope is y - p sum y = -y (p - 1) - p (sum y - y).
// KL is a sum of terms that are not negative, p (d - 1 + exp(-d)) with d = log p - log b: a small divergence keeps its
// digits, and equal logits have the divergence 0 and the slope 0, exactly.
// Sums over the vocabulary have parts of SPAN entries, one workgroup each, which `fold` and `totals` add up: the order
// is fixed. All entries are bound by memory: each reads and writes rows of V numbers, while the product with W before
// them reads d times as many.
#import reduce

const SPAN: u32 = 1024u;
const NONE: u32 = 0xffffffffu;

struct Params { rows: u32, vocab: u32, parts: u32, wanted: u32 }

@group(0) @binding(0) var<uniform> p: Params;                                // params
@group(0) @binding(1) var<storage, read> logits: array<f32>;                 // [rows, V]      peaks, normalise
@group(0) @binding(2) var<storage, read_write> peak_parts: array<vec4<f32>>; // [rows, parts, 4]  peaks out: max,
                                                                             //                   how many entries have
                                                                             //                   it, the others' sum
@group(0) @binding(1) var<storage, read> peak: array<vec4<f32>>;             // [rows, parts, 4]  totals
@group(0) @binding(2) var<storage, read_write> total: array<vec2<f32>>;      // [rows, 2]      totals out: max,
                                                                             //                ln sum exp(l - max)
@group(0) @binding(2) var<storage, read> ids: array<u32>;                    // [wanted]       pick
@group(0) @binding(3) var<storage, read_write> picked: array<f32>;           // [rows, wanted] pick out: logits of
                                                                             //                some entries
@group(0) @binding(2) var<storage, read> totals_in: array<vec2<f32>>;        // [rows, 2]      normalise
@group(0) @binding(3) var<storage, read_write> log_p_out: array<f32>;        // [rows, V]      normalise out

@group(0) @binding(1) var<storage, read> log_p: array<f32>;                  // [points, V]
@group(0) @binding(2) var<storage, read> log_b: array<f32>;                  // [bases, V]     moments, slope
@group(0) @binding(3) var<storage, read> u: array<f32>;                      // [sets, V]      moments, slope: rows
                                                                             //                of u and of y
@group(0) @binding(4) var<storage, read> coefficients: array<vec4<f32>>;     // [points, 4]    z, e, k, f
@group(0) @binding(5) var<storage, read> sources: array<vec4<u32>>;          // [points, 4]    row of log_b, of u,
                                                                             //                of y; or NONE
@group(0) @binding(6) var<storage, read_write> moment_parts: array<vec4<f32>>; // [points, parts, 4]  moments out
@group(0) @binding(6) var<storage, read> moments_in: array<vec4<f32>>;       // [points, 4]    slope: folded moments
@group(0) @binding(7) var<storage, read_write> slopes: array<f32>;           // [points, V]    slope out: dJ/dl
@group(0) @binding(8) var<storage, read_write> g_out: array<f32>;            // [points, V]    slope out: g - E[g]

@group(0) @binding(1) var<storage, read> part: array<vec4<f32>>;             // [rows, parts, 4]  fold
@group(0) @binding(2) var<storage, read_write> folded: array<vec4<f32>>;     // [rows, 4]      fold out

@group(0) @binding(2) var<storage, read> g: array<f32>;                      // [points, V]    spread, turn
@group(0) @binding(3) var<storage, read> t: array<f32>;                      // [rows, V]      spread, turn: tangents
                                                                             //                of the logits
@group(0) @binding(5) var<storage, read> points: array<u32>;                 // [rows]         spread, turn
@group(0) @binding(6) var<storage, read> shift: array<vec4<f32>>;            // [rows, 4]      spread, turn: x is
                                                                             //                taken off t
@group(0) @binding(7) var<storage, read_write> spread_parts: array<vec4<f32>>; // [rows, parts, 4]  spread out
@group(0) @binding(7) var<storage, read> spreads: array<vec4<f32>>;          // [rows, 4]      turn: folded spread
@group(0) @binding(8) var<storage, read_write> turned: array<f32>;           // [rows, V]      turn out: d2J/dl2 t

@compute @workgroup_size(64)
fn peaks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.y * p.vocab;
    let first = group.x * SPAN;
    let end = min(first + SPAN, p.vocab);
    var m = logits[at + first];
    for (var i = first + lane; i < end; i += WG) { m = max(m, logits[at + i]); }
    m = most(lane, m);
    // How many entries have the maximum, and the sum of the others.
    var s = vec2<f32>(0.0);
    for (var i = first + lane; i < end; i += WG) {
        let l = logits[at + i];
        if (l == m) { s.x += 1.0; } else { s.y += exp(l - m); }
    }
    s = sum2(lane, s);
    if (lane == 0u) { peak_parts[group.y * p.parts + group.x] = vec4<f32>(m, s, 0.0); }
}

@compute @workgroup_size(64)
fn totals(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * p.parts;
    var m = peak[at].x;
    for (var i = lane; i < p.parts; i += WG) { m = max(m, peak[at + i].x); }
    m = most(lane, m);
    var s = vec2<f32>(0.0);
    for (var i = lane; i < p.parts; i += WG) {
        let part = peak[at + i];
        if (part.x == m) { s += part.yz; } else { s.y += (part.y + part.z) * exp(part.x - m); }
    }
    s = sum2(lane, s);
    if (lane == 0u) { total[group.x] = vec2<f32>(m, log_1p((s.x - 1.0) + s.y)); }
}

// ln(1 + x) for x >= 0: near 0 it is 2 atanh(x / (2 + x)) from a series, since WGSL's log is only absolutely accurate
// there.
fn log_1p(x: f32) -> f32 {
    let q = x / (2.0 + x);
    let z = q * q;
    let near = 2.0 * q * (1.0 + z * (3.3333333e-1
        + z * (0.2 + z * (1.4285714e-1 + z * (1.1111111e-1 + z * 9.0909091e-2)))));
    return select(log(1.0 + x), near, x < 0.5);
}

// exp(x) - 1 for x <= 0: a series near 0, where the difference cancels.
fn exp_m1(x: f32) -> f32 {
    let near = x * (1.0 + x * (0.5 + x * (1.6666667e-1 + x * (4.1666667e-2 + x * (8.3333333e-3 + x * 1.3888889e-3)))));
    return select(exp(x) - 1.0, near, x > -0.25);
}

@compute @workgroup_size(64)
fn pick(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * WG + lane;
    if (i >= p.wanted) { return; }
    picked[group.y * p.wanted + i] = logits[group.y * p.vocab + ids[i]];
}

@compute @workgroup_size(64)
fn normalise(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * WG + lane;
    if (i >= p.vocab) { return; }
    let of_row = totals_in[group.y];
    log_p_out[group.y * p.vocab + i] = (logits[group.y * p.vocab + i] - of_row.x) - of_row.y;
}

// x (d - 1 + exp(-d)) with d = ln x - ln y: a term of KL(x || y) + sum y - sum x, given both logarithms.
fn divergence(log_x: f32, log_y: f32) -> f32 {
    let d = log_x - log_y;
    let x = exp(log_x);
    // The series of (d - 1 + exp(-d)) / d^2, to d^9; the first term that is left out is 1.2e-9 of the sum at |d| = 1.
    let series = 0.5 + d * (-1.6666667e-1 + d * (4.1666667e-2 + d * (-8.3333333e-3 + d * (1.3888889e-3 + d * (
        -1.9841270e-4 + d * (2.4801587e-5 + d * (-2.7557319e-6 + d * (2.7557319e-7 - d * 2.5052108e-8))))))));
    return select(x * (d - 1.0) + exp(log_y), x * d * d * series, abs(d) < 1.0);
}

@compute @workgroup_size(64)
fn moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let source = sources[group.y];
    let c = coefficients[group.y];
    let at = group.y * p.vocab;
    let first = group.x * SPAN;
    let end = min(first + SPAN, p.vocab);
    var mean = 0.0;
    var kl = vec2<f32>(0.0);
    for (var i = first + lane; i < end; i += WG) {
        let log_own = log_p[at + i];
        var value = c.y * log_own;
        if (source.y != NONE) { value += u[source.y * p.vocab + i]; }
        mean += exp(log_own) * value;
        if (source.x != NONE) {
            let log_base = log_b[source.x * p.vocab + i];
            kl += vec2<f32>(divergence(log_own, log_base), divergence(log_base, log_own));
        }
    }
    mean = sum(lane, mean);
    kl = sum2(lane, kl);
    if (lane == 0u) { moment_parts[group.y * p.parts + group.x] = vec4<f32>(mean, kl, 0.0); }
}

@compute @workgroup_size(64)
fn fold(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * p.parts;
    var s = vec4<f32>(0.0);
    for (var i = lane; i < p.parts; i += WG) { s += part[at + i]; }
    let low = sum2(lane, s.xy);
    let high = sum2(lane, s.zw);
    if (lane == 0u) { folded[group.x] = vec4<f32>(low, high); }
}

@compute @workgroup_size(64)
fn slope(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * WG + lane;
    if (i >= p.vocab) { return; }
    let source = sources[group.y];
    let c = coefficients[group.y];
    let of_row = moments_in[group.y];
    let at = group.y * p.vocab + i;
    let own = exp(log_p[at]);
    var value = c.y * log_p[at];
    var from_base = 0.0;
    if (source.y != NONE) { value += u[source.y * p.vocab + i]; }
    if (source.x != NONE) {
        let log_base = log_b[source.x * p.vocab + i];
        value += c.z * (log_p[at] - log_base);
        from_base = own - exp(log_base);
    }
    value -= of_row.x + c.z * of_row.y;
    g_out[at] = value;
    var weights = 0.0;
    if (source.z != NONE) { weights = u[source.z * p.vocab + i]; }
    slopes[at] = own * value + c.w * from_base - weights * exp_m1(log_p[at]) + own * (c.x + weights);
}

@compute @workgroup_size(64)
fn spread(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = points[group.y] * p.vocab;
    let first = group.x * SPAN;
    let end = min(first + SPAN, p.vocab);
    var plain = vec2<f32>(0.0);
    var weighted = vec2<f32>(0.0);
    for (var i = first + lane; i < end; i += WG) {
        let s = t[group.y * p.vocab + i] - shift[group.y].x;
        let powers = exp(log_p[at + i]) * vec2<f32>(s, s * s);
        plain += powers;
        weighted += powers * g[at + i];
    }
    plain = sum2(lane, plain);
    weighted = sum2(lane, weighted);
    if (lane == 0u) { spread_parts[group.y * p.parts + group.x] = vec4<f32>(plain, weighted); }
}

@compute @workgroup_size(64)
fn turn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * WG + lane;
    if (i >= p.vocab) { return; }
    let point = points[group.y];
    let at = point * p.vocab + i;
    let c = coefficients[point];
    let s = t[group.y * p.vocab + i] - shift[group.y].x;
    turned[group.y * p.vocab + i] = exp(log_p[at]) * (s * (c.x + c.y + c.z + c.w + g[at]) - spreads[group.y].z);
}
