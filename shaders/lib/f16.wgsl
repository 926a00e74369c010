// Halves: numbers of 16 bits, kept in pairs in words of 32.

// Halves as f32, from their magnitudes in bits 13 to 27 and their signs in bit 31. unpack2x16float may make zeros of denormal halves,
// and so does arithmetic on denormal f32; here nothing is denormal. With the exponent moved by 112, normal halves are right, and a
// denormal one is 2^-15 (1 + m / 1024) instead of 2^-24 m: twice that less 2^-14, which is the smaller of both then and only then.
fn widened(magnitude: vec2<u32>, sign: vec2<u32>) -> vec2<f32> {
    let moved = bitcast<vec2<f32>>(magnitude + vec2<u32>(0x38000000u));
    let right = min(moved, 2.0 * moved - vec2<f32>(0x1p-14f));
    return bitcast<vec2<f32>>(bitcast<vec2<u32>>(right) | sign);
}

// Four halves in pairs, the earlier in the low bits. By shifts: unpack2x16float is a call for each number where a processor plays
// the GPU.
fn four(w: vec2<u32>) -> vec4<f32> {
    let magnitude = vec2<u32>(0x0fffe000u);
    let sign = vec2<u32>(0x80000000u);
    let a = widened((w << vec2<u32>(13u)) & magnitude, (w << vec2<u32>(16u)) & sign);
    let b = widened((w >> vec2<u32>(3u)) & magnitude, w & sign);
    return vec4<f32>(a.x, b.x, a.y, b.y);
}

// The nearest numbers that halves hold, of two equally near ones the even; what is beyond 65504 becomes infinite. By bits, since
// a conversion may round as it likes, and all devices are to agree.
fn rounded(v: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(v);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    // Thirteen bits go; below 2^-14 what remains are multiples of 2^-24.
    let normal = (magnitude + vec4<u32>(0xfffu) + ((magnitude >> vec4<u32>(13u)) & vec4<u32>(1u))) & vec4<u32>(0xffffe000u);
    let small = bitcast<vec4<u32>>(round(abs(v) * 0x1p24f) * 0x1p-24f);
    let finite = select(normal, small, magnitude < vec4<u32>(0x38800000u));
    let residuals = select(finite, vec4<u32>(0x7f800000u), normal >= vec4<u32>(0x47800000u));
    return bitcast<vec4<f32>>(residuals | (bits & vec4<u32>(0x80000000u)));
}
