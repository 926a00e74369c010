//! Gauss-Legendre rules on (0, 1), each with an embedded rule that estimates its error.
//!
//! The n nodes integrate polynomials up to degree 2n - 1 exactly. The embedded rule takes every second node, with the
//! weights that integrate all polynomials of lower degree than it has nodes. It needs no further values of the
//! integrand. Its distance from the full rule estimates the error of the full rule; it is no bound.

use std::f64::consts::PI;

use crate::error::{Error, Result};

/// The most nodes of a secant response.
const MOST: usize = 16;

/// Returns an error if a secant response is to have too many nodes.
pub(crate) fn check_nodes(n: usize) -> Result<()> {
    match n {
        0..=MOST => Ok(()),
        _ => Err(Error::Input(format!("{n} nodes of a secant: give at most {MOST}"))),
    }
}

/// A rule: its nodes, ascending, with the weights of the rule and of its embedded rule.
pub(crate) struct Rule {
    /// Node, weight, and weight in the embedded rule (0 at nodes that it leaves out).
    pub(crate) nodes: Vec<[f64; 3]>,
}

impl Rule {
    /// Returns the rule with n nodes. With one node, the embedded rule is the rule itself.
    pub(crate) fn new(n: usize) -> Self {
        let of: Vec<[f64; 2]> = (0..n).rev().map(|i| node(n, i)).collect();
        let embedded: Vec<f64> = of.iter().step_by(2).map(|node| node[0]).collect();
        // The rule itself integrates the Lagrange polynomials of the embedded nodes exactly.
        let weight = |j: usize| -> f64 {
            let basis = |x: f64| -> f64 {
                let others = embedded.iter().enumerate().filter(|(k, _)| *k != j);
                others.map(|(_, other)| (x - other) / (embedded[j] - other)).product()
            };
            of.iter().map(|[x, w]| w * basis(*x)).sum()
        };
        let nodes = of.iter().enumerate();
        let nodes = nodes.map(|(i, &[x, w])| [x, w, if i % 2 == 0 { weight(i / 2) } else { 0.0 }]).collect();
        Self { nodes }
    }
}

/// Returns the i-th node from the right of the rule with n nodes, and its weight.
fn node(n: usize, i: usize) -> [f64; 2] {
    let mut x = (PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
    let mut slope = 1.0;
    // Newton's method doubles the digits of a start that has two.
    for _ in 0..8 {
        let (mut before, mut p) = (1.0, x);
        for k in 2..=n {
            let k = k as f64;
            (before, p) = (p, ((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k);
        }
        slope = n as f64 * (x * p - before) / (x * x - 1.0);
        x -= p / slope;
    }
    [(x + 1.0) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Integrates `x^power` by the rule, and by its embedded rule.
    fn integrals(n: usize, power: i32) -> [f64; 2] {
        let rule = Rule::new(n);
        [1, 2].map(|which| rule.nodes.iter().map(|node| node[which] * node[0].powi(power)).sum())
    }

    #[test]
    fn polynomials_are_integrated_exactly() {
        for n in [1, 2, 3, 4, 7, 16, 64] {
            let rule = Rule::new(n);
            assert!(rule.nodes.is_sorted_by(|a, b| a[0] < b[0]) && rule.nodes[0][0] > 0.0, "{n}");
            for power in 0..(2 * n) as i32 {
                let [full, embedded] = integrals(n, power);
                let exact = 1.0 / (f64::from(power) + 1.0);
                assert!((full - exact).abs() < 1e-13, "{n} nodes, power {power}: {full} instead of {exact}");
                if (power as usize) < n.div_ceil(2) {
                    assert!((embedded - exact).abs() < 1e-9, "{n} nodes, power {power}: {embedded}");
                }
            }
        }
    }

    /// A rule is not exact beyond its degree, and its embedded rule is farther off.
    #[test]
    fn the_embedded_rule_shows_the_error() {
        for n in [2, 3, 4, 5] {
            let power = 2 * n as i32;
            let ([full, embedded], exact) = (integrals(n, power), 1.0 / (f64::from(power) + 1.0));
            assert!((full - exact).abs() > 1e-9, "{n}");
            assert!((full - embedded).abs() > (full - exact).abs(), "{n}: {full}, {embedded}, {exact}");
        }
    }
}
