// attention_edit:  heads of attention whose scores or weights are edited; all other heads pass. For key j of a query:
//   s'_j = a_j s_j + b_j,   p = softmax_{j<=t} s',   p'_j = c_j p_j + d_j,   z = sum_j p'_j v_j,
//   (a, b, c, d) = maps[m, j]
// where m + 1 = chosen[row, head], and 0 denotes a head without edits. A hidden key has b = -1e30 and weight 0.
//   jvp: u_j = a_j s_dot_j,  p_dot_j = p_j (u_j - sum p u),   z_dot = sum_j c_j p_dot_j v_j + p'_j v_dot_j
//   vjp: dp_j = c_j z_bar.v_j,  D = sum_j p_j dp_j,  ds_j = a_j p_j (dp_j - D)
//        q_bar = scale sum_j ds_j k_j   (vjp_q, which also saves D and the log of the sum of exponentials)
//        k_bar_j = scale sum_i ds_ij q_i,  v_bar_j = sum_i p'_ij z_bar_i   (vjp_kv): both are added to those of other
//        heads, which come from the z_bar of these heads alone (others)
//   CAPPED: s and its tangents as in attention.wgsl.   FROZEN: p' is constant.
// Ragged: as attention.wgsl. `chosen` has the batch rows in the primal, and the primal rows in derivatives.
// Layout: one workgroup per (row, head). Edits are few, so this is the plain form: the scores are computed twice, once
// for their maximum and sum, and once for tiles of 64 weights. O(T) memory.
#import heads
#import reduce
#import rows

override FROZEN: bool = false;

struct Params {
    heads: u32, kv_heads: u32, d_head: u32, scale: f32,
    window: u32, keys: u32,
    cap: f32, pad: u32,
}

// w is the length of a row of queries, keys and values, d that of z.
@group(0) @binding(0) var<uniform> p: Params;                          // params: maps have `keys` keys
@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;       // [rows, 4]
@group(0) @binding(2) var<storage, read> qkv: array<f32>;              // [rows, w] primal: own; [primal, w] jvp, vjp
@group(0) @binding(3) var<storage, read> chosen: array<u32>;           // [rows, heads]; [primal, heads] jvp, vjp
@group(0) @binding(4) var<storage, read> maps: array<vec4<f32>>;       // [maps, keys]  a, b, c, d

@group(0) @binding(5) var<storage, read> base: array<f32>;             // [primal, w] primal: the base run's qkv
@group(0) @binding(6) var<storage, read> x: array<f32>;                // [rows, d] primal: z without edits
@group(0) @binding(7) var<storage, read_write> z: array<f32>;          // [rows, d] primal out

@group(0) @binding(5) var<storage, read> qkv_dot: array<f32>;          // [rows, w] jvp in
@group(0) @binding(6) var<storage, read> x_dot: array<f32>;            // [rows, d] jvp in: z_dot without edits
@group(0) @binding(7) var<storage, read_write> z_dot: array<f32>;      // [rows, d] jvp out

@group(0) @binding(5) var<storage, read> z_bar: array<f32>;            // [rows, d] vjp in
@group(0) @binding(6) var<storage, read> x_bar: array<f32>;            // [rows, w] vjp in: qkv_bar of the other heads
@group(0) @binding(7) var<storage, read_write> qkv_bar: array<f32>;    // [rows, w] vjp out: q by vjp_q, else vjp_kv
@group(0) @binding(8) var<storage, read_write> sums: array<vec2<f32>>; // [rows, heads] vjp_q out: D, log of the sum
@group(0) @binding(8) var<storage, read> sums_saved: array<vec2<f32>>; // [rows, heads] vjp_kv in
@group(0) @binding(2) var<storage, read> bars: array<f32>;             // [rows, d] others in: z_bar
@group(0) @binding(4) var<storage, read_write> bar: array<f32>;        // [rows, d] others out

var<workgroup> tile: array<vec2<f32>, 64>;

fn shape() -> Heads {
    return Heads(p.heads, p.kv_heads, p.d_head);
}

fn share() -> u32 {
    return p.heads / p.kv_heads;
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

fn map_of(m: u32, j: u32) -> vec4<f32> {
    return maps[(m - 1u) * p.keys + j];
}

// <a query, a key> of `qkv`.
fn product(query: u32, key: u32) -> f32 {
    var s = 0.0;
    for (var e = 0u; e < p.d_head; e++) { s += qkv[query + e] * qkv[key + e]; }
    return s;
}

// The edited score of the query at `query` and the key at `key` of the base run, and the slope of the cap there.
fn edited_score(m: vec4<f32>, query: u32, key: u32) -> vec2<f32> {
    let g = capped(p.scale * product(query, key), p.cap);
    return vec2<f32>(m.x * g.x + m.y, g.y);
}

// The edited score of a key that the sequence or the base run has.
fn primal_score(m: vec4<f32>, r: vec4<u32>, row: u32, head: u32, j: u32) -> f32 {
    let query = query_of(row, head);
    var s = 0.0;
    if (j >= r.z) {
        s = product(query, key_of(row_of(r, j), head / share()));
    } else {
        let key = key_of(base_of(r, row, j), head / share());
        for (var e = 0u; e < p.d_head; e++) { s += qkv[query + e] * base[key + e]; }
    }
    return m.x * capped(p.scale * s, p.cap).x + m.y;
}

// Maximum of the scores, and the sum of exponentials above it, from those of one invocation.
fn joined(lane: u32, top: f32, total: f32) -> vec2<f32> {
    let highest = most(lane, top);
    return vec2<f32>(highest, sum(lane, total * exp(top - highest)));
}

// Maximum and sum over the keys of a query of the base run.
fn log_total(m: u32, i: u32, r: vec4<u32>, row: u32, head: u32, lane: u32) -> f32 {
    var top = -3.0e38;
    var total = 0.0;
    let t = row_token(r, row);
    for (var j = first_key(t, p.window) + lane; j <= t; j += WG) {
        let s = edited_score(map_of(m, j), query_of(i, head), key_of(base_of(r, row, j), head / share())).x;
        let higher = max(top, s);
        total = total * exp(top - higher) + exp(s - higher);
        top = higher;
    }
    let both = joined(lane, top, total);
    return both.x + log(both.y);
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let out = head_of(row, head);
    let m = chosen[row * p.heads + head];
    if (m == 0u) {
        for (var e = lane; e < p.d_head; e += WG) { z[out + e] = x[out + e]; }
        return;
    }
    let r = rows[row];
    let t = row_token(r, row);
    var top = -3.0e38;
    var total = 0.0;
    for (var j = first_key(t, p.window) + lane; j <= t; j += WG) {
        let s = primal_score(map_of(m, j), r, row, head, j);
        let higher = max(top, s);
        total = total * exp(top - higher) + exp(s - higher);
        top = higher;
    }
    let both = joined(lane, top, total);
    for (var e = lane; e < p.d_head; e += WG) { z[out + e] = 0.0; }
    for (var first = first_key(t, p.window); first <= t; first += WG) {
        workgroupBarrier();
        let j = first + lane;
        if (j <= t) {
            let map = map_of(m, j);
            let weight = exp(primal_score(map, r, row, head, j) - both.x) / both.y;
            tile[lane].x = map.z * weight + map.w;
        }
        workgroupBarrier();
        let n = min(WG, t + 1u - first);
        for (var e = lane; e < p.d_head; e += WG) {
            var s = z[out + e];
            for (var i = 0u; i < n; i++) {
                if (first + i >= r.z) { s += tile[i].x * qkv[value_of(row_of(r, first + i), head / share()) + e]; }
                else { s += tile[i].x * base[value_of(base_of(r, row, first + i), head / share()) + e]; }
            }
            z[out + e] = s;
        }
    }
}

@compute @workgroup_size(64)
fn jvp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let kv = head / share();
    let row = group.y;
    let out = head_of(row, head);
    let r = rows[row];
    let m = chosen[r.x * p.heads + head];
    if (m == 0u) {
        for (var e = lane; e < p.d_head; e += WG) { z_dot[out + e] = x_dot[out + e]; }
        return;
    }
    let t = row_token(r, row);
    let log_sum = log_total(m, r.x, r, row, head, lane);
    // sum p u. Tangents of keys before the sequence's own are zero.
    var drift = 0.0;
    if (!FROZEN) {
        for (var j = first_key(t, p.window) + lane; j <= t; j += WG) {
            let w = tangent(m, r, row, head, j, log_sum);
            drift += w.x * w.y;
        }
        drift = sum(lane, drift);
    }
    for (var e = lane; e < p.d_head; e += WG) { z_dot[out + e] = 0.0; }
    for (var first = first_key(t, p.window); first <= t; first += WG) {
        workgroupBarrier();
        let j = first + lane;
        if (j <= t) {
            let map = map_of(m, j);
            let w = tangent(m, r, row, head, j, log_sum);
            tile[lane] = vec2<f32>(map.z * w.x + map.w, map.z * w.x * (w.y - drift));
        }
        workgroupBarrier();
        let n = min(WG, t + 1u - first);
        for (var e = lane; e < p.d_head; e += WG) {
            var s = z_dot[out + e];
            for (var i = 0u; i < n; i++) {
                if (!FROZEN) { s += tile[i].y * qkv[value_of(base_of(r, row, first + i), kv) + e]; }
                if (first + i >= r.z) { s += tile[i].x * qkv_dot[value_of(row_of(r, first + i), kv) + e]; }
            }
            z_dot[out + e] = s;
        }
    }
}

// The weight of a key before the edits of weights, and u, the tangent of its edited score.
fn tangent(m: u32, r: vec4<u32>, row: u32, head: u32, j: u32, log_sum: f32) -> vec2<f32> {
    let map = map_of(m, j);
    let query = query_of(r.x, head);
    let key = key_of(base_of(r, row, j), head / share());
    let s = edited_score(map, query, key);
    var s_dot = 0.0;
    if (!FROZEN) {
        let query_dot = query_of(row, head);
        for (var e = 0u; e < p.d_head; e++) { s_dot += qkv_dot[query_dot + e] * qkv[key + e]; }
        if (j >= r.z) {
            let key_dot = key_of(row_of(r, j), head / share());
            for (var e = 0u; e < p.d_head; e++) { s_dot += qkv[query + e] * qkv_dot[key_dot + e]; }
        }
    }
    return vec2<f32>(exp(s.x - log_sum), map.x * s.y * p.scale * s_dot);
}

@compute @workgroup_size(64)
fn others(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = head_of(group.y, group.x);
    let m = chosen[rows[group.y].x * p.heads + group.x];
    for (var e = lane; e < p.d_head; e += WG) { bar[at + e] = select(0.0, bars[at + e], m == 0u); }
}

// <z_bar of a query's head, a value>.
fn value_bar(of_query: u32, value: u32) -> f32 {
    var s = 0.0;
    for (var e = 0u; e < p.d_head; e++) { s += z_bar[of_query + e] * qkv[value + e]; }
    return s;
}

@compute @workgroup_size(64)
fn vjp_q(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let kv = head / share();
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    let out = query_of(row, head);
    let m = chosen[r.x * p.heads + head];
    for (var e = lane; e < p.d_head; e += WG) { qkv_bar[out + e] = x_bar[out + e]; }
    if (m == 0u) {
        if (lane == 0u) { sums[row * p.heads + head] = vec2<f32>(0.0); }
        return;
    }
    let log_sum = log_total(m, r.x, r, row, head, lane);
    let own_bar = head_of(row, head);
    let query = query_of(r.x, head);
    var d = 0.0;
    for (var j = first_key(t, p.window) + lane; j <= t; j += WG) {
        let map = map_of(m, j);
        let at = base_of(r, row, j);
        d += exp(edited_score(map, query, key_of(at, kv)).x - log_sum) * map.z * value_bar(own_bar, value_of(at, kv));
    }
    d = sum(lane, d);
    if (lane == 0u) { sums[row * p.heads + head] = vec2<f32>(d, log_sum); }
    if (FROZEN) { return; }
    for (var first = first_key(t, p.window); first <= t; first += WG) {
        workgroupBarrier();
        let j = first + lane;
        if (j <= t) {
            let map = map_of(m, j);
            let at = base_of(r, row, j);
            let s = edited_score(map, query, key_of(at, kv));
            let dp = map.z * value_bar(own_bar, value_of(at, kv));
            tile[lane].x = map.x * s.y * exp(s.x - log_sum) * (dp - d) * p.scale;
        }
        workgroupBarrier();
        let n = min(WG, t + 1u - first);
        for (var e = lane; e < p.d_head; e += WG) {
            var s = qkv_bar[out + e];
            for (var i = 0u; i < n; i++) { s += tile[i].x * qkv[key_of(base_of(r, row, first + i), kv) + e]; }
            qkv_bar[out + e] = s;
        }
    }
}

@compute @workgroup_size(64)
fn vjp_kv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let kv = group.x;
    let row = group.y;
    let r = rows[row];
    let t = row_token(r, row);
    let key = key_of(row, kv);
    let value = value_of(row, kv);
    for (var e = lane; e < p.d_head; e += WG) {
        qkv_bar[key + e] = x_bar[key + e];
        qkv_bar[value + e] = x_bar[value + e];
    }
    let end = last_query(t, p.window, r.w);
    for (var head = kv * share(); head < (kv + 1u) * share(); head++) {
        for (var first = t; first < end; first += WG) {
            workgroupBarrier();
            let i = first + lane;
            var weights = vec2<f32>(0.0);
            if (i < end) {
                let at = base_of(r, row, i);
                let m = chosen[at * p.heads + head];
                if (m != 0u) {
                    let saved = sums_saved[row_of(r, i) * p.heads + head];
                    let map = map_of(m, t);
                    let s = edited_score(map, query_of(at, head), key_of(r.x, kv));
                    let w = exp(s.x - saved.y);
                    weights.x = map.z * w + map.w;
                    if (!FROZEN) {
                        let dp = map.z * value_bar(head_of(row_of(r, i), head), value_of(r.x, kv));
                        weights.y = map.x * s.y * w * (dp - saved.x) * p.scale;
                    }
                }
            }
            tile[lane] = weights;
            workgroupBarrier();
            let n = min(WG, end - first);
            for (var e = lane; e < p.d_head; e += WG) {
                var k = qkv_bar[key + e];
                var v = qkv_bar[value + e];
                for (var o = 0u; o < n; o++) {
                    k += tile[o].y * qkv[query_of(base_of(r, row, first + o), head) + e];
                    v += tile[o].x * z_bar[head_of(row_of(r, first + o), head) + e];
                }
                qkv_bar[key + e] = k;
                qkv_bar[value + e] = v;
            }
        }
    }
}
