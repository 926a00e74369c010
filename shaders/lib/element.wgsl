// A Number is one f32, or, where a variant sets VECTORS, the four that one load brings; lengths are then multiples of four.

#ifdef VECTORS
alias Element = vec4<f32>;
alias Words = vec4<u32>;
const UNIT: u32 = 4u;

fn inner(a: Element, b: Element) -> f32 {
    return dot(a, b);
}

fn scalar(a: Element, e: u32) -> f32 {
    return a[e];
}
#else
alias Element = f32;
alias Words = u32;
const UNIT: u32 = 1u;

fn inner(a: Element, b: Element) -> f32 {
    return a * b;
}

fn scalar(a: Element, e: u32) -> f32 {
    return a;
}
#endif
