// Sums and maxima over a workgroup of WG = 64 invocations, in a fixed order: eight partial sums of eight, then those
// eight. Two barriers per sum instead of the six of a binary tree. No subgroup size is assumed, and the bits never
// vary. The leading barrier lets one scratch array serve sum after sum.

const WG: u32 = 64u;
var<workgroup> partial: array<vec2<f32>, 64>;
var<workgroup> eighth: array<vec2<f32>, 8>;

fn sum2(lane: u32, value: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    partial[lane] = value;
    workgroupBarrier();
    if (lane < 8u) {
        var s = vec2<f32>(0.0);
        for (var i = 0u; i < 8u; i++) { s += partial[8u * lane + i]; }
        eighth[lane] = s;
    }
    workgroupBarrier();
    var total = vec2<f32>(0.0);
    for (var i = 0u; i < 8u; i++) { total += eighth[i]; }
    return total;
}

fn sum(lane: u32, value: f32) -> f32 {
    return sum2(lane, vec2<f32>(value, 0.0)).x;
}

// The largest value. NaN may be lost: the sum that follows a maximum shows it.
fn most(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    partial[lane] = vec2<f32>(value, 0.0);
    workgroupBarrier();
    if (lane < 8u) {
        var m = partial[8u * lane].x;
        for (var i = 1u; i < 8u; i++) { m = max(m, partial[8u * lane + i].x); }
        eighth[lane] = vec2<f32>(m, 0.0);
    }
    workgroupBarrier();
    var m = eighth[0].x;
    for (var i = 1u; i < 8u; i++) { m = max(m, eighth[i].x); }
    return m;
}
