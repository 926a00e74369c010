// rope:  rotary embedding of queries and keys.
// In each of the first `heads` heads of a row, the first 2 pairs columns turn:
//   y_i = x_i c - x_{i+pairs} s,  y_{i+pairs} = x_{i+pairs} c + x_i s,  c and s the scaled cosine and sine of
//   position * frequency_i.  All other columns are copied.
//   Linear: jvp is the same kernel, over one row (jvp) or two rows (jet) for each row of the batch. vjp turns back.
// The position is the token of the row. c and s are composed of two tables, for the position's low 8 bits and for the
// rest: so long prompts need little memory. Both are rounded once, which leaves an error of about 2e-7.
// Layout: one workgroup per row. Bound by memory: 8 bytes an element.
#import rows

struct Params {
    n: u32, heads: u32, d_head: u32, pairs: u32,
    orders: u32,  // rows of x for each row of the batch
    fine: u32,    // positions of the first table
    pad0: u32, pad1: u32,
}

@group(0) @binding(0) var<uniform> p: Params;                       // params
@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;    // [rows, 4]
@group(0) @binding(2) var<storage, read> turns: array<vec2<f32>>;   // [fine + coarse, pairs, 2]  cosine and sine
@group(0) @binding(3) var<storage, read> x: array<f32>;             // [orders rows, n]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;       // [orders rows, n]   primal, jvp out
@group(0) @binding(3) var<storage, read> y_bar: array<f32>;         // [rows, n]          vjp in
@group(0) @binding(4) var<storage, read_write> x_bar: array<f32>;   // [rows, n]          vjp out

// Cosine and sine of pair i at a position.
fn turn(position: u32, i: u32) -> vec2<f32> {
    let low = turns[(position % p.fine) * p.pairs + i];
    let high = turns[(p.fine + position / p.fine) * p.pairs + i];
    return vec2<f32>(high.x * low.x - high.y * low.y, high.y * low.x + high.x * low.y);
}

// Column of a row whose element does not turn, or the pair that it belongs to and its half (0 or 1).
fn pair_of(column: u32) -> vec2<u32> {
    let within = column % p.d_head;
    if (column >= p.heads * p.d_head || within >= 2u * p.pairs) { return vec2<u32>(0u, 2u); }
    return vec2<u32>(within % p.pairs, within / p.pairs);
}

@compute @workgroup_size(64)
fn primal(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x / p.orders;
    let position = row_token(rows[row], row);
    for (var column = lane; column < p.n; column += 64u) {
        let at = group.x * p.n + column;
        let pair = pair_of(column);
        var v = x[at];
        if (pair.y < 2u) {
            let t = turn(position, pair.x);
            if (pair.y == 0u) { v = v * t.x - x[at + p.pairs] * t.y; }
            else { v = v * t.x + x[at - p.pairs] * t.y; }
        }
        y[at] = v;
    }
}

@compute @workgroup_size(64)
fn vjp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let position = row_token(rows[group.x], group.x);
    for (var column = lane; column < p.n; column += 64u) {
        let at = group.x * p.n + column;
        let pair = pair_of(column);
        var v = y_bar[at];
        if (pair.y < 2u) {
            let t = turn(position, pair.x);
            if (pair.y == 0u) { v = v * t.x + y_bar[at + p.pairs] * t.y; }
            else { v = v * t.x - y_bar[at - p.pairs] * t.y; }
        }
        x_bar[at] = v;
    }
}
