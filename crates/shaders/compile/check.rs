//! naga's word on an assembled text: parsed, validated, and every complaint led back to the file it is about.

use super::{assemble::Assembled, manifest::Switches, problem::Problem};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

/// Parses and validates, allowing only what the variant's features give.
pub(crate) fn check(assembled: &Assembled, switches: &Switches) -> Result<(naga::Module, ModuleInfo), Problem> {
    let module = naga::front::wgsl::parse_str(&assembled.text).map_err(|error| {
        let labels: Vec<(naga::Span, String)> = error.labels().map(|(span, text)| (span, text.to_owned())).collect();
        let notes = error.notes().map(|note| format!("note: {note}")).collect();
        render(assembled, error.message(), &labels, notes)
    })?;
    let info = validator(switches).validate(&module).map_err(|error| {
        // The outermost message says what is wrong, the innermost why: "Function [0] 'f' is invalid: the types differ".
        let mut message = error.as_inner().to_string();
        let mut causes = Vec::new();
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error.as_inner());
        while let Some(next) = cause {
            causes.push(next.to_string());
            cause = next.source();
        }
        if let Some(innermost) = causes.pop() {
            message = format!("{message}: {innermost}");
        }
        let labels: Vec<_> = error.spans().cloned().collect();
        let notes = causes.iter().map(|cause| format!("because: {cause}")).collect();
        render(assembled, &message, &labels, notes)
    })?;
    Ok((module, info))
}

fn validator(switches: &Switches) -> Validator {
    // Unpacking half floats kept in words is core WGSL and needs no feature of the device.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SHADER_FLOAT16, switches.f16());
    capabilities.set(Capabilities::SUBGROUP, switches.subgroup());
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, switches.cooperative());
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    if switches.subgroup() {
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    }
    validator
}

fn render(assembled: &Assembled, message: &str, labels: &[(naga::Span, String)], notes: Vec<String>) -> Problem {
    let place = |span: naga::Span| {
        let location = span.location(&assembled.text);
        let (file, line) = assembled.lines.locate(location.line_number);
        let text = assembled.text.lines().nth(location.line_number as usize - 1).unwrap_or_default();
        (file, line, location.line_position, text)
    };
    // naga puts the offending part first when parsing, and last, after what contains it, when validating; the latter
    // is found by the shortest span.
    let primary = labels
        .iter()
        .filter(|(span, _)| span.is_defined())
        .min_by_key(|(span, _)| span.to_range().map_or(usize::MAX, |range| range.len()));
    let Some((span, _)) = primary else {
        return Problem { details: notes, ..Problem::new(&assembled.path, 0, message) };
    };
    let (file, line, ..) = place(*span);
    let mut problem = Problem::new(file, line, message);
    for (span, label) in labels.iter().filter(|(span, _)| span.is_defined()) {
        let (file, line, column, text) = place(*span);
        problem = problem.detail(format!("{file}:{line}:{column}: {label}")).detail(format!("  | {}", text.trim_end()));
    }
    problem.details.extend(notes);
    problem
}
