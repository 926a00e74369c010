//! What may stand in files that are imported: no bindings and no entries.

use super::header;
use crate::compile::{assemble::Source, problem::Problem};

/// An imported file shows its names to whoever imports it; bindings and entry points would be hidden there.
pub(super) fn check(source: &Source) -> Vec<Problem> {
    let mut problems = header::check(&source.path, &source.text);
    for (number, line) in (1..).zip(source.text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        for word in ["@binding(", "@compute"] {
            if code.contains(word) {
                let message = format!("an imported file has no `{word}`: bindings and entries stay in the shader");
                problems.push(Problem::new(&source.path, number, message));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::compile::assemble::Source;

    #[test]
    fn bindings_and_entries_are_found() {
        let text =
            "// head\n@group(0) @binding(1) var<storage> x: array<f32>;\n@compute @workgroup_size(1) fn f() {}\n";
        let source = Source { name: "l".into(), path: "shaders/lib/l.wgsl".into(), text: text.into() };
        let found: Vec<String> = check(&source).iter().map(ToString::to_string).collect();
        assert!(found[0].starts_with("shaders/lib/l.wgsl:2: "), "{found:?}");
        assert!(found[1].starts_with("shaders/lib/l.wgsl:3: "), "{found:?}");
        let helper = Source { text: "// head\nfn f() {}\n".into(), ..source };
        assert!(check(&helper).is_empty());
    }
}
