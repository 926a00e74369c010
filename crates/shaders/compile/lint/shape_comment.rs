//! Every binding states its shape.

use super::rule::{Lint, Subject};
use crate::compile::problem::Problem;

pub(super) const LINT: Lint = Lint {
    name: "shape_comment",
    summary: "a binding's line ends in `// [rows, columns] …`, that of the uniform in `// params`",
    reason: "a kernel is read beside the shapes of its buffers, and WGSL has no other place for them",
    check,
};

fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(subject.source.text.lines()) {
        let (code, comment) = line.split_once("//").unwrap_or((line, ""));
        if !code.contains("@binding(") {
            continue;
        }
        let comment = comment.trim_start();
        if !comment.starts_with('[') && !comment.starts_with("params") {
            problems.push(Problem::new(&subject.source.path, number, "this binding does not tell its shape"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{super::rule::findings, LINT};

    #[test]
    fn a_binding_without_a_shape_is_found() {
        let text = "@group(0) @binding(1) var<storage, read> x: array<f32>; // the input\n";
        assert!(findings(&LINT, text)[0].starts_with("shaders/ops/x.wgsl:1: this binding does not tell its shape"));
        let bare = "\n@group(0) @binding(1) var<storage, read> x: array<f32>;\n";
        assert!(findings(&LINT, bare)[0].starts_with("shaders/ops/x.wgsl:2: "));
    }

    #[test]
    fn shapes_and_params_are_fine() {
        let text = "struct P { n: u32 }\n@group(0) @binding(0) var<uniform> p: P; // params\n\
                    @group(0) @binding(1) var<storage, read> x: array<f32>; // [rows, d]\n// not a @binding(2)\n";
        assert!(findings(&LINT, text).is_empty());
    }
}
