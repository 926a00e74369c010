//! Translates every kernel to every shading language of the supported devices.
//!
//! The build has validated the WGSL, but not its translations. A combination of overrides, f16 and subgroup operations
//! that works on Vulkan may fail on Metal or DX12. A developer with only one of the three would not see the failure.

mod golden;

use crate::process::Result;
use naga::{
    Module, ShaderStage,
    back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator},
};
use resolvent_shaders::{ALL, Features, Kernel, Variant};

/// A kernel in all shading languages.
#[derive(Debug, PartialEq)]
pub(crate) struct Translated {
    pub(crate) spirv: Vec<u32>,
    pub(crate) msl: String,
    /// `None` for cooperative matrices.
    pub(crate) hlsl: Option<String>,
}

/// Translates all kernels, reports every failure, and prints a summary of one line. Then compares the hashes with the
/// committed ones, or replaces these.
pub(crate) fn translate(renew: bool) -> Result {
    let mut lines = Vec::new();
    let mut failures = 0;
    for kernel in ALL {
        for variant in kernel.variants {
            match translate_one(kernel, variant) {
                Ok(translated) => lines.push(golden::Line::new(kernel.name, variant.name, &translated)),
                Err(message) => {
                    failures += 1;
                    eprintln!("{} ({}): {message}", kernel.name, variant.name);
                }
            }
        }
    }
    let kernels = ALL.len();
    eprintln!(
        "shaders: {kernels} kernels, {} with their variants in SPIR-V, MSL and \
         (except cooperative matrices) HLSL, {failures} failed",
        lines.len()
    );
    if failures > 0 {
        return Err(format!("{failures} kernels cannot be translated"));
    }
    if renew { golden::write(&lines) } else { golden::compare(&lines) }
}

fn translate_one(kernel: &Kernel, variant: &Variant) -> Result<Translated> {
    // An override without a default must be set; any value is good enough for a translation.
    let unset = kernel.overrides.iter().filter(|constant| constant.default.is_none());
    let constants = unset.map(|constant| (constant.name.to_owned(), 1.0)).collect();
    translate_source(variant.source, kernel.entry, variant.features, &constants)
}

fn translate_source(
    source: &str,
    entry: &str,
    features: Features,
    constants: &PipelineConstants,
) -> Result<Translated> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| show("WGSL", &error))?;
    let info = validator(features).validate(&module).map_err(|error| show("WGSL", &error))?;
    let stage = ShaderStage::Compute;
    let (module, info) = process_overrides(&module, &info, Some((stage, entry)), constants)
        .map_err(|error| show("overrides", &error))?;
    let point = (stage, entry.to_owned());
    let spirv = to_spirv(&module, &info, entry, features).map_err(|error| show("SPIR-V", &error))?;
    let msl = to_msl(&module, &info, point.clone())?;
    // wgpu offers cooperative matrices on Vulkan and Metal only, and naga's HLSL writer does not support them.
    let hlsl = match features.cooperative {
        true => None,
        false => Some(to_hlsl(&module, &info, point, features).map_err(|error| show("HLSL", &error))?),
    };
    Ok(Translated { spirv, msl, hlsl })
}

/// Formats an error with all its causes in one line.
fn show(what: &str, error: &dyn std::error::Error) -> String {
    let mut message = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(next) = cause {
        message = format!("{message}: {next}");
        cause = next.source();
    }
    message
}

fn validator(features: Features) -> Validator {
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SHADER_FLOAT16, features.f16);
    capabilities.set(Capabilities::SUBGROUP, features.subgroup);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, features.cooperative);
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    if features.subgroup {
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    }
    validator
}

/// The policies that wgpu uses: an index out of range is restricted to the buffer.
const BOUNDS: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Restrict,
    buffer: BoundsCheckPolicy::Restrict,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

fn to_spirv(
    module: &Module,
    info: &ModuleInfo,
    entry: &str,
    features: Features,
) -> std::result::Result<Vec<u32>, spv::Error> {
    let options = spv::Options {
        // SPIR-V 1.3, of Vulkan 1.1, is the oldest with subgroup operations; cooperative matrices need Vulkan 1.3.
        lang_version: if features.cooperative { (1, 6) } else { (1, 3) },
        bounds_check_policies: BOUNDS,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.to_owned() };
    spv::write_vec(module, info, &options, Some(&pipeline))
}

fn to_msl(module: &Module, info: &ModuleInfo, entry: (ShaderStage, String)) -> Result<String> {
    let options = msl::Options { lang_version: (2, 4), bounds_check_policies: BOUNDS, ..Default::default() };
    let pipeline = msl::PipelineOptions { entry_point: Some(entry), ..Default::default() };
    let written = msl::write_string(module, info, &options, &pipeline);
    let (text, report) = written.map_err(|error| show("MSL", &error))?;
    // The writer reports an entry that it cannot write in its output, and not as an error.
    for name in report.entry_point_names {
        name.map_err(|error| show("MSL", &error))?;
    }
    Ok(text)
}

fn to_hlsl(
    module: &Module,
    info: &ModuleInfo,
    entry: (ShaderStage, String),
    features: Features,
) -> std::result::Result<String, hlsl::Error> {
    let shader_model = match features {
        Features { f16: true, .. } => hlsl::ShaderModel::V6_2,
        Features { subgroup: true, .. } => hlsl::ShaderModel::V6_0,
        _ => hlsl::ShaderModel::V5_1,
    };
    let options = hlsl::Options { shader_model, ..Default::default() };
    let pipeline = hlsl::PipelineOptions { entry_point: Some(entry) };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBLE: &str = "override N: u32;\n@group(0) @binding(1) var<storage, read_write> x: array<f32>;\n\
        @compute @workgroup_size(N) fn primal(@builtin(global_invocation_id) i: vec3<u32>) { x[i.x] *= 2.0; }\n";

    #[test]
    fn a_valid_kernel_translates_to_all_three() {
        let constants = PipelineConstants::from_iter([("N".to_owned(), 64.0)]);
        let once = translate_source(DOUBLE, "primal", Features::default(), &constants).expect("translates");
        assert!(once.msl.contains("kernel void") && once.hlsl.as_ref().is_some_and(|text| text.contains("numthreads")));
        assert_eq!(translate_source(DOUBLE, "primal", Features::default(), &constants), Ok(once));
    }

    #[test]
    fn failures_name_the_step() {
        let none = PipelineConstants::default();
        let fails =
            |source: &str, entry: &str| translate_source(source, entry, Features::default(), &none).expect_err("fails");
        assert!(fails("fn f( {", "f").starts_with("WGSL: "));
        assert!(fails(DOUBLE, "primal").starts_with("overrides: "));
        let subgroup = "@compute @workgroup_size(32) fn primal() { _ = subgroupAdd(1.0); }";
        assert!(fails(subgroup, "primal").starts_with("WGSL: "));
        assert!(fails(&DOUBLE.replace("N: u32;", "N: u32 = 1u;"), "jvp").starts_with("SPIR-V: "));
    }
}
