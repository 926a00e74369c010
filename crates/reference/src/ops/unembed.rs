//! unembed:  logits[t, v] = <x[t], w[v]>.  The head is [V, d], a row a token, as the embedding that it is often tied to.

use crate::Scalar;

/// Scores of every token. `x [T, d]` (after the final norm), `head [V, d]` -> `[T, V]`.
pub fn unembed<S: Scalar>(x: &[S], head: &[S], d: usize) -> Vec<S> {
    assert_eq!(x.len() % d, 0, "unembed: {} values are not rows of {d}", x.len());
    assert_eq!(head.len() % d, 0, "unembed: a head of {} values is not rows of {d}", head.len());
    let mut logits = Vec::with_capacity(x.len() / d * (head.len() / d));
    for x in x.chunks_exact(d) {
        for w in head.chunks_exact(d) {
            let mut dot = S::from_f64(0.0);
            for (&x, &w) in x.iter().zip(w) {
                dot += x * w;
            }
            logits.push(dot);
        }
    }
    logits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn known_scores() {
        assert_eq!(unembed(&[1.0, 2.0], &[3.0, 4.0, 5.0, 6.0, -1.0, 0.5], 2), [11.0, 17.0, 0.0]);
    }

    #[test]
    fn derivatives() {
        let head = check::numbers(2, 12);
        check::derivatives(&check::numbers(1, 6), |x| unembed(x, &check::constants(&head), 3));
    }
}
