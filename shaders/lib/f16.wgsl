// f16 values, stored in pairs in 32-bit words.

// Widens f16 to f32, from magnitudes in bits 13 to 27 and signs in bit 31. unpack2x16float may flush denormal f16 to
// zero, and arithmetic may flush denormal f32; here nothing is denormal. An exponent moved by 112 is right for normal
// f16. It makes a denormal 2^-15 (1 + m / 1024) instead of 2^-24 m. The right value is twice that minus 2^-14, which is
// the smaller of both for denormals only.
fn widened(magnitude: vec2<u32>, sign: vec2<u32>) -> vec2<f32> {
    let moved = bitcast<vec2<f32>>(magnitude + vec2<u32>(0x38000000u));
    let right = min(moved, 2.0 * moved - vec2<f32>(0x1p-14f));
    return bitcast<vec2<f32>>(bitcast<vec2<u32>>(right) | sign);
}

// Widens four f16 in pairs, the earlier in the low bits. It uses shifts, because software GPUs call a function for each
// element of unpack2x16float.
fn four(w: vec2<u32>) -> vec4<f32> {
    let magnitude = vec2<u32>(0x0fffe000u);
    let sign = vec2<u32>(0x80000000u);
    let a = widened((w << vec2<u32>(13u)) & magnitude, (w << vec2<u32>(16u)) & sign);
    let b = widened((w >> vec2<u32>(3u)) & magnitude, w & sign);
    return vec4<f32>(a.x, b.x, a.y, b.y);
}

// Widens the earlier (i = 0) or the later (i = 1) f16 of a pair.
fn one_of(pair: u32, i: u32) -> f32 {
    let bits = pair >> (16u * i);
    return widened(vec2<u32>((bits << 13u) & 0x0fffe000u), vec2<u32>((bits << 16u) & 0x80000000u)).x;
}

// Rounds to the nearest f16, ties to even; values beyond 65504 become infinite. It works on bits: a conversion may
// round in either direction, and all devices must agree.
fn rounded(v: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(v);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    // Thirteen bits are dropped; below 2^-14, the results are multiples of 2^-24.
    let last = (magnitude >> vec4<u32>(13u)) & vec4<u32>(1u);
    let normal = (magnitude + vec4<u32>(0xfffu) + last) & vec4<u32>(0xffffe000u);
    let small = bitcast<vec4<u32>>(round(abs(v) * 0x1p24f) * 0x1p-24f);
    let finite = select(normal, small, magnitude < vec4<u32>(0x38800000u));
    let nearest = select(finite, vec4<u32>(0x7f800000u), normal >= vec4<u32>(0x47800000u));
    return bitcast<vec4<f32>>(nearest | (bits & vec4<u32>(0x80000000u)));
}
