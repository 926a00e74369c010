// attention, causal, all heads, fused:  s_ij = scale q_i.k_j,  p_i = softmax_{j<=i} s_i,  z_i = sum_j p_ij v_j.
//   primal: online softmax over tiles of keys; keeps lse_i = log sum_j exp s_ij. Probabilities never reach memory.
//   jvp: p_ij = exp(s_ij - lse_i),  s_dot = scale (q_dot.k + q.k_dot)
//        z_dot_i = sum_j p_ij (v_dot_j + s_dot_ij v_j) - z_i sum_j p_ij s_dot_ij
//   jet and hvp, of second order: attention_second.wgsl
//   vjp: dp_ij = z_bar_i.v_j,  D_i = z_bar_i.z_i,  ds_ij = p_ij (dp_ij - D_i)
//        q_bar_i = scale sum_j ds_ij k_j   (vjp_q, which also keeps D)
//        k_bar_j = scale sum_i ds_ij q_i,  v_bar_j = sum_i p_ij z_bar_i   (vjp_kv)
//   FROZEN: p is a constant. z_dot_i = sum_j p_ij v_dot_j, and of the vjp v_bar alone: q and k columns are zero, by vjp_kv
// Ragged: a run owns tokens start <= t < end. Earlier keys and values are the base run's, and their tangents are zero.
// Layout: one workgroup a (row, head). Over a tile, an invocation first owns a key (its score: a dot product), then up
// to two of the d_head <= 128 dimensions, or of its vec4 (its sums over the tile). O(T) memory. Per pair and head: 4 d_head
// flops in the primal, 10 in the jvp, 6 + 8 in the two vjp launches. Texts: base, and narrow (lib/heads.wgsl).
#import rows
#import heads

override FROZEN: bool = false;

struct Params { first: u32, heads: u32, d_head: u32, scale: f32 }

@group(0) @binding(0) var<uniform> p: Params;                         // params: vjp has the rows from `first` on, the others all
@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;      // [rows, 4]
@group(0) @binding(2) var<storage, read> qkv: array<Element>;          // [rows, 3d] own, in primal; [primal, 3d] in jvp, vjp
@group(0) @binding(3) var<storage, read> base: array<Element>;         // [primal, 3d]      primal: the base run's qkv
@group(0) @binding(4) var<storage, read_write> z: array<Element>;      // [rows, d]         primal out
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;       // [rows, heads]     primal out

@group(0) @binding(3) var<storage, read> z_saved: array<Element>;       // [primal, d]       jvp, vjp
@group(0) @binding(4) var<storage, read> lse_saved: array<f32>;        // [primal, heads]   jvp, vjp
@group(0) @binding(5) var<storage, read> qkv_dot: array<Element>;      // [rows, 3d]        jvp in
@group(0) @binding(6) var<storage, read_write> z_dot: array<Element>;  // [rows, d]         jvp out

@group(0) @binding(5) var<storage, read> z_bar: array<Element>;        // [rows, d]         vjp in
@group(0) @binding(6) var<storage, read_write> qkv_bar: array<Element>; // [rows, 3d]        vjp out: q columns by vjp_q, the rest by vjp_kv
@group(0) @binding(7) var<storage, read_write> mean: array<f32>;      // [rows, heads]     vjp_q out: D
@group(0) @binding(3) var<storage, read> mean_saved: array<f32>;       // [rows, heads]     vjp_kv in

var<workgroup> left: array<Element, WIDEST>;       // this row's q (or k) of the head
var<workgroup> right: array<Element, WIDEST>;      // this row's q_dot, z_bar or v
var<workgroup> tile: array<vec2<f32>, TILE>;     // two numbers for each key (or query) of the tile

// Width of a head, in Numbers.
fn width() -> u32 {
    return p.d_head / UNIT;
}

fn part(r: u32, part: u32, head: u32) -> u32 {
    return part_in(vec2<u32>(p.heads, width()), r, part, head);
}

fn head_of(r: u32, head: u32) -> u32 {
    return head_in(vec2<u32>(p.heads, width()), r, head);
}

fn dot_base(at: u32) -> f32 {
    var s = 0.0;
    for (var e = 0u; e < width(); e++) { s += inner(left[e], base[at + e]); }
    return s;
}

fn dot_qkv(at: u32) -> f32 {
    var s = 0.0;
    for (var e = 0u; e < width(); e++) { s += inner(left[e], qkv[at + e]); }
    return s;
}

@compute @workgroup_size(GROUP)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < width(); e += GROUP) { left[e] = qkv[part(row, 0u, head) + e] * p.scale; }
    var top = -3.0e38;
    var total = 0.0;
    var z0 = Element();
    var z1 = Element();
    for (var first = 0u; first <= t; first += GROUP) {
        workgroupBarrier();
        let j = first + lane;
        var s = -3.0e38;
        if (j <= t) {
            if (j >= r.z) { s = dot_qkv(part(row_of(r, j), 1u, head)); }
            else { s = dot_base(part(base_of(r, row, j), 1u, head)); }
        }
        tile[lane].x = s;
        workgroupBarrier();
        let n = min(GROUP, t + 1u - first);
        var higher = top;
        for (var i = 0u; i < n; i++) { higher = max(higher, tile[i].x); }
        tile[lane].y = exp(s - higher);
        workgroupBarrier();
        let shrink = exp(top - higher);
        top = higher;
        total *= shrink;
        z0 *= shrink;
        z1 *= shrink;
        for (var i = 0u; i < n; i++) {
            let w = tile[i].y;
            total += w;
            if (first + i >= r.z) {
                let at = part(row_of(r, first + i), 2u, head);
                if (lane < width()) { z0 += w * qkv[at + lane]; }
                if (lane + GROUP < width()) { z1 += w * qkv[at + lane + GROUP]; }
            } else {
                let at = part(base_of(r, row, first + i), 2u, head);
                if (lane < width()) { z0 += w * base[at + lane]; }
                if (lane + GROUP < width()) { z1 += w * base[at + lane + GROUP]; }
            }
        }
    }
    let out = head_of(row, head);
    if (lane < width()) { z[out + lane] = z0 / total; }
    if (lane + GROUP < width()) { z[out + lane + GROUP] = z1 / total; }
    if (lane == 0u) { lse[row * p.heads + head] = top + log(total); }
}

@compute @workgroup_size(GROUP)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < width(); e += GROUP) {
        left[e] = qkv[part(r.x, 0u, head) + e] * p.scale;
        right[e] = qkv_dot[part(row, 0u, head) + e] * p.scale;
    }
    let log_total = lse_saved[r.x * p.heads + head];
    var z0 = Element();
    var z1 = Element();
    var drift = 0.0;
    // Of keys before the run's own, only the weights could change.
    for (var first = select(0u, r.z, FROZEN); first <= t; first += GROUP) {
        workgroupBarrier();
        let j = first + lane;
        var weights = vec2<f32>(0.0);
        if (j <= t) {
            let key = part(base_of(r, row, j), 1u, head);
            var s = 0.0;
            var s_dot = 0.0;
            for (var e = 0u; e < width(); e++) {
                s += inner(left[e], qkv[key + e]);
                if (!FROZEN) { s_dot += inner(right[e], qkv[key + e]); }
            }
            if (!FROZEN && j >= r.z) {
                let own = part(row_of(r, j), 1u, head);
                for (var e = 0u; e < width(); e++) { s_dot += inner(left[e], qkv_dot[own + e]); }
            }
            let w = exp(s - log_total);
            weights = vec2<f32>(w, w * s_dot);
        }
        tile[lane] = weights;
        workgroupBarrier();
        let n = min(GROUP, t + 1u - first);
        for (var i = 0u; i < n; i++) {
            let w = tile[i];
            if (!FROZEN) {
                drift += w.y;
                let at = part(base_of(r, row, first + i), 2u, head);
                if (lane < width()) { z0 += w.y * qkv[at + lane]; }
                if (lane + GROUP < width()) { z1 += w.y * qkv[at + lane + GROUP]; }
            }
            if (first + i >= r.z) {
                let own = part(row_of(r, first + i), 2u, head);
                if (lane < width()) { z0 += w.x * qkv_dot[own + lane]; }
                if (lane + GROUP < width()) { z1 += w.x * qkv_dot[own + lane + GROUP]; }
            }
        }
    }
    let out = head_of(row, head);
    let residuals = head_of(r.x, head);
    if (lane < width()) { z_dot[out + lane] = z0 - drift * z_saved[residuals + lane]; }
    if (lane + GROUP < width()) { z_dot[out + lane + GROUP] = z1 - drift * z_saved[residuals + lane + GROUP]; }
}

@compute @workgroup_size(GROUP)
fn vjp_q(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = p.first + group.y;
    let r = rows[row];
    let t = row_token(r, row);
    var d = 0.0;
    for (var e = lane; e < width(); e += GROUP) {
        let bar = z_bar[head_of(row, head) + e];
        left[e] = qkv[part(r.x, 0u, head) + e] * p.scale;
        right[e] = bar;
        d += inner(bar, z_saved[head_of(r.x, head) + e]);
    }
    // The loop's own barrier comes before anyone writes the tile again.
    tile[lane].x = d;
    workgroupBarrier();
    d = 0.0;
    for (var i = 0u; i < GROUP; i++) { d += tile[i].x; }
    if (lane == 0u) { mean[row * p.heads + head] = d; }
    let log_total = lse_saved[r.x * p.heads + head];
    var q0 = Element();
    var q1 = Element();
    for (var first = 0u; first <= t; first += GROUP) {
        workgroupBarrier();
        let j = first + lane;
        var ds = 0.0;
        if (j <= t) {
            let key = part(base_of(r, row, j), 1u, head);
            let value = part(base_of(r, row, j), 2u, head);
            var s = 0.0;
            var dp = 0.0;
            for (var e = 0u; e < width(); e++) {
                s += inner(left[e], qkv[key + e]);
                dp += inner(right[e], qkv[value + e]);
            }
            ds = exp(s - log_total) * (dp - d) * p.scale;
        }
        tile[lane].x = ds;
        workgroupBarrier();
        let n = min(GROUP, t + 1u - first);
        for (var i = 0u; i < n; i++) {
            let at = part(base_of(r, row, first + i), 1u, head);
            if (lane < width()) { q0 += tile[i].x * qkv[at + lane]; }
            if (lane + GROUP < width()) { q1 += tile[i].x * qkv[at + lane + GROUP]; }
        }
    }
    let out = part(row, 0u, head);
    if (lane < width()) { qkv_bar[out + lane] = q0; }
    if (lane + GROUP < width()) { qkv_bar[out + lane + GROUP] = q1; }
}

@compute @workgroup_size(GROUP)
fn vjp_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = p.first + group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < width(); e += GROUP) {
        left[e] = qkv[part(r.x, 1u, head) + e] * p.scale;
        right[e] = qkv[part(r.x, 2u, head) + e];
    }
    var k0 = Element();
    var k1 = Element();
    var v0 = Element();
    var v1 = Element();
    for (var first = t; first < r.w; first += GROUP) {
        workgroupBarrier();
        let i = first + lane;
        var weights = vec2<f32>(0.0);
        if (i < r.w) {
            let query = part(base_of(r, row, i), 0u, head);
            let bar = head_of(row_of(r, i), head);
            var s = 0.0;
            var dp = 0.0;
            for (var e = 0u; e < width(); e++) {
                s += inner(left[e], qkv[query + e]);
                if (!FROZEN) { dp += inner(right[e], z_bar[bar + e]); }
            }
            let w = exp(s - lse_saved[base_of(r, row, i) * p.heads + head]);
            weights.x = w;
            if (!FROZEN) { weights.y = w * (dp - mean_saved[row_of(r, i) * p.heads + head]) * p.scale; }
        }
        tile[lane] = weights;
        workgroupBarrier();
        let n = min(GROUP, r.w - first);
        for (var i = 0u; i < n; i++) {
            let w = tile[i];
            let query = part(base_of(r, row, first + i), 0u, head);
            let bar = head_of(row_of(r, first + i), head);
            if (lane < width()) {
                if (!FROZEN) { k0 += w.y * qkv[query + lane]; }
                v0 += w.x * z_bar[bar + lane];
            }
            if (lane + GROUP < width()) {
                if (!FROZEN) { k1 += w.y * qkv[query + lane + GROUP]; }
                v1 += w.x * z_bar[bar + lane + GROUP];
            }
        }
    }
    let key = part(row, 1u, head);
    let value = part(row, 2u, head);
    if (FROZEN) {
        let query = part(row, 0u, head);
        for (var e = lane; e < width(); e += GROUP) { qkv_bar[query + e] = Element(); }
    }
    if (lane < width()) {
        qkv_bar[key + lane] = k0;
        qkv_bar[value + lane] = v0;
    }
    if (lane + GROUP < width()) {
        qkv_bar[key + lane + GROUP] = k1;
        qkv_bar[value + lane + GROUP] = v1;
    }
}
