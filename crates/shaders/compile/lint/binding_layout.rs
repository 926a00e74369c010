//! One bind group, the params first.

use super::rule::{Lint, Subject};
use crate::compile::problem::Problem;
use naga::AddressSpace;

/// Slots are small numbers, so that a table over them stays small. Entries of one shader may use the same slot for
/// different buffers, and an entry may leave slots of its siblings out.
const HIGHEST_SLOT: u32 = 15;

pub(super) const LINT: Lint = Lint {
    name: "binding_layout",
    summary: "bindings are in group 0: the uniform is `p` at binding 0, storage buffers have bindings 1 to 15",
    reason: "the engine binds every kernel by this one layout",
    check,
};

fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (handle, variable) in subject.module.global_variables.iter() {
        let name = variable.name.as_deref().unwrap_or_default();
        let mut found = |message: String| {
            problems.push(subject.problem(subject.module.global_variables.get_span(handle), message));
        };
        let (uniform, storage) = match variable.space {
            AddressSpace::Uniform => (true, false),
            AddressSpace::Storage { .. } => (false, true),
            AddressSpace::WorkGroup | AddressSpace::Private => (false, false),
            _ => {
                found(format!("`{name}` is neither the uniform, nor storage, workgroup or private memory"));
                continue;
            }
        };
        let Some(place) = &variable.binding else { continue };
        if place.group != 0 {
            found(format!("`{name}` is in group {}", place.group));
        } else if uniform && (place.binding != 0 || name != "p") {
            found(format!("the uniform is `{name}` at binding {}", place.binding));
        } else if storage && !(1..=HIGHEST_SLOT).contains(&place.binding) {
            found(format!("the storage buffer `{name}` is at binding {}", place.binding));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{super::rule::findings, LINT};

    #[test]
    fn other_layouts_are_found() {
        let storage =
            |group: u32, slot: u32| format!("@group({group}) @binding({slot}) var<storage, read> x: array<f32>;\n");
        assert!(findings(&LINT, &storage(1, 1))[0].contains("`x` is in group 1"));
        assert!(findings(&LINT, &storage(0, 0))[0].contains("the storage buffer `x` is at binding 0"));
        assert!(findings(&LINT, &storage(0, 16))[0].contains("at binding 16"));
        let uniform = |slot: u32, name: &str| {
            format!("struct S {{ n: u32 }}\n@group(0) @binding({slot}) var<uniform> {name}: S;\n")
        };
        assert!(findings(&LINT, &uniform(1, "p"))[0].contains("the uniform is `p` at binding 1"));
        assert!(findings(&LINT, &uniform(0, "q"))[0].starts_with("shaders/ops/x.wgsl:2: the uniform is `q`"));
        let sampler = "@group(0) @binding(1) var s: sampler;\n";
        assert!(findings(&LINT, sampler)[0].contains("`s` is neither"));
    }

    #[test]
    fn the_one_layout_is_fine() {
        let text = "struct S { n: u32 }\n@group(0) @binding(0) var<uniform> p: S;\n\
                    @group(0) @binding(3) var<storage, read> x: array<f32>;\nvar<workgroup> w: array<f32, 4>;\n\
                    var<private> v: f32;\n";
        assert!(findings(&LINT, text).is_empty());
    }
}
