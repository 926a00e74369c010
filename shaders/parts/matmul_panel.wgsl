// Four by four numbers of matmul's w at a time, by vec4. Columns beyond the edge repeat the last ones, and are not stored: no branch
// around a load.
#ifdef F16_WEIGHTS
#import f16

// Eight numbers of each of four rows, that lie `stride` apart: the first four and the others. `at` and `stride` are whole eights.
struct Eight { low: mat4x4<f32>, high: mat4x4<f32> }

fn four_rows(at: u32, stride: u32) -> Eight {
    let w0 = w[at / 8u];
    let w1 = w[(at + stride) / 8u];
    let w2 = w[(at + 2u * stride) / 8u];
    let w3 = w[(at + 3u * stride) / 8u];
    return Eight(
        mat4x4<f32>(four(w0.xy), four(w1.xy), four(w2.xy), four(w3.xy)),
        mat4x4<f32>(four(w0.zw), four(w1.zw), four(w2.zw), four(w3.zw)),
    );
}
#else
// Four steps of k from quad `s` on, of four columns, as w lies: [k, n].
fn straight(s: u32, column: u32) -> mat4x4<f32> {
    let across = p.n / 4u;
    let at = 4u * s * across + min(column / 4u, across - 1u);
    return mat4x4<f32>(w[at], w[at + across], w[at + 2u * across], w[at + 3u * across]);
}

// The same of w that lies transposed: [n, k].
fn turned(s: u32, column: u32) -> mat4x4<f32> {
    let last = p.n - 1u;
    let k = p.k / 4u;
    return transpose(mat4x4<f32>(
        w[min(column, last) * k + s], w[min(column + 1u, last) * k + s],
        w[min(column + 2u, last) * k + s], w[min(column + 3u, last) * k + s],
    ));
}
#endif
