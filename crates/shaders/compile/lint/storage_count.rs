//! No entry uses more storage buffers than every device supports.

use super::rule::{Lint, Subject};
use crate::compile::problem::Problem;
use naga::AddressSpace;

const MOST: usize = 8;

pub(super) const LINT: Lint = Lint {
    name: "storage_count",
    summary: "an entry uses at most 8 storage buffers",
    reason: "that is WebGPU's default limit (maxStorageBuffersPerShaderStage)",
    check,
};

fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let points = subject.module.entry_points.iter().enumerate();
    points
        .filter_map(|(index, point)| {
            let info = subject.info.get_entry_point(index);
            let used = subject
                .module
                .global_variables
                .iter()
                .filter(|(handle, variable)| {
                    matches!(variable.space, AddressSpace::Storage { .. }) && !info[*handle].is_empty()
                })
                .count();
            (used > MOST).then(|| {
                let message = format!("`{}` uses {used} storage buffers", point.name);
                Problem::new(&subject.source.path, 0, message)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::rule::findings, LINT};

    fn with(count: u32) -> Vec<String> {
        let mut text = String::new();
        let mut body = String::new();
        for slot in 1..=count {
            text += &format!("@group(0) @binding({slot}) var<storage, read_write> b{slot}: array<f32>;\n");
            body += &format!("b{slot}[0] = 1.0; ");
        }
        text += &format!("@compute @workgroup_size(1) fn primal() {{ {body} }}\n");
        findings(&LINT, &text)
    }

    #[test]
    fn a_ninth_buffer_is_found() {
        assert!(with(8).is_empty());
        assert!(with(9)[0].contains("`primal` uses 9 storage buffers"));
    }
}
