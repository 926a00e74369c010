//! No built-in `tanh`.

use super::rule::{Lint, Subject};
use crate::compile::problem::Problem;
use naga::{Expression, MathFunction};

pub(super) const LINT: Lint = Lint {
    name: "tanh",
    summary: "a shader uses `tanh_safe` of shaders/lib/math.wgsl instead of the built-in `tanh`",
    reason: "WGSL lets the built-in err by 1e-5, and some drivers return NaN for large arguments",
    check,
};

fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for function in subject.functions() {
        for (handle, expression) in function.expressions.iter() {
            if matches!(expression, Expression::Math { fun: MathFunction::Tanh, .. }) {
                problems.push(subject.problem(function.expressions.get_span(handle), "the built-in `tanh` is used"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{super::rule::findings, LINT};

    #[test]
    fn tanh_is_found_in_helpers_and_entries() {
        let helper = "// head\nfn f(x: f32) -> f32 {\n  return tanh(x);\n}\n";
        assert!(findings(&LINT, helper)[0].starts_with("shaders/ops/x.wgsl:3: the built-in `tanh` is used"));
        let entry = "@compute @workgroup_size(1) fn primal() { var x = 1.0; let y = tanh(x); }\n";
        assert_eq!(findings(&LINT, entry).len(), 1);
        assert!(findings(&LINT, "fn tanh_safe(x: f32) -> f32 { return exp(x); }\n").is_empty());
    }
}
