// A register tile of eight rows by eight columns, for subgroups of at least eight lanes: each lane has columns of its own, and
// the first eight bring a number of one row each.

// Named members, since arrays with computed indices would not stay in registers.
struct Octet {
    l0: vec4<f32>, h0: vec4<f32>, l1: vec4<f32>, h1: vec4<f32>, l2: vec4<f32>, h2: vec4<f32>, l3: vec4<f32>, h3: vec4<f32>,
    l4: vec4<f32>, h4: vec4<f32>, l5: vec4<f32>, h5: vec4<f32>, l6: vec4<f32>, h6: vec4<f32>, l7: vec4<f32>, h7: vec4<f32>,
}

// One step of k: lane i holds row i's number.
fn step(o: Octet, v: f32, low: vec4<f32>, high: vec4<f32>) -> Octet {
    let x0 = subgroupBroadcast(v, 0u);
    let x1 = subgroupBroadcast(v, 1u);
    let x2 = subgroupBroadcast(v, 2u);
    let x3 = subgroupBroadcast(v, 3u);
    let x4 = subgroupBroadcast(v, 4u);
    let x5 = subgroupBroadcast(v, 5u);
    let x6 = subgroupBroadcast(v, 6u);
    let x7 = subgroupBroadcast(v, 7u);
    return Octet(
        o.l0 + x0 * low, o.h0 + x0 * high, o.l1 + x1 * low, o.h1 + x1 * high,
        o.l2 + x2 * low, o.h2 + x2 * high, o.l3 + x3 * low, o.h3 + x3 * high,
        o.l4 + x4 * low, o.h4 + x4 * high, o.l5 + x5 * low, o.h5 + x5 * high,
        o.l6 + x6 * low, o.h6 + x6 * high, o.l7 + x7 * low, o.h7 + x7 * high,
    );
}

fn steps(o: Octet, v: vec4<f32>, low: mat4x4<f32>, high: mat4x4<f32>) -> Octet {
    return step(step(step(step(o, v.x, low[0], high[0]), v.y, low[1], high[1]), v.z, low[2], high[2]), v.w, low[3], high[3]);
}

// Rows 2 i and 2 i + 1. One place for all that is stored from a tile: unrolled, the stores take longer to compile than the product.
fn pair_of(o: Octet, i: u32) -> array<vec4<f32>, 4> {
    switch (i) {
        case 0u: { return array<vec4<f32>, 4>(o.l0, o.h0, o.l1, o.h1); }
        case 1u: { return array<vec4<f32>, 4>(o.l2, o.h2, o.l3, o.h3); }
        case 2u: { return array<vec4<f32>, 4>(o.l4, o.h4, o.l5, o.h5); }
        default: { return array<vec4<f32>, 4>(o.l6, o.h6, o.l7, o.h7); }
    }
}
