//! No subgroup operation requires a large subgroup, unless its variant declares that.

use super::rule::{Lint, Subject, each_statement};
use crate::compile::problem::Problem;
use naga::{Expression, Function, GatherMode, Handle, Literal, Module, Statement};

/// Lanes of the smallest subgroup of any device.
const SMALLEST: u32 = 4;

/// The number by which a variant declares how many lanes it needs; every launch checks it.
const LANES: &str = "LANES";

pub(super) const LINT: Lint = Lint {
    name: "subgroup",
    summary: "a constant lane, shift or mask of a subgroup operation is below the variant's LANES, or else below 4",
    reason: "subgroups have 4 lanes on SwiftShader, 8 on lavapipe, 32 on NVIDIA: LANES has to declare more than 4 \
             (floats as atomics need no rule: validation refuses them)",
    check,
};

fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let lanes = lanes(subject.module).unwrap_or(SMALLEST);
    for function in subject.functions() {
        each_statement(&function.body, &mut |statement, span| {
            let Statement::SubgroupGather { mode, .. } = statement else { return };
            let lane = match *mode {
                GatherMode::Broadcast(lane)
                | GatherMode::Shuffle(lane)
                | GatherMode::ShuffleDown(lane)
                | GatherMode::ShuffleUp(lane)
                | GatherMode::ShuffleXor(lane) => lane,
                GatherMode::BroadcastFirst | GatherMode::QuadBroadcast(_) | GatherMode::QuadSwap(_) => return,
            };
            let Some(lane) = constant(subject.module, function, lane).filter(|lane| *lane >= lanes) else {
                return;
            };
            problems.push(subject.problem(span, format!("a subgroup operation uses the constant lane {lane}")));
        });
    }
    problems
}

/// Returns the variant's `const LANES`, if it has one.
fn lanes(module: &Module) -> Option<u32> {
    let (_, lanes) = module.constants.iter().find(|(_, constant)| constant.name.as_deref() == Some(LANES))?;
    match module.global_expressions[lanes.init] {
        Expression::Literal(Literal::U32(lanes)) => Some(lanes),
        _ => None,
    }
}

fn constant(module: &Module, function: &Function, handle: Handle<Expression>) -> Option<u32> {
    let literal = match function.expressions[handle] {
        Expression::Literal(literal) => literal,
        Expression::Constant(constant) => match module.global_expressions[module.constants[constant].init] {
            Expression::Literal(literal) => literal,
            _ => return None,
        },
        _ => return None,
    };
    match literal {
        Literal::U32(value) => Some(value),
        Literal::I32(value) => u32::try_from(value).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rule::findings, LINT};

    fn with(call: &str) -> Vec<String> {
        let text = format!(
            "const LANE: u32 = 7u;\n@compute @workgroup_size(32) fn primal(@builtin(subgroup_invocation_id) id: u32) {{\n\
               var x = f32(id);\n  if (id < 9u) {{\n    loop {{\n x = {call};\n break; }}\n  }}\n}}\n"
        );
        findings(&LINT, &text)
    }

    #[test]
    fn a_lane_that_a_small_subgroup_lacks_is_found() {
        assert!(with("subgroupBroadcast(x, 4u)")[0].starts_with("shaders/ops/x.wgsl:6: "));
        assert!(with("subgroupBroadcast(x, LANE)")[0].contains("the constant lane 7"));
        assert!(with("subgroupShuffle(x, 5u)")[0].contains("the constant lane 5"));
        assert!(with("subgroupShuffleXor(x, 8u)")[0].contains("the constant lane 8"));
        assert!(with("subgroupShuffleDown(x, 16u)")[0].contains("the constant lane 16"));
    }

    #[test]
    fn a_variant_may_use_its_declared_lanes() {
        let text = |lane: u32| {
            format!(
                "const LANES: u32 = 8u;\n@compute @workgroup_size(8) fn primal(@builtin(subgroup_invocation_id) id: u32) {{\n\
                   var x = f32(id);\n  x = subgroupBroadcast(x, {lane}u);\n}}\n"
            )
        };
        assert!(findings(&LINT, &text(7)).is_empty());
        assert!(findings(&LINT, &text(8))[0].contains("the constant lane 8"));
    }

    #[test]
    fn small_lanes_and_computed_lanes_are_fine() {
        assert!(with("subgroupBroadcast(x, 3u)").is_empty());
        assert!(with("subgroupShuffle(x, id ^ 1u)").is_empty());
        assert!(with("subgroupBroadcastFirst(x) + subgroupAdd(x)").is_empty());
    }
}
