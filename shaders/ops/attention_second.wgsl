// attention_second:  attention to second order. Names are those of attention.wgsl.
//   jet: s_ddot = scale (q_ddot.k + 2 q_dot.k_dot + q.k_ddot).  z = f / m. With r = s_dot - c, the weights for (value,
//        first, second) are w = p (1, r, r^2 + s_ddot),  m = sum_j w,  and  f = sum_j w v  as a product of jets:
//        z_dot = (f_1 - m_1 z) / m_0,  z_ddot = (f_2 - 2 m_1 z_dot - m_2 z) / m_0
//        c is arbitrary, because it is a factor exp(-c a) of all weights. Here it is the mean of s_dot over the keys so
//        far, moved from tile to tile. So a part that all keys share, often far larger than their differences, is never
//        squared.
//   mean, query, key: the tangent of the vjp (hvp), for sequences with a shared cotangent z_bar.
//        mu_i = sum_j p_ij s_dot_ij,   p_dot_ij = p_ij (s_dot_ij - mu_i)
//        e_ij = dp_ij - D_i = z_bar_i.v_j - z_bar_i.z_i
//        e_dot_ij = z_bar_dot_i.v_j + z_bar_i.v_dot_j - D_dot_i,   D_dot_i = z_bar_dot_i.z_i + z_bar_i.z_dot_i
//        ds_ij = p_ij e_ij,   ds_dot_ij = p_ij ((s_dot_ij - mu_i) e_ij + e_dot_ij)
//        q_bar_dot_i = scale sum_j (ds_dot_ij k_j + ds_ij k_dot_j)          (query, from the means of `mean`)
//        k_bar_dot_j = scale sum_i (ds_dot_ij q_i + ds_ij q_dot_i)          (key)
//        v_bar_dot_j = sum_i (p_dot_ij z_bar_i + p_ij z_bar_dot_i)          (key)
//        Both factors of the product of deviations are measured from their means: a part that all keys share is never
//        multiplied.
// CAPPED: a score is g(s), whose first and second derivative are g' and g''. Then s_dot and s_ddot above are those of
// g, g' s_dot and g' s_ddot + g'' s_dot^2, and the cotangents of s are  g' ds  and  g' ds_dot + g'' s_dot ds.
// Key and value heads, and the window: as in attention.wgsl.
// Rows of an hvp: sequences that own tokens from 0 on, and have a tangent. Entries of `rows` from `shared_from` on name
// the row of each row's z_bar. Sequences that have z_bar, and others without a tangent, get the vjp of attention.wgsl.
// Layout and variants: those of attention.wgsl, one workgroup per (row, head), tiles of GROUP keys or queries. Per pair
// and head: 24 d_head flops in the jet, 6 in mean, 16 in query, 20 in key.
#import rows
#import heads

struct Params {
    heads: u32, d_head: u32, scale: f32, shared_from: u32,
    kv_heads: u32, window: u32,
    cap: f32, pad: u32,
}

@group(0) @binding(0) var<uniform> p: Params;                            // params
@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;         // [rows, 4]
@group(0) @binding(2) var<storage, read> qkv: array<Element>;            // [primal, w]
@group(0) @binding(3) var<storage, read> lse: array<f32>;                // [primal, heads]
@group(0) @binding(4) var<storage, read> qkv_jet: array<Element>;        // [2 rows, w] jet in: both orders interleaved
@group(0) @binding(5) var<storage, read_write> z_jet: array<Element>;    // [2 rows, d] jet out
@group(0) @binding(4) var<storage, read> qkv_dot: array<Element>;        // [tangent_rows, w] hvp in
@group(0) @binding(5) var<storage, read> z_bars: array<Element>;         // [rows, d] hvp in: z_bar_dots, then z_bar
@group(0) @binding(6) var<storage, read> z: array<Element>;              // [primal, d] mean
@group(0) @binding(7) var<storage, read> z_dot: array<Element>;          // [tangent_rows, d] mean
@group(0) @binding(8) var<storage, read_write> means: array<vec4<f32>>;  // [tangent_rows, heads, 4] out: mu, D, D_dot
@group(0) @binding(6) var<storage, read> means_saved: array<vec4<f32>>;  // [tangent_rows, heads, 4] query, key
@group(0) @binding(7) var<storage, read_write> qkv_bars: array<Element>; // [rows, w] out: q by query, the rest by key

// Of this row: q, q_dot and q_ddot in jet; q, q_dot, z_bar and z_bar_dot in mean and query; k, k_dot, v and v_dot in
// key.
var<workgroup> own0: array<Element, WIDEST>;
var<workgroup> own1: array<Element, WIDEST>;
var<workgroup> own2: array<Element, WIDEST>;
var<workgroup> own3: array<Element, WIDEST>;
// Of each key (or query) of the tile: p, s_dot and s_ddot in jet; ds_dot, ds, p_dot and p in query and key.
var<workgroup> tile: array<vec4<f32>, TILE>;

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

// Values of zeroth, first and second order.
struct Jet { x: Element, y: Element, z: Element }

// The jet of a sum of weights after a factor exp(-c a).
fn moved(m: vec3<f32>, c: f32) -> vec3<f32> {
    return vec3<f32>(m.x, m.y - c * m.x, m.z - 2.0 * c * m.y + c * c * m.x);
}

// The same for a sum of weights times values.
fn moved_sum(f: Jet, c: f32) -> Jet {
    return Jet(f.x, f.y - c * f.x, f.z - 2.0 * c * f.y + c * c * f.x);
}

fn plus(f: Jet, weights: vec3<f32>, v: Element) -> Jet {
    return Jet(f.x + weights.x * v, f.y + weights.y * v, f.z + weights.z * v);
}

// Adds the jet of a value itself, which the sequence must own.
fn plus_own(f: Jet, weights: vec3<f32>, v_dot: Element, v_ddot: Element) -> Jet {
    return Jet(f.x, f.y + weights.x * v_dot, f.z + 2.0 * weights.y * v_dot + weights.x * v_ddot);
}

// First (y) and second order (z) of f / m.
fn quotient(f: Jet, m: vec3<f32>) -> Jet {
    let x = f.x / m.x;
    let y = (f.y - m.y * x) / m.x;
    return Jet(x, y, (f.z - 2.0 * m.y * y - m.z * x) / m.x);
}

@compute @workgroup_size(GROUP)
fn jet(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let kv = head / share();
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    // Distance from a row of first order to its row of second order.
    let next = query_of(1u, 0u);
    for (var e = lane; e < width(); e += GROUP) {
        let at = query_of(2u * row, head) + e;
        own0[e] = qkv[query_of(r.x, head) + e] * p.scale;
        own1[e] = qkv_jet[at] * p.scale;
        own2[e] = qkv_jet[at + next] * p.scale;
    }
    let log_total = lse[r.x * p.heads + head];
    var center = 0.0;
    var m = vec3<f32>(0.0);
    var f0 = Jet();
    var f1 = Jet();
    for (var first = first_key(t, p.window); first <= t; first += GROUP) {
        workgroupBarrier();
        let j = first + lane;
        var score = vec3<f32>(0.0);
        if (j <= t) {
            let key = key_of(base_of(r, row, j), kv);
            for (var e = 0u; e < width(); e++) {
                let k = qkv[key + e];
                score += vec3<f32>(inner(own0[e], k), inner(own1[e], k), inner(own2[e], k));
            }
            if (j >= r.z) {
                let at = key_of(2u * row_of(r, j), kv);
                for (var e = 0u; e < width(); e++) {
                    let k_dot = qkv_jet[at + e];
                    score.y += inner(own0[e], k_dot);
                    score.z += 2.0 * inner(own1[e], k_dot) + inner(own0[e], qkv_jet[at + next + e]);
                }
            }
            let g = capped(score.x, p.cap);
            score.z = g.y * score.z + g.z * score.y * score.y;
            score.y *= g.y;
            score.x = exp(g.x - log_total);
        }
        tile[lane] = vec4<f32>(score, 0.0);
        workgroupBarrier();
        let n = min(GROUP, t + 1u - first);
        var mass = m.x;
        var terms = m.y;
        for (var i = 0u; i < n; i++) {
            mass += tile[i].x;
            terms += tile[i].x * (tile[i].y - center);
        }
        // If all weights so far are below the smallest f32, there is nothing to move.
        let shift = select(0.0, terms / mass, mass > 0.0);
        center += shift;
        m = moved(m, shift);
        f0 = moved_sum(f0, shift);
        f1 = moved_sum(f1, shift);
        for (var i = 0u; i < n; i++) {
            let from_center = tile[i].y - center;
            let w = tile[i].x * vec3<f32>(1.0, from_center, from_center * from_center + tile[i].z);
            m += w;
            let at = value_of(base_of(r, row, first + i), kv) + lane;
            if (lane < width()) { f0 = plus(f0, w, qkv[at]); }
            if (lane + GROUP < width()) { f1 = plus(f1, w, qkv[at + GROUP]); }
            if (first + i >= r.z) {
                let jet = value_of(2u * row_of(r, first + i), kv) + lane;
                if (lane < width()) { f0 = plus_own(f0, w, qkv_jet[jet], qkv_jet[jet + next]); }
                if (lane + GROUP < width()) {
                    f1 = plus_own(f1, w, qkv_jet[jet + GROUP], qkv_jet[jet + next + GROUP]);
                }
            }
        }
    }
    let out = head_of(2u * row, head) + lane;
    let down = head_of(1u, 0u);
    let z0 = quotient(f0, m);
    let z1 = quotient(f1, m);
    if (lane < width()) {
        z_jet[out] = z0.y;
        z_jet[out + down] = z0.z;
    }
    if (lane + GROUP < width()) {
        z_jet[out + GROUP] = z1.y;
        z_jet[out + down + GROUP] = z1.z;
    }
}

// Row of z_bar for the token of a batch row.
fn shared_cotangent_of(row: u32) -> u32 {
    return rows[p.shared_from + row].x;
}

// Of a query: q, q_dot, z_bar and z_bar_dot.
struct Side { q: Element, q_dot: Element, bar: Element, bar_dot: Element }

fn query_side(r: vec4<u32>, row: u32, head: u32, e: u32) -> Side {
    return Side(
        qkv[query_of(r.x, head) + e], qkv_dot[query_of(row, head) + e],
        z_bars[head_of(shared_cotangent_of(row), head) + e], z_bars[head_of(row, head) + e],
    );
}

fn set_own(e: u32, side: Side) {
    own0[e] = side.q;
    own1[e] = side.q_dot;
    own2[e] = side.bar;
    own3[e] = side.bar_dot;
}

// score, s_dot, dp and dp_dot of a query and a key in one of their Elements, without the scale.
fn dots_of(side: Side, k: Element, k_dot: Element, v: Element, v_dot: Element) -> vec4<f32> {
    return vec4<f32>(
        inner(side.q, k), inner(side.q_dot, k) + inner(side.q, k_dot),
        inner(side.bar, v), inner(side.bar_dot, v) + inner(side.bar, v_dot),
    );
}

// Of one key (or query): ds_dot, ds, p_dot and p, from score, s_dot, dp and dp_dot.
fn score_terms(dots: vec4<f32>, log_total: f32, m: vec4<f32>) -> vec4<f32> {
    let g = capped(p.scale * dots.x, p.cap);
    let s_dot = p.scale * dots.y;
    let w = exp(g.x - log_total);
    let from_center = g.y * s_dot - m.x;
    let e = dots.z - m.y;
    let ds_dot = g.y * (from_center * e + dots.w - m.z) + g.z * s_dot * e;
    return w * vec4<f32>(ds_dot, g.y * e, from_center, 1.0);
}

@compute @workgroup_size(GROUP)
fn mean(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let kv = head / share();
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    var d = vec2<f32>(0.0);
    for (var e = lane; e < width(); e += GROUP) {
        let side = query_side(r, row, head, e);
        set_own(e, side);
        let value = z[head_of(r.x, head) + e];
        let bar_z = inner(side.bar_dot, value) + inner(side.bar, z_dot[head_of(row, head) + e]);
        d += vec2<f32>(inner(side.bar, value), bar_z);
    }
    workgroupBarrier();
    let log_total = lse[r.x * p.heads + head];
    var mu = 0.0;
    for (var j = first_key(t, p.window) + lane; j <= t; j += GROUP) {
        let key = key_of(base_of(r, row, j), kv);
        let key_dot = key_of(row_of(r, j), kv);
        var s = vec2<f32>(0.0);
        for (var e = 0u; e < width(); e++) {
            let k = qkv[key + e];
            s += vec2<f32>(inner(own0[e], k), inner(own1[e], k) + inner(own0[e], qkv_dot[key_dot + e]));
        }
        s *= p.scale;
        let g = capped(s.x, p.cap);
        mu += exp(g.x - log_total) * g.y * s.y;
    }
    tile[lane] = vec4<f32>(mu, d, 0.0);
    workgroupBarrier();
    if (lane == 0u) {
        var sums = vec4<f32>(0.0);
        for (var i = 0u; i < GROUP; i++) { sums += tile[i]; }
        means[row * p.heads + head] = sums;
    }
}

@compute @workgroup_size(GROUP)
fn query(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let kv = head / share();
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < width(); e += GROUP) { set_own(e, query_side(r, row, head, e)); }
    let log_total = lse[r.x * p.heads + head];
    let m = means_saved[row * p.heads + head];
    var q0 = Element();
    var q1 = Element();
    for (var first = first_key(t, p.window); first <= t; first += GROUP) {
        workgroupBarrier();
        let j = first + lane;
        var terms = vec4<f32>(0.0);
        if (j <= t) {
            let key = key_of(base_of(r, row, j), kv);
            let value = value_of(base_of(r, row, j), kv);
            let key_dot = key_of(row_of(r, j), kv);
            let value_dot = value_of(row_of(r, j), kv);
            var dots = vec4<f32>(0.0);
            for (var e = 0u; e < width(); e++) {
                let side = Side(own0[e], own1[e], own2[e], own3[e]);
                dots += dots_of(side, qkv[key + e], qkv_dot[key_dot + e], qkv[value + e], qkv_dot[value_dot + e]);
            }
            terms = score_terms(dots, log_total, m);
        }
        tile[lane] = terms;
        workgroupBarrier();
        let n = min(GROUP, t + 1u - first);
        for (var i = 0u; i < n; i++) {
            let key = key_of(base_of(r, row, first + i), kv) + lane;
            let key_dot = key_of(row_of(r, first + i), kv) + lane;
            let w = tile[i];
            if (lane < width()) { q0 += w.x * qkv[key] + w.y * qkv_dot[key_dot]; }
            if (lane + GROUP < width()) { q1 += w.x * qkv[key + GROUP] + w.y * qkv_dot[key_dot + GROUP]; }
        }
    }
    let out = query_of(row, head) + lane;
    if (lane < width()) { qkv_bars[out] = p.scale * q0; }
    if (lane + GROUP < width()) { qkv_bars[out + GROUP] = p.scale * q1; }
}

struct KeyBars { k: Element, v: Element }

// k_bar_dot and v_bar_dot of Element e of the head, plus the term of query i of the tile.
fn key_step(bars: KeyBars, r: vec4<u32>, row: u32, i: u32, w: vec4<f32>, head: u32, e: u32) -> KeyBars {
    let side = query_side(vec4<u32>(base_of(r, row, i), r.yzw), row_of(r, i), head, e);
    return KeyBars(bars.k + w.x * side.q + w.y * side.q_dot, bars.v + w.z * side.bar + w.w * side.bar_dot);
}

@compute @workgroup_size(GROUP)
fn key(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let kv = group.x;
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < width(); e += GROUP) {
        own0[e] = qkv[key_of(r.x, kv) + e];
        own1[e] = qkv_dot[key_of(row, kv) + e];
        own2[e] = qkv[value_of(r.x, kv) + e];
        own3[e] = qkv_dot[value_of(row, kv) + e];
    }
    var bar0 = KeyBars();
    var bar1 = KeyBars();
    let end = last_query(t, p.window, r.w);
    for (var head = kv * share(); head < (kv + 1u) * share(); head++) {
        for (var first = t; first < end; first += GROUP) {
            workgroupBarrier();
            let i = first + lane;
            var terms = vec4<f32>(0.0);
            if (i < end) {
                let base = base_of(r, row, i);
                let query = row_of(r, i);
                var dots = vec4<f32>(0.0);
                for (var e = 0u; e < width(); e++) {
                    let side = query_side(vec4<u32>(base, r.yzw), query, head, e);
                    dots += dots_of(side, own0[e], own1[e], own2[e], own3[e]);
                }
                terms = score_terms(dots, lse[base * p.heads + head], means_saved[query * p.heads + head]);
            }
            tile[lane] = terms;
            workgroupBarrier();
            let n = min(GROUP, end - first);
            for (var i = 0u; i < n; i++) {
                if (lane < width()) { bar0 = key_step(bar0, r, row, first + i, tile[i], head, lane); }
                if (lane + GROUP < width()) { bar1 = key_step(bar1, r, row, first + i, tile[i], head, lane + GROUP); }
            }
        }
    }
    let at = key_of(row, kv) + lane;
    let value = value_of(row, kv) + lane;
    if (lane < width()) {
        qkv_bars[at] = p.scale * bar0.k;
        qkv_bars[value] = bar0.v;
    }
    if (lane + GROUP < width()) {
        qkv_bars[at + GROUP] = p.scale * bar1.k;
        qkv_bars[value + GROUP] = bar1.v;
    }
}
