//! observe:  a scalar of one row of logits through its softmax p:
//! `z Z + E[u] + e E[ln p] + k KL(p || b) + f KL(b || p)`, with `Z = ln sum exp(logits)` and E the mean over p.

use crate::Scalar;

/// The terms of an observable, with their coefficients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observe<'a> {
    /// z, of the log-sum-exp.
    pub log_sum_exp: f64,
    /// e, of the mean of ln p.
    pub log_p: f64,
    /// k, of KL(p || b).
    pub to_base: f64,
    /// f, of KL(b || p).
    pub from_base: f64,
    /// ln b `[V]`, of a base distribution.
    pub log_b: Option<&'a [f64]>,
    /// u `[V]`, whose mean over p is added.
    pub u: Option<&'a [f64]>,
}

/// Returns Z and ln p `[V]`.
pub fn log_softmax<S: Scalar>(logits: &[S]) -> (S, Vec<S>) {
    let largest = S::from_f64(logits.iter().map(|l| l.value()).fold(f64::NEG_INFINITY, f64::max));
    let mut total = S::from_f64(0.0);
    for &l in logits {
        total += (l - largest).exp();
    }
    let z = largest + total.ln();
    (z, logits.iter().map(|&l| l - z).collect())
}

/// Returns the scalar of one row of logits `[V]`.
pub fn observe<S: Scalar>(logits: &[S], terms: &Observe<'_>) -> S {
    let (z, log_p) = log_softmax(logits);
    let constant = S::from_f64;
    let mut j = constant(terms.log_sum_exp) * z;
    for (i, &l) in log_p.iter().enumerate() {
        let p = l.exp();
        j += constant(terms.log_p) * p * l;
        if let Some(u) = terms.u {
            j += p * constant(u[i]);
        }
        if let Some(log_b) = terms.log_b {
            let (b, apart) = (constant(log_b[i].exp()), l - constant(log_b[i]));
            j += constant(terms.to_base) * p * apart - constant(terms.from_base) * b * apart;
        }
    }
    j
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn known_scalars() {
        // p = (1/4, 3/4), b = (1/2, 1/2).
        let (logits, log_b) = ([1.0, 1.0 + 3f64.ln()], [0.5f64.ln(); 2]);
        let of = |terms: Observe<'_>| observe(&logits, &terms);
        let (p, q) = (0.25f64, 0.75f64);
        let base = Observe { log_b: Some(&log_b), ..Default::default() };
        for (got, want) in [
            (of(Observe { log_sum_exp: 1.0, ..base }), 1.0 + 4f64.ln()),
            (of(Observe { log_p: -1.0, ..base }), -(p * p.ln() + q * q.ln())),
            (of(Observe { to_base: 1.0, ..base }), p * (2.0 * p).ln() + q * (2.0 * q).ln()),
            (of(Observe { from_base: 1.0, ..base }), -0.5 * ((2.0 * p).ln() + (2.0 * q).ln())),
            (of(Observe { u: Some(&[0.0, 2.0]), ..base }), 1.5),
        ] {
            check::close(&[got], &[want], 1e-14);
        }
    }

    #[test]
    fn derivatives() {
        let log_b = log_softmax(&check::numbers(2, 7)).1;
        let u = check::numbers(3, 7);
        let terms = Observe {
            log_sum_exp: 0.5,
            log_p: -0.75,
            to_base: 1.25,
            from_base: 0.25,
            log_b: Some(&log_b),
            u: Some(&u),
        };
        check::derivatives(&check::numbers(1, 7), |x| vec![observe(x, &terms)]);
    }
}
