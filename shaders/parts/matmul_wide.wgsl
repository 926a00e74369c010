// matmul's product of a 128 x 128 tile, by workgroup memory, 8 x 8 elements per invocation: variant `wide`.
#import octet
#import matmul_panel

alias Pair = array<vec4<f32>, 4>;

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

// Both operands, [2, 16 steps of k, 32 groups of 4 rows of x or columns of w], and the offset of each.
var<workgroup> tile: array<vec4<f32>, 1024>;
const X: u32 = 0u;
const W: u32 = 512u;

var<private> octet: Octet;

fn bring(pair: u32) {
    acc = pair_of(octet, pair);
}

// Quad `s` of k of four rows of x, as four steps of k. It is zero beyond k, where w has no elements. Rows beyond the
// last repeat it.
fn four_of_x(s: u32, row: u32) -> mat4x4<f32> {
    let last = p.rows - 1u;
    let k = p.k / 4u;
    if (s >= k) { return mat4x4<f32>(); }
    return transpose(mat4x4<f32>(
        x[min(row, last) * k + s], x[min(row + 1u, last) * k + s],
        x[min(row + 2u, last) * k + s], x[min(row + 3u, last) * k + s],
    ));
}

// Stores four steps of k of group `group` of an operand, X or W, at quad `quad` of the tile's four quads.
fn store_quad(operand: u32, quad: u32, group: u32, m: mat4x4<f32>) {
    let at = operand + 128u * quad + group;
    tile[at] = m[0];
    tile[at + 32u] = m[1];
    tile[at + 64u] = m[2];
    tile[at + 96u] = m[3];
}

// Loads a part of w into the tile, four quads of k from `s` on; `unit` is one of 128 invocations. Neighbours read
// neighbouring elements: along k if w is transposed, else along n. Quads beyond k repeat the last one, and are
// multiplied by zeros of x.
#ifdef F16_WEIGHTS
fn bring_w(s: u32, column: u32, unit: u32, transposed: bool) {
    if (unit >= 64u) { return; }
    if (transposed) {
        let m = turned(min(s + 2u * (unit % 2u), p.k / 4u - 2u), column + 4u * (unit / 2u));
        store_quad(W, 2u * (unit % 2u), unit / 2u, transpose(m.low));
        store_quad(W, 2u * (unit % 2u) + 1u, unit / 2u, transpose(m.high));
    } else {
        let m = straight(min(s + unit / 16u, p.k / 4u - 1u), column + 8u * (unit % 16u));
        store_quad(W, unit / 16u, 2u * (unit % 16u), m.low);
        store_quad(W, unit / 16u, 2u * (unit % 16u) + 1u, m.high);
    }
}
#else
fn bring_w(s: u32, column: u32, unit: u32, transposed: bool) {
    let last = p.k / 4u - 1u;
    if (transposed) {
        store_quad(W, unit % 4u, unit / 4u, turned(min(s + unit % 4u, last), column + 4u * (unit / 4u)));
    } else {
        store_quad(W, unit / 32u, unit % 32u, straight(min(s + unit / 32u, last), column + 4u * (unit % 32u)));
    }
}
#endif

// Columns own.y to own.y + 3, and four more from own.y + 64 on: sixteen neighbours read 256 adjacent bytes of the tile.
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
            store_quad(X, unit % 4u, unit / 4u, four_of_x(s + unit % 4u, row0 + 4u * (unit / 4u)));
        } else {
            bring_w(s, col0, unit, transposed);
        }
        workgroupBarrier();
        for (var j = 0u; j < 16u; j++) {
            let xs = X + 32u * j + 2u * down;
            let ws = W + 32u * j + across;
            o = step(o, tile[xs], tile[xs + 1u], tile[ws], tile[ws + 16u]);
        }
    }
    octet = o;
}
