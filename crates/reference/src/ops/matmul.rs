//! matmul:  y[t, o] = sum_i x[t, i] w[i, o] + b[o].  The weight is [in, out], as in Hugging Face's `Conv1D`.

use crate::Scalar;

/// Applies an affine map to each row. `x [T, in]`, `weight [in, out]`, `bias [out]` -> `[T, out]`.
pub fn matmul<S: Scalar>(x: &[S], weight: &[S], bias: &[S]) -> Vec<S> {
    let d_out = bias.len();
    let d_in = weight.len() / d_out;
    assert_eq!(weight.len(), d_in * d_out, "matmul: {} weights are not columns of {d_out}", weight.len());
    assert_eq!(x.len() % d_in, 0, "matmul: {} values are not rows of {d_in}", x.len());
    let mut y = Vec::with_capacity(x.len() / d_in * d_out);
    for row in x.chunks_exact(d_in) {
        let mut sums = bias.to_vec();
        for (&x, weights) in row.iter().zip(weight.chunks_exact(d_out)) {
            for (sum, &w) in sums.iter_mut().zip(weights) {
                *sum += x * w;
            }
        }
        y.extend(sums);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn known_product() {
        // [1 2; 3 4] [1 2 3; 4 5 6] + [100 200 300]
        let y = matmul(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[100.0, 200.0, 300.0]);
        assert_eq!(y, [109.0, 212.0, 315.0, 119.0, 226.0, 333.0]);
    }

    #[test]
    fn derivatives_in_the_input_the_weight_and_both() {
        let (x, w, b) = (check::numbers(1, 6), check::numbers(2, 12), check::numbers(3, 4));
        check::derivatives(&x, |x| matmul(x, &check::constants(&w), &check::constants(&b)));
        check::derivatives(&w, |w| matmul(&check::constants(&x), w, &check::constants(&b)));
        let all = [x, w, b].concat();
        check::derivatives(&all, |all| matmul(&all[..6], &all[6..18], &all[18..]));
    }

    #[test]
    #[should_panic(expected = "matmul: 5 values are not rows of 2")]
    fn a_wrong_shape_is_named() {
        matmul(&[0.0; 5], &[0.0; 6], &[0.0; 3]);
    }
}
