// attention, causal, all heads, fused:  s_ij = scale q_i.k_j,  p_i = softmax_{j<=i} s_i,  z_i = sum_j p_ij v_j.
//   primal: online softmax over tiles of keys; saves lse_i = log sum_j exp s_ij. Probabilities never reach memory.
//   jvp: p_ij = exp(s_ij - lse_i),  s_dot = scale (q_dot.k + q.k_dot)
//        z_dot_i = sum_j p_ij (v_dot_j + s_dot_ij v_j) - z_i sum_j p_ij s_dot_ij
//   jet and hvp, of second order: attention_second.wgsl
//   vjp: dp_ij = z_bar_i.v_j,  D_i = z_bar_i.z_i,  ds_ij = p_ij (dp_ij - D_i)
//        q_bar_i = scale sum_j ds_ij k_j   (vjp_q, which also saves D)
//        k_bar_j = scale sum_i ds_ij q_i,  v_bar_j = sum_i p_ij z_bar_i   (vjp_kv)
//   Query head h reads key and value head h / share: the vjp of a key head sums over the query heads of its group.
//   A query at token t sees keys t - window < j <= t.  CAPPED: a score is g = cap tanh(s / cap), so s_dot and ds have
//   the factor g' = 1 - (g / cap)^2.
//   FROZEN: p is constant. z_dot_i = sum_j p_ij v_dot_j. The vjp is v_bar; vjp_kv writes zeros to q and k columns.
// Ragged: a sequence owns tokens start <= t < end. Earlier keys and values belong to the base run, and their tangents
// are zero.
// Layout: one workgroup per (row, head). In a tile, an invocation first computes the score of one key, a dot product.
// Then it sums over the tile, for up to two of the head's Elements. O(T) memory. Per pair and head:
// 4 d_head flops in the primal, 10 in the jvp, 6 + 8 in the two vjp launches. Variants:
// lib/heads.wgsl.
#import rows
#import heads

override FROZEN: bool = false;

struct Params {
    first: u32, heads: u32, d_head: u32, scale: f32,
    kv_heads: u32, window: u32,
    cap: f32, pad: u32,
}

// w is the length of a row of queries, keys and values.
@group(0) @binding(0) var<uniform> p: Params;                           // params: vjp has the rows from `first` on
@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;        // [rows, 4]
@group(0) @binding(2) var<storage, read> qkv: array<Element>;           // [rows, w] primal: own; [primal, w] jvp, vjp
@group(0) @binding(3) var<storage, read> base: array<Element>;          // [primal, w] primal: the base run's qkv
@group(0) @binding(4) var<storage, read_write> z: array<Element>;       // [rows, d] primal out
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;         // [rows, heads] primal out

@group(0) @binding(3) var<storage, read> z_saved: array<Element>;       // [primal, d] jvp, vjp
@group(0) @binding(4) var<storage, read> lse_saved: array<f32>;         // [primal, heads] jvp, vjp
@group(0) @binding(5) var<storage, read> qkv_dot: array<Element>;       // [rows, w] jvp in
@group(0) @binding(6) var<storage, read_write> z_dot: array<Element>;   // [rows, d] jvp out

@group(0) @binding(5) var<storage, read> z_bar: array<Element>;         // [rows, d] vjp in
@group(0) @binding(6) var<storage, read_write> qkv_bar: array<Element>; // [rows, w] vjp out: q by vjp_q, else vjp_kv
@group(0) @binding(7) var<storage, read_write> mean: array<f32>;        // [rows, heads] vjp_q out: D
@group(0) @binding(3) var<storage, read> mean_saved: array<f32>;        // [rows, heads] vjp_kv in

var<workgroup> left: array<Element, WIDEST>;       // this row's q (or k) of the head
var<workgroup> right: array<Element, WIDEST>;      // this row's q_dot, z_bar or v
var<workgroup> tile: array<vec2<f32>, TILE>;     // two values for each key (or query) of the tile

// Width of a head, in Elements.
fn width() -> u32 {
    return p.d_head / UNIT;
}

fn shape() -> Heads {
    return Heads(p.heads, p.kv_heads, width());
}

fn query_of(r: u32, head: u32) -> u32 {
    return query_in(shape(), r, head);
}

fn key_of(r: u32, head: u32) -> u32 {
    return key_in(shape(), r, head);
}

fn value_of(r: u32, head: u32) -> u32 {
    return key_in(shape(), r, p.kv_heads + head);
}

fn head_of(r: u32, head: u32) -> u32 {
    return head_in(shape(), r, head);
}

// Number of query heads that share a key head.
fn share() -> u32 {
    return p.heads / p.kv_heads;
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
    let kv = head / share();
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < width(); e += GROUP) { left[e] = qkv[query_of(row, head) + e] * p.scale; }
    var top = -3.0e38;
    var total = 0.0;
    var z0 = Element();
    var z1 = Element();
    for (var first = first_key(t, p.window); first <= t; first += GROUP) {
        workgroupBarrier();
        let j = first + lane;
        var s = -3.0e38;
        if (j <= t) {
            if (j >= r.z) { s = dot_qkv(key_of(row_of(r, j), kv)); }
            else { s = dot_base(key_of(base_of(r, row, j), kv)); }
            s = capped(s, p.cap).x;
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
                let at = value_of(row_of(r, first + i), kv);
                if (lane < width()) { z0 += w * qkv[at + lane]; }
                if (lane + GROUP < width()) { z1 += w * qkv[at + lane + GROUP]; }
            } else {
                let at = value_of(base_of(r, row, first + i), kv);
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
    let kv = head / share();
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < width(); e += GROUP) {
        left[e] = qkv[query_of(r.x, head) + e] * p.scale;
        right[e] = qkv_dot[query_of(row, head) + e] * p.scale;
    }
    let log_total = lse_saved[r.x * p.heads + head];
    var z0 = Element();
    var z1 = Element();
    var drift = 0.0;
    // For keys before the sequence's own, only the weights have a tangent.
    let seen = first_key(t, p.window);
    for (var first = select(seen, max(seen, r.z), FROZEN); first <= t; first += GROUP) {
        workgroupBarrier();
        let j = first + lane;
        var weights = vec2<f32>(0.0);
        if (j <= t) {
            let key = key_of(base_of(r, row, j), kv);
            var s = 0.0;
            var s_dot = 0.0;
            for (var e = 0u; e < width(); e++) {
                s += inner(left[e], qkv[key + e]);
                if (!FROZEN) { s_dot += inner(right[e], qkv[key + e]); }
            }
            if (!FROZEN && j >= r.z) {
                let own = key_of(row_of(r, j), kv);
                for (var e = 0u; e < width(); e++) { s_dot += inner(left[e], qkv_dot[own + e]); }
            }
            let g = capped(s, p.cap);
            let w = exp(g.x - log_total);
            weights = vec2<f32>(w, w * g.y * s_dot);
        }
        tile[lane] = weights;
        workgroupBarrier();
        let n = min(GROUP, t + 1u - first);
        for (var i = 0u; i < n; i++) {
            let w = tile[i];
            if (!FROZEN) {
                drift += w.y;
                let at = value_of(base_of(r, row, first + i), kv);
                if (lane < width()) { z0 += w.y * qkv[at + lane]; }
                if (lane + GROUP < width()) { z1 += w.y * qkv[at + lane + GROUP]; }
            }
            if (first + i >= r.z) {
                let own = value_of(row_of(r, first + i), kv);
                if (lane < width()) { z0 += w.x * qkv_dot[own + lane]; }
                if (lane + GROUP < width()) { z1 += w.x * qkv_dot[own + lane + GROUP]; }
            }
        }
    }
    let out = head_of(row, head);
    let saved = head_of(r.x, head);
    if (lane < width()) { z_dot[out + lane] = z0 - drift * z_saved[saved + lane]; }
    if (lane + GROUP < width()) { z_dot[out + lane + GROUP] = z1 - drift * z_saved[saved + lane + GROUP]; }
}

@compute @workgroup_size(GROUP)
fn vjp_q(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let kv = head / share();
    let row = p.first + group.y;
    let r = rows[row];
    let t = row_token(r, row);
    var d = 0.0;
    for (var e = lane; e < width(); e += GROUP) {
        let bar = z_bar[head_of(row, head) + e];
        left[e] = qkv[query_of(r.x, head) + e] * p.scale;
        right[e] = bar;
        d += inner(bar, z_saved[head_of(r.x, head) + e]);
    }
    // The first barrier of the loop precedes the next write to the tile.
    tile[lane].x = d;
    workgroupBarrier();
    d = 0.0;
    for (var i = 0u; i < GROUP; i++) { d += tile[i].x; }
    if (lane == 0u) { mean[row * p.heads + head] = d; }
    let log_total = lse_saved[r.x * p.heads + head];
    var q0 = Element();
    var q1 = Element();
    for (var first = first_key(t, p.window); first <= t; first += GROUP) {
        workgroupBarrier();
        let j = first + lane;
        var ds = 0.0;
        if (j <= t) {
            let key = key_of(base_of(r, row, j), kv);
            let value = value_of(base_of(r, row, j), kv);
            var s = 0.0;
            var dp = 0.0;
            for (var e = 0u; e < width(); e++) {
                s += inner(left[e], qkv[key + e]);
                dp += inner(right[e], qkv[value + e]);
            }
            let g = capped(s, p.cap);
            ds = exp(g.x - log_total) * (dp - d) * g.y * p.scale;
        }
        tile[lane].x = ds;
        workgroupBarrier();
        let n = min(GROUP, t + 1u - first);
        for (var i = 0u; i < n; i++) {
            let at = key_of(base_of(r, row, first + i), kv);
            if (lane < width()) { q0 += tile[i].x * qkv[at + lane]; }
            if (lane + GROUP < width()) { q1 += tile[i].x * qkv[at + lane + GROUP]; }
        }
    }
    let out = query_of(row, head);
    if (lane < width()) { qkv_bar[out + lane] = q0; }
    if (lane + GROUP < width()) { qkv_bar[out + lane + GROUP] = q1; }
}

@compute @workgroup_size(GROUP)
fn vjp_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let kv = group.x;
    let row = p.first + group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < width(); e += GROUP) {
        left[e] = qkv[key_of(r.x, kv) + e] * p.scale;
        right[e] = qkv[value_of(r.x, kv) + e];
    }
    var k0 = Element();
    var k1 = Element();
    var v0 = Element();
    var v1 = Element();
    let end = last_query(t, p.window, r.w);
    for (var head = kv * share(); head < (kv + 1u) * share(); head++) {
        for (var first = t; first < end; first += GROUP) {
            workgroupBarrier();
            let i = first + lane;
            var weights = vec2<f32>(0.0);
            if (i < end) {
                let query = query_of(base_of(r, row, i), head);
                let bar = head_of(row_of(r, i), head);
                var s = 0.0;
                var dp = 0.0;
                for (var e = 0u; e < width(); e++) {
                    s += inner(left[e], qkv[query + e]);
                    if (!FROZEN) { dp += inner(right[e], z_bar[bar + e]); }
                }
                let g = capped(s, p.cap);
                let w = exp(g.x - lse_saved[base_of(r, row, i) * p.heads + head]);
                weights.x = w;
                if (!FROZEN) { weights.y = w * (dp - mean_saved[row_of(r, i) * p.heads + head]) * g.y * p.scale; }
            }
            tile[lane] = weights;
            workgroupBarrier();
            let n = min(GROUP, end - first);
            for (var i = 0u; i < n; i++) {
                let w = tile[i];
                let query = query_of(base_of(r, row, first + i), head);
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
        if (FROZEN) {
            let query = query_of(row, head);
            for (var e = lane; e < width(); e += GROUP) { qkv_bar[query + e] = Element(); }
        }
    }
    let key = key_of(row, kv);
    let value = value_of(row, kv);
    if (lane < width()) {
        qkv_bar[key + lane] = k0;
        qkv_bar[value + lane] = v0;
    }
    if (lane + GROUP < width()) {
        qkv_bar[key + lane + GROUP] = k1;
        qkv_bar[value + lane + GROUP] = v1;
    }
}
