// A register tile of eight rows by eight columns: of an invocation of its own, or of a lane of a subgroup of at least eight, the first
// eight of which bring a number of one row each.

// Named members, since arrays with computed indices would not stay in registers.
struct Octet {
    l0: vec4<f32>, h0: vec4<f32>, l1: vec4<f32>, h1: vec4<f32>, l2: vec4<f32>, h2: vec4<f32>, l3: vec4<f32>, h3: vec4<f32>,
    l4: vec4<f32>, h4: vec4<f32>, l5: vec4<f32>, h5: vec4<f32>, l6: vec4<f32>, h6: vec4<f32>, l7: vec4<f32>, h7: vec4<f32>,
}

// One step of k: `a` and `b` hold the numbers of rows 0 to 3 and 4 to 7.
fn step(o: Octet, a: vec4<f32>, b: vec4<f32>, low: vec4<f32>, high: vec4<f32>) -> Octet {
    return Octet(
        o.l0 + a.x * low, o.h0 + a.x * high, o.l1 + a.y * low, o.h1 + a.y * high,
        o.l2 + a.z * low, o.h2 + a.z * high, o.l3 + a.w * low, o.h3 + a.w * high,
        o.l4 + b.x * low, o.h4 + b.x * high, o.l5 + b.y * low, o.h5 + b.y * high,
        o.l6 + b.z * low, o.h6 + b.z * high, o.l7 + b.w * low, o.h7 + b.w * high,
    );
}

#ifdef SUBGROUP
// The same, where lane i holds row i's number.
fn handed(o: Octet, v: f32, low: vec4<f32>, high: vec4<f32>) -> Octet {
    let a = vec4<f32>(
        subgroupBroadcast(v, 0u), subgroupBroadcast(v, 1u), subgroupBroadcast(v, 2u), subgroupBroadcast(v, 3u),
    );
    let b = vec4<f32>(
        subgroupBroadcast(v, 4u), subgroupBroadcast(v, 5u), subgroupBroadcast(v, 6u), subgroupBroadcast(v, 7u),
    );
    return step(o, a, b, low, high);
}

fn steps(o: Octet, v: vec4<f32>, low: mat4x4<f32>, high: mat4x4<f32>) -> Octet {
    return handed(handed(handed(handed(o, v.x, low[0], high[0]), v.y, low[1], high[1]), v.z, low[2], high[2]), v.w, low[3], high[3]);
}
#endif

// Rows 2 i and 2 i + 1. One place for all that is stored from a tile: unrolled, the stores take longer to compile than the product.
fn pair_of(o: Octet, i: u32) -> array<vec4<f32>, 4> {
    switch (i) {
        case 0u: { return array<vec4<f32>, 4>(o.l0, o.h0, o.l1, o.h1); }
        case 1u: { return array<vec4<f32>, 4>(o.l2, o.h2, o.l3, o.h3); }
        case 2u: { return array<vec4<f32>, 4>(o.l4, o.h4, o.l5, o.h5); }
        default: { return array<vec4<f32>, 4>(o.l6, o.h6, o.l7, o.h7); }
    }
}
