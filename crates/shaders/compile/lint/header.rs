//! Every file opens with a comment on its purpose.

use super::rule::Lint;
use crate::compile::problem::Problem;

pub(super) const LINT: Lint = Lint {
    name: "header",
    summary: "a shader file opens with a comment: the formula, the parallel layout, why it is fast, what it replaces",
    reason: "the code alone does not explain these",
    check: |subject| check(&subject.source.path, &subject.source.text),
};

pub(super) fn check(path: &str, file: &str) -> Vec<Problem> {
    let has_words = text(file).lines().any(|line| line.contains(char::is_alphabetic));
    if has_words { Vec::new() } else { vec![Problem::new(path, 1, "this file does not open with a comment")] }
}

/// Returns the comment at the top of a file, without its slashes.
pub(crate) fn text(file: &str) -> String {
    let comment = file.lines().map_while(|line| line.strip_prefix("//"));
    comment.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::{super::rule::findings, LINT, text};

    #[test]
    fn a_file_without_a_header_is_found() {
        assert!(findings(&LINT, "const X: u32 = 1u;\n")[0].starts_with("shaders/ops/x.wgsl:1: this file does not"));
        assert_eq!(findings(&LINT, "//\n// ----\nconst X: u32 = 1u;\n// late\n").len(), 1);
        assert!(findings(&LINT, "// y = x\nconst X: u32 = 1u;\n").is_empty());
    }

    #[test]
    fn the_header_ends_at_the_first_line_of_code() {
        assert_eq!(text("// a\n//   b\n//\nx\n// c\n"), "a\n  b\n\n");
    }
}
