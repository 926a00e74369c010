// matmul's product of a 64 x 64 tile, by workgroup memory: variant `base`.
#ifdef F16_WEIGHTS
#import f16
#endif

alias Pair = array<f32, 8>;

fn load_x(row: u32, i: u32) -> f32 {
    if (row < p.rows && i < p.k) { return x[row * p.k + i]; }
    return 0.0;
}

fn load_w(i: u32, col: u32, transposed: bool) -> f32 {
    if (i < p.k && col < p.n) {
        let at = select(i * p.n + col, col * p.k + i, transposed);
#ifdef F16_WEIGHTS
        return one_of(w[at / 2u], at % 2u);
#else
        return w[at];
#endif
    }
    return 0.0;
}

var<workgroup> x_tile: array<vec4<f32>, 256>;    // [16 steps of k, 16 groups of 4 rows]
var<workgroup> w_tile: array<vec4<f32>, 256>;    // [16 steps of k, 16 groups of 4 columns]

struct Place {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
}

var<private> quad: array<vec4<f32>, 4>;

fn bring(pair: u32) {
    let a = select(quad[2], quad[0], pair == 0u);
    let b = select(quad[3], quad[1], pair == 0u);
    acc = Pair(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}

fn product(place: Place, transposed: bool) {
    let across = place.lane % 16u;
    let down = place.lane / 16u;
    let row0 = place.group.y * GROUP_ROWS;
    let col0 = place.group.x * GROUP_COLS;
    own = vec2<u32>(row0 + 4u * down, col0 + 4u * across);
    var a0 = vec4<f32>(0.0);
    var a1 = vec4<f32>(0.0);
    var a2 = vec4<f32>(0.0);
    var a3 = vec4<f32>(0.0);
    for (var k0 = 0u; k0 < p.k; k0 += 16u) {
        workgroupBarrier();
        // Neighbouring invocations read neighbouring elements: along k for x and for w transposed, along n for w.
        let i = k0 + across;
        let row = row0 + 4u * down;
        x_tile[16u * across + down] =
            vec4<f32>(load_x(row, i), load_x(row + 1u, i), load_x(row + 2u, i), load_x(row + 3u, i));
        if (transposed) {
            let col = col0 + 4u * down;
            w_tile[16u * across + down] = vec4<f32>(
                load_w(i, col, true), load_w(i, col + 1u, true), load_w(i, col + 2u, true), load_w(i, col + 3u, true),
            );
        } else {
            let col = col0 + 4u * across;
            let j = k0 + down;
            w_tile[16u * down + across] = vec4<f32>(
                load_w(j, col, false), load_w(j, col + 1u, false),
                load_w(j, col + 2u, false), load_w(j, col + 3u, false),
            );
        }
        workgroupBarrier();
        for (var j = 0u; j < 16u; j++) {
            let xs = x_tile[16u * j + down];
            let ws = w_tile[16u * j + across];
            a0 += xs.x * ws;
            a1 += xs.y * ws;
            a2 += xs.z * ws;
            a3 += xs.w * ws;
        }
    }
    quad = array<vec4<f32>, 4>(a0, a1, a2, a3);
}
