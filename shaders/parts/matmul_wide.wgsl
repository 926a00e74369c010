// matmul's product of a 128 x 128 tile, by workgroup memory, 8 x 8 numbers an invocation: text `wide`.
#import octet
#import matmul_panel

alias Pair = array<vec4<f32>, 4>;

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

var<workgroup> x_tile: array<vec4<f32>, 512>;    // [16 steps of k, 32 groups of 4 rows]
var<workgroup> w_tile: array<vec4<f32>, 512>;    // [16 steps of k, 32 groups of 4 columns]

var<private> octet: Octet;

fn bring(pair: u32) {
    acc = pair_of(octet, pair);
}

// Quad `s` of k of four rows of x, as four steps of k; zeros beyond k, for which w has no numbers. Rows beyond the last repeat it.
fn four_of_x(s: u32, row: u32) -> mat4x4<f32> {
    let last = p.rows - 1u;
    let k = p.k / 4u;
    if (s >= k) { return mat4x4<f32>(); }
    return transpose(mat4x4<f32>(
        x[min(row, last) * k + s], x[min(row + 1u, last) * k + s],
        x[min(row + 2u, last) * k + s], x[min(row + 3u, last) * k + s],
    ));
}

fn keep_x(quad: u32, group: u32, m: mat4x4<f32>) {
    let at = 128u * quad + group;
    x_tile[at] = m[0];
    x_tile[at + 32u] = m[1];
    x_tile[at + 64u] = m[2];
    x_tile[at + 96u] = m[3];
}

fn keep_w(quad: u32, group: u32, m: mat4x4<f32>) {
    let at = 128u * quad + group;
    w_tile[at] = m[0];
    w_tile[at + 32u] = m[1];
    w_tile[at + 64u] = m[2];
    w_tile[at + 96u] = m[3];
}

// Brings a part of w to the tile, four quads of k from `s` on: invocation `unit` of 128. Neighbours read neighbouring numbers: along
// k where w lies transposed, else along n. Quads beyond k repeat the last, which meets zeros of x.
#ifdef HALVES
fn bring_w(s: u32, column: u32, unit: u32, transposed: bool) {
    if (unit >= 64u) { return; }
    if (transposed) {
        let eight = min(s / 2u + unit % 2u, p.k / 8u - 1u);
        let m = four_rows(min(column + 4u * (unit / 2u), p.n - 4u) * p.k + 8u * eight, p.k);
        keep_w(2u * (unit % 2u), unit / 2u, transpose(m.low));
        keep_w(2u * (unit % 2u) + 1u, unit / 2u, transpose(m.high));
    } else {
        let quad = min(s + unit / 16u, p.k / 4u - 1u);
        let m = four_rows(4u * quad * p.n + min(column + 8u * (unit % 16u), p.n - 8u), p.n);
        keep_w(unit / 16u, 2u * (unit % 16u), m.low);
        keep_w(unit / 16u, 2u * (unit % 16u) + 1u, m.high);
    }
}
#else
fn bring_w(s: u32, column: u32, unit: u32, transposed: bool) {
    let last = p.k / 4u - 1u;
    if (transposed) {
        keep_w(unit % 4u, unit / 4u, turned(min(s + unit % 4u, last), column + 4u * (unit / 4u)));
    } else {
        keep_w(unit / 32u, unit % 32u, straight(min(s + unit / 32u, last), column + 4u * (unit % 32u)));
    }
}
#endif

// Columns own.y to own.y + 3, and as many 64 further on: sixteen neighbours read 256 bytes of w_tile in a row.
fn product(place: Place, transposed: bool) {
    let across = place.lane % 16u;
    let down = place.lane / 16u;
    let row0 = place.group.y * GROUP_ROWS;
    let col0 = place.group.x * GROUP_COLS;
    own = vec2<u32>(row0 + 8u * down, col0 + 4u * across);
    let unit = place.lane % 128u;
    var o = Octet();
    for (var s = 0u; s < p.k / 4u; s += 4u) {
        workgroupBarrier();
        if (place.lane < 128u) {
            keep_x(unit % 4u, unit / 4u, four_of_x(s + unit % 4u, row0 + 4u * (unit / 4u)));
        } else {
            bring_w(s, col0, unit, transposed);
        }
        workgroupBarrier();
        for (var j = 0u; j < 16u; j++) {
            let xs = 32u * j + 2u * down;
            let ws = 32u * j + across;
            o = step(o, x_tile[xs], x_tile[xs + 1u], w_tile[ws], w_tile[ws + 16u]);
        }
    }
    octet = o;
}
