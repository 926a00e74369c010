// Loads four by four elements of matmul's w at a time, by vec4. Columns beyond the edge repeat the last ones and are
// not stored, so no load needs a branch.
#ifdef F16_WEIGHTS
#import f16

// Eight elements of each of four rows: the first four and the others.
struct Eight { low: mat4x4<f32>, high: mat4x4<f32> }

fn eight_of(w0: Words, w1: Words, w2: Words, w3: Words) -> Eight {
    return Eight(
        mat4x4<f32>(four(w0.xy), four(w1.xy), four(w2.xy), four(w3.xy)),
        mat4x4<f32>(four(w0.zw), four(w1.zw), four(w2.zw), four(w3.zw)),
    );
}

// Four steps of k from quad `s` on, of eight columns, for w stored as [k, n]. `column` is a multiple of eight.
fn straight(s: u32, column: u32) -> Eight {
    let across = p.n / 8u;
    let at = 4u * s * across + min(column / 8u, across - 1u);
    return eight_of(w[at], w[at + across], w[at + 2u * across], w[at + 3u * across]);
}

// Four columns, of eight steps of k from quad `s` on, for w stored transposed, as [n, k]. `s` is even.
fn turned(s: u32, column: u32) -> Eight {
    let last = p.n - 1u;
    let k = p.k / 8u;
    let at = s / 2u;
    return eight_of(
        w[min(column, last) * k + at], w[min(column + 1u, last) * k + at],
        w[min(column + 2u, last) * k + at], w[min(column + 3u, last) * k + at],
    );
}
#else
// Four steps of k from quad `s` on, of four columns, for w stored as [k, n].
fn straight(s: u32, column: u32) -> mat4x4<f32> {
    let across = p.n / 4u;
    let at = 4u * s * across + min(column / 4u, across - 1u);
    return mat4x4<f32>(w[at], w[at + across], w[at + 2u * across], w[at + 3u * across]);
}

// The same for w stored transposed, as [n, k].
fn turned(s: u32, column: u32) -> mat4x4<f32> {
    let last = p.n - 1u;
    let k = p.k / 4u;
    return transpose(mat4x4<f32>(
        w[min(column, last) * k + s], w[min(column + 1u, last) * k + s],
        w[min(column + 2u, last) * k + s], w[min(column + 3u, last) * k + s],
    ));
}
#endif
