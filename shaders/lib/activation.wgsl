// GELU of a Number, its slope and its bend: in GPT-2's tanh form, or exact. FROZEN: value / argument in the place of the slope.
#import math
#import element

override EXACT: bool = false;
override FROZEN: bool = false;

fn value_of(v: f32) -> f32 {
    if (EXACT) { return gelu_erf(v); }
    return gelu_new(v);
}

fn slope_of(v: f32) -> f32 {
    if (FROZEN && EXACT) { return normal_cdf(v); }
    if (FROZEN) { return gelu_new_ratio(v); }
    if (EXACT) { return gelu_erf_d(v); }
    return gelu_new_d(v);
}

fn second_derivative_of(v: f32) -> f32 {
    if (EXACT) { return gelu_erf_dd(v); }
    return gelu_new_dd(v);
}

#ifdef VECTORS
fn value(v: Element) -> Element {
    return vec4<f32>(value_of(v.x), value_of(v.y), value_of(v.z), value_of(v.w));
}

fn slope(v: Element) -> Element {
    return vec4<f32>(slope_of(v.x), slope_of(v.y), slope_of(v.z), slope_of(v.w));
}

fn second_derivative(v: Element) -> Element {
    return vec4<f32>(second_derivative_of(v.x), second_derivative_of(v.y), second_derivative_of(v.z), second_derivative_of(v.w));
}
#else
fn value(v: Element) -> Element {
    return value_of(v);
}

fn slope(v: Element) -> Element {
    return slope_of(v);
}

fn second_derivative(v: Element) -> Element {
    return second_derivative_of(v);
}
#endif
