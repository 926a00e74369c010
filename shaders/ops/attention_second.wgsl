// attention_second:  attention to second order. Names are those of attention.wgsl.
//   jet: s_ddot = scale (q_ddot.k + 2 q_dot.k_dot + q.k_ddot).  z = f / m, and with weights w = p (1, r, r^2 + s_ddot) for
//        (value, first, second), r = s_dot - c,  m = sum_j w  and  f = sum_j w v as a product of jets:
//        z_dot = (f_1 - m_1 z) / m_0,  z_ddot = (f_2 - 2 m_1 z_dot - m_2 z) / m_0
//        Any c will do: it is a factor exp(-c a) of all weights. Ours is the mean of s_dot over the keys so far, moved from
//        tile to tile, so that what all keys have in common, often far more than what they have not, is never squared.
//   mean, query, key: the tangent of the vjp (hvp), for runs that share one cotangent z_bar.
//        mu_i = sum_j p_ij s_dot_ij,   p_dot_ij = p_ij (s_dot_ij - mu_i),   e_ij = dp_ij - D_i = z_bar_i.v_j - z_bar_i.z_i
//        e_dot_ij = z_bar_dot_i.v_j + z_bar_i.v_dot_j - D_dot_i,   D_dot_i = z_bar_dot_i.z_i + z_bar_i.z_dot_i
//        ds_ij = p_ij e_ij,   ds_dot_ij = p_ij ((s_dot_ij - mu_i) e_ij + e_dot_ij)
//        q_bar_dot_i = scale sum_j (ds_dot_ij k_j + ds_ij k_dot_j)      (query, from the means of `mean`)
//        k_bar_dot_j = scale sum_i (ds_dot_ij q_i + ds_ij q_dot_i),  v_bar_dot_j = sum_i (p_dot_ij z_bar_i + p_ij z_bar_dot_i)   (key)
//        Both factors of the product of deviations are about their means: what all keys share is never multiplied.
// Rows of an hvp: runs that own the same tokens, from 0 on, and have a tangent. The run from row `plain` on holds z_bar itself;
// that one, and others without a tangent, get the vjp of attention.wgsl.
// Layout: that of attention.wgsl, one workgroup a (row, head), tiles of 64 keys or queries. Per pair and head: 24 d_head
// flops in the jet, 6 in mean, 16 in query, 20 in key.
#import rows
#import reduce
#import heads

struct Params { heads: u32, d_head: u32, scale: f32, plain: u32 }

@group(0) @binding(0) var<uniform> p: Params;                            // params
@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;         // [rows, 4]
@group(0) @binding(2) var<storage, read> qkv: array<f32>;                // [primal, 3d]
@group(0) @binding(3) var<storage, read> lse: array<f32>;                // [primal, heads]
@group(0) @binding(4) var<storage, read> qkv_jet: array<f32>;            // [2 rows, 3d]     jet in: qkv_dot and qkv_ddot in turn
@group(0) @binding(5) var<storage, read_write> z_jet: array<f32>;        // [2 rows, d]      jet out
@group(0) @binding(4) var<storage, read> qkv_dot: array<f32>;            // [bent, 3d]       hvp in
@group(0) @binding(5) var<storage, read> z_bars: array<f32>;             // [rows, d]        hvp in: z_bar_dot of each run, then z_bar
@group(0) @binding(6) var<storage, read> z: array<f32>;                  // [primal, d]      mean
@group(0) @binding(7) var<storage, read> z_dot: array<f32>;              // [bent, d]        mean
@group(0) @binding(8) var<storage, read_write> means: array<vec4<f32>>;  // [bent, heads, 4] mean out: mu, D, D_dot
@group(0) @binding(6) var<storage, read> means_kept: array<vec4<f32>>;   // [bent, heads, 4] query, key
@group(0) @binding(7) var<storage, read_write> qkv_bars: array<f32>;     // [rows, 3d]       out: q columns by query, the rest by key

const TILE: u32 = 64u;
// Of this row: q, q_dot and q_ddot in jet; q, q_dot, z_bar and z_bar_dot in mean and query; k, k_dot, v and v_dot in key.
var<workgroup> own: array<vec4<f32>, 128>;
// Of each key (or query) of the tile: p, s_dot and s_ddot in jet; ds_dot, ds, p_dot and p in query and key.
var<workgroup> tile: array<vec4<f32>, 64>;

fn part(r: u32, part: u32, head: u32) -> u32 {
    return part_in(vec2<u32>(p.heads, p.d_head), r, part, head);
}

fn head_of(r: u32, head: u32) -> u32 {
    return head_in(vec2<u32>(p.heads, p.d_head), r, head);
}

// The jet of a sum of weights, or of weights times values, after a factor exp(-c a).
fn moved(x: vec3<f32>, c: f32) -> vec3<f32> {
    return vec3<f32>(x.x, x.y - c * x.x, x.z - 2.0 * c * x.y + c * c * x.x);
}

// First and second order of f / m.
fn quotient(f: vec3<f32>, m: vec3<f32>) -> vec2<f32> {
    let dot = (f.y - m.y * f.x / m.x) / m.x;
    return vec2<f32>(dot, (f.z - 2.0 * m.y * dot - m.z * f.x / m.x) / m.x);
}

@compute @workgroup_size(64)
fn jet(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    // From a row of first order to its row of second order.
    let next = part(1u, 0u, 0u);
    for (var e = lane; e < p.d_head; e += WG) {
        let at = part(2u * row, 0u, head) + e;
        let orders = vec3<f32>(qkv[part(r.x, 0u, head) + e], qkv_jet[at], qkv_jet[at + next]);
        own[e] = vec4<f32>(orders * p.scale, 0.0);
    }
    let log_total = lse[r.x * p.heads + head];
    var center = 0.0;
    var m = vec3<f32>(0.0);
    var f0 = vec3<f32>(0.0);
    var f1 = vec3<f32>(0.0);
    for (var first = 0u; first <= t; first += TILE) {
        workgroupBarrier();
        let j = first + lane;
        var score = vec3<f32>(0.0);
        if (j <= t) {
            let key = part(base_of(r, row, j), 1u, head);
            for (var e = 0u; e < p.d_head; e++) { score += own[e].xyz * qkv[key + e]; }
            if (j >= r.z) {
                let at = part(2u * row_of(r, j), 1u, head);
                for (var e = 0u; e < p.d_head; e++) {
                    let k_dot = qkv_jet[at + e];
                    score.y += own[e].x * k_dot;
                    score.z += 2.0 * own[e].y * k_dot + own[e].x * qkv_jet[at + next + e];
                }
            }
            score.x = exp(score.x - log_total);
        }
        tile[lane] = vec4<f32>(score, 0.0);
        workgroupBarrier();
        let n = min(TILE, t + 1u - first);
        var mass = m.x;
        var pull = m.y;
        for (var i = 0u; i < n; i++) {
            mass += tile[i].x;
            pull += tile[i].x * (tile[i].y - center);
        }
        // Where all weights so far are below the smallest number, there is nothing to move.
        let shift = select(0.0, pull / mass, mass > 0.0);
        center += shift;
        m = moved(m, shift);
        f0 = moved(f0, shift);
        f1 = moved(f1, shift);
        for (var i = 0u; i < n; i++) {
            let from_center = tile[i].y - center;
            let w = tile[i].x * vec3<f32>(1.0, from_center, from_center * from_center + tile[i].z);
            m += w;
            let at = part(base_of(r, row, first + i), 2u, head);
            if (lane < p.d_head) { f0 += w * qkv[at + lane]; }
            if (lane + WG < p.d_head) { f1 += w * qkv[at + lane + WG]; }
            if (first + i >= r.z) {
                let jet = part(2u * row_of(r, first + i), 2u, head) + lane;
                if (lane < p.d_head) {
                    f0.y += w.x * qkv_jet[jet];
                    f0.z += 2.0 * w.y * qkv_jet[jet] + w.x * qkv_jet[jet + next];
                }
                if (lane + WG < p.d_head) {
                    f1.y += w.x * qkv_jet[jet + WG];
                    f1.z += 2.0 * w.y * qkv_jet[jet + WG] + w.x * qkv_jet[jet + next + WG];
                }
            }
        }
    }
    let out = head_of(2u * row, head) + lane;
    let down = head_of(1u, 0u);
    let z0 = quotient(f0, m);
    let z1 = quotient(f1, m);
    if (lane < p.d_head) {
        z_jet[out] = z0.x;
        z_jet[out + down] = z0.y;
    }
    if (lane + WG < p.d_head) {
        z_jet[out + WG] = z1.x;
        z_jet[out + down + WG] = z1.y;
    }
}

// Row of z_bar for the token of a row of a run.
fn plain_of(r: vec4<u32>, row: u32) -> u32 {
    return p.plain + row - r.y;
}

// q, q_dot, z_bar and z_bar_dot of a row.
fn query_side(r: vec4<u32>, row: u32, head: u32, e: u32) -> vec4<f32> {
    return vec4<f32>(
        qkv[part(r.x, 0u, head) + e], qkv_dot[part(row, 0u, head) + e],
        z_bars[head_of(plain_of(r, row), head) + e], z_bars[head_of(row, head) + e],
    );
}

// Of one key (or query): ds_dot, ds, p_dot and p, from score, s_dot, dp and dp_dot.
fn pulls(dots: vec4<f32>, log_total: f32, m: vec4<f32>) -> vec4<f32> {
    let w = exp(dots.x - log_total);
    let from_center = dots.y - m.x;
    let e = dots.z - m.y;
    return w * vec4<f32>(from_center * e + dots.w - m.z, e, from_center, 1.0);
}

@compute @workgroup_size(64)
fn mean(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    var d = vec2<f32>(0.0);
    for (var e = lane; e < p.d_head; e += WG) {
        own[e] = query_side(r, row, head, e);
        d += own[e].zw * z[head_of(r.x, head) + e];
        d.y += own[e].z * z_dot[head_of(row, head) + e];
    }
    // Its barriers come before anyone reads `own`.
    d = sum2(lane, d);
    let log_total = lse[r.x * p.heads + head];
    var mu = 0.0;
    for (var j = lane; j <= t; j += WG) {
        let key = part(base_of(r, row, j), 1u, head);
        let key_dot = part(row_of(r, j), 1u, head);
        var s = vec2<f32>(0.0);
        for (var e = 0u; e < p.d_head; e++) {
            s += own[e].xy * qkv[key + e];
            s.y += own[e].x * qkv_dot[key_dot + e];
        }
        s *= p.scale;
        mu += exp(s.x - log_total) * s.y;
    }
    mu = sum(lane, mu);
    if (lane == 0u) { means[row * p.heads + head] = vec4<f32>(mu, d, 0.0); }
}

@compute @workgroup_size(64)
fn query(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < p.d_head; e += WG) { own[e] = query_side(r, row, head, e); }
    let log_total = lse[r.x * p.heads + head];
    let m = means_kept[row * p.heads + head];
    var q0 = 0.0;
    var q1 = 0.0;
    for (var first = 0u; first <= t; first += TILE) {
        workgroupBarrier();
        let j = first + lane;
        var pull = vec4<f32>(0.0);
        if (j <= t) {
            let key = part(base_of(r, row, j), 1u, head);
            let value = part(base_of(r, row, j), 2u, head);
            var dots = vec4<f32>(0.0);
            let key_dot = part(row_of(r, j), 1u, head);
            let value_dot = part(row_of(r, j), 2u, head);
            for (var e = 0u; e < p.d_head; e++) {
                dots += own[e] * vec4<f32>(vec2<f32>(qkv[key + e]), vec2<f32>(qkv[value + e]));
                dots.y += own[e].x * qkv_dot[key_dot + e];
                dots.w += own[e].z * qkv_dot[value_dot + e];
            }
            pull = pulls(dots * vec4<f32>(p.scale, p.scale, 1.0, 1.0), log_total, m);
        }
        tile[lane] = pull;
        workgroupBarrier();
        let n = min(TILE, t + 1u - first);
        for (var i = 0u; i < n; i++) {
            let key = part(base_of(r, row, first + i), 1u, head) + lane;
            let key_dot = part(row_of(r, first + i), 1u, head) + lane;
            let w = tile[i];
            if (lane < p.d_head) { q0 += w.x * qkv[key] + w.y * qkv_dot[key_dot]; }
            if (lane + WG < p.d_head) { q1 += w.x * qkv[key + WG] + w.y * qkv_dot[key_dot + WG]; }
        }
    }
    let out = part(row, 0u, head) + lane;
    if (lane < p.d_head) { qkv_bars[out] = p.scale * q0; }
    if (lane + WG < p.d_head) { qkv_bars[out + WG] = p.scale * q1; }
}

// k_bar_dot and v_bar_dot of number e of the head, from query i of the tile.
fn key_step(r: vec4<u32>, row: u32, i: u32, weights: vec4<f32>, head: u32, e: u32) -> vec2<f32> {
    let query = row_of(r, i);
    let side = query_side(vec4<u32>(base_of(r, row, i), r.yzw), query, head, e);
    return vec2<f32>(dot(weights.xy, side.xy), dot(weights.zw, side.zw));
}

@compute @workgroup_size(64)
fn key(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    for (var e = lane; e < p.d_head; e += WG) {
        own[e] = vec4<f32>(
            qkv[part(r.x, 1u, head) + e], qkv_dot[part(row, 1u, head) + e],
            qkv[part(r.x, 2u, head) + e], qkv_dot[part(row, 2u, head) + e],
        );
    }
    var bar0 = vec2<f32>(0.0);
    var bar1 = vec2<f32>(0.0);
    for (var first = t; first < r.w; first += TILE) {
        workgroupBarrier();
        let i = first + lane;
        var pull = vec4<f32>(0.0);
        if (i < r.w) {
            let base = base_of(r, row, i);
            let query = row_of(r, i);
            var dots = vec4<f32>(0.0);
            for (var e = 0u; e < p.d_head; e++) {
                let k_and_v = own[e];
                let side = query_side(vec4<u32>(base, r.yzw), query, head, e);
                dots += side * vec4<f32>(k_and_v.xx, k_and_v.zz);
                dots.y += side.x * k_and_v.y;
                dots.w += side.z * k_and_v.w;
            }
            let at = query * p.heads + head;
            pull = pulls(dots * vec4<f32>(p.scale, p.scale, 1.0, 1.0), lse[base * p.heads + head], means_kept[at]);
        }
        tile[lane] = pull;
        workgroupBarrier();
        let n = min(TILE, r.w - first);
        for (var i = 0u; i < n; i++) {
            if (lane < p.d_head) { bar0 += key_step(r, row, first + i, tile[i], head, lane); }
            if (lane + WG < p.d_head) { bar1 += key_step(r, row, first + i, tile[i], head, lane + WG); }
        }
    }
    let at = part(row, 1u, head) + lane;
    let value = part(row, 2u, head) + lane;
    if (lane < p.d_head) {
        qkv_bars[at] = p.scale * bar0.x;
        qkv_bars[value] = bar0.y;
    }
    if (lane + WG < p.d_head) {
        qkv_bars[at + WG] = p.scale * bar1.x;
        qkv_bars[value + WG] = bar1.y;
    }
}
