//! No workgroup exceeds the limits that every device supports.

use super::rule::{Lint, Subject};
use crate::compile::problem::Problem;
use naga::{AddressSpace, ShaderStage, back::PipelineConstants, back::pipeline_constants::process_overrides};

const MOST_BYTES: u32 = 16 * 1024;
const MOST_INVOCATIONS: u32 = 256;
const MOST_DEEP: u32 = 64;

pub(super) const LINT: Lint = Lint {
    name: "workgroup",
    summary: "at the defaults of its overrides an entry has at most 256 invocations (64 in z) and 16 KiB of \
              workgroup memory",
    reason: "those are WebGPU's default limits, and a device without tuning runs the defaults",
    check,
};

fn check(subject: &Subject<'_>) -> Vec<Problem> {
    subject.module.entry_points.iter().filter_map(|point| check_entry(subject, &point.name)).collect()
}

fn check_entry(subject: &Subject<'_>, entry: &str) -> Option<Problem> {
    let problem = |message: String| Some(Problem::new(&subject.source.path, 0, message));
    // This rule cannot check an override without a default, so it uses the least value.
    let constants: PipelineConstants = subject
        .module
        .overrides
        .iter()
        .filter(|(_, constant)| constant.init.is_none())
        .filter_map(|(_, constant)| constant.name.clone().map(|name| (name, 1.0)))
        .collect();
    let resolved = process_overrides(subject.module, subject.info, Some((ShaderStage::Compute, entry)), &constants);
    let module = match resolved {
        Ok((module, _)) => module,
        Err(error) => return problem(format!("the overrides of `{entry}` cannot be resolved: {error}")),
    };
    // Resolving leaves the other entries in the module if there is no override to resolve.
    let index = module.entry_points.iter().position(|point| point.name == entry)?;
    let [x, y, z] = module.entry_points[index].workgroup_size;
    if x.saturating_mul(y).saturating_mul(z) > MOST_INVOCATIONS || z > MOST_DEEP {
        return problem(format!("`{entry}` has a workgroup of {x} x {y} x {z}"));
    }
    // The arenas of both modules differ if unused variables were dropped, so usage is looked up by name.
    let used = used_workgroup_variables(subject, entry);
    let bytes: u32 = module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup && used.contains(&variable.name.as_deref()))
        .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
        .sum();
    if bytes > MOST_BYTES {
        return problem(format!("`{entry}` uses {bytes} bytes of workgroup memory"));
    }
    None
}

fn used_workgroup_variables<'a>(subject: &'a Subject<'_>, entry: &str) -> Vec<Option<&'a str>> {
    let Some(index) = subject.module.entry_points.iter().position(|point| point.name == entry) else {
        return Vec::new();
    };
    let info = subject.info.get_entry_point(index);
    let variables = subject.module.global_variables.iter();
    variables.filter(|(handle, _)| !info[*handle].is_empty()).map(|(_, variable)| variable.name.as_deref()).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::rule::findings, LINT};

    #[test]
    fn too_much_memory_is_found_at_the_defaults() {
        let text = |words: u32| {
            format!(
                "override N: u32 = {words}u;\nvar<workgroup> s: array<f32, N>;\nvar<workgroup> unused: array<f32, 9999>;\n\
                 @compute @workgroup_size(64) fn primal() {{ s[0] = 1.0; }}\n"
            )
        };
        assert!(findings(&LINT, &text(4096)).is_empty());
        assert!(findings(&LINT, &text(4097))[0].contains("`primal` uses 16388 bytes of workgroup memory"));
    }

    #[test]
    fn too_many_invocations_are_found() {
        let text =
            |size: &str| format!("override WG: u32 = 32u;\n@compute @workgroup_size({size}) fn primal() {{ }}\n");
        assert!(findings(&LINT, &text("WG, 8")).is_empty());
        assert!(findings(&LINT, &text("WG, 9"))[0].contains("a workgroup of 32 x 9 x 1"));
        assert!(findings(&LINT, &text("1, 1, 65"))[0].contains("a workgroup of 1 x 1 x 65"));
    }

    #[test]
    fn an_override_without_a_default_can_be_checked() {
        let text = "override D: u32;\n@compute @workgroup_size(1) fn primal() { var x = D; }\n";
        assert!(findings(&LINT, text).is_empty());
    }
}
