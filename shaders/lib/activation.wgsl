// GELU of a Number, its slope and its bend: in GPT-2's tanh form, or exact. HELD: value / argument in the place of the slope.
#import math
#import number

override EXACT: bool = false;
override HELD: bool = false;

fn value_of(v: f32) -> f32 {
    if (EXACT) { return gelu_erf(v); }
    return gelu_new(v);
}

fn slope_of(v: f32) -> f32 {
    if (HELD && EXACT) { return normal_cdf(v); }
    if (HELD) { return gelu_new_ratio(v); }
    if (EXACT) { return gelu_erf_d(v); }
    return gelu_new_d(v);
}

fn bend_of(v: f32) -> f32 {
    if (EXACT) { return gelu_erf_dd(v); }
    return gelu_new_dd(v);
}

#ifdef VECTORS
fn value(v: Number) -> Number {
    return vec4<f32>(value_of(v.x), value_of(v.y), value_of(v.z), value_of(v.w));
}

fn slope(v: Number) -> Number {
    return vec4<f32>(slope_of(v.x), slope_of(v.y), slope_of(v.z), slope_of(v.w));
}

fn bend(v: Number) -> Number {
    return vec4<f32>(bend_of(v.x), bend_of(v.y), bend_of(v.z), bend_of(v.w));
}
#else
fn value(v: Number) -> Number {
    return value_of(v);
}

fn slope(v: Number) -> Number {
    return slope_of(v);
}

fn bend(v: Number) -> Number {
    return bend_of(v);
}
#endif
