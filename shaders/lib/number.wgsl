// A Number is one f32, or, where a variant sets VECTORS, the four that one load brings; lengths are then multiples of four.

#ifdef VECTORS
alias Number = vec4<f32>;
alias Words = vec4<u32>;
const UNIT: u32 = 4u;

fn inner(a: Number, b: Number) -> f32 {
    return dot(a, b);
}

fn scalar(a: Number, e: u32) -> f32 {
    return a[e];
}
#else
alias Number = f32;
alias Words = u32;
const UNIT: u32 = 1u;

fn inner(a: Number, b: Number) -> f32 {
    return a * b;
}

fn scalar(a: Number, e: u32) -> f32 {
    return a;
}
#endif
