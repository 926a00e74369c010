//! The check of all kernels, as it runs in a browser: it launches every variant of every kernel, or says why not.

use resolvent::engine::{Choice, Options};
use resolvent::kernel_check::{NOT_LAUNCHED, check_kernels};
use resolvent_ops::kernels;
use resolvent_tests::gpus;

#[test]
fn every_variant_is_compared_or_has_a_reason() {
    for on in gpus() {
        let options = Options::new(Choice::Name(on.device().info().name.clone()));
        let mut steps = Vec::new();
        let check = check_kernels(&options, &mut |step| steps.push(step.to_owned())).expect("runs");
        let wrong: Vec<_> = check.compared.iter().filter(|kernel| !kernel.is_right()).collect();
        assert!(check.is_right() && wrong.is_empty(), "{}: {wrong:?}", on.name());
        let gaps: Vec<_> = check.left_out.iter().filter(|left| left.reason == NOT_LAUNCHED).collect();
        assert!(gaps.is_empty(), "{}: {gaps:?}", on.name());
        let variants: usize = kernels().iter().map(|kernel| kernel.shader.variants.len()).sum();
        assert_eq!(check.compared.len() + check.left_out.len(), variants);
        // The default variants need nothing of a device.
        let base = |kernel: &&&'static str| check.compared.iter().any(|k| k.kernel == **kernel && k.variant == "base");
        let names: Vec<&'static str> = kernels().iter().map(|kernel| kernel.name()).collect();
        assert_eq!(names.iter().filter(base).count(), names.len());
        assert_eq!(steps[0], "base");
        let json = check.to_json();
        assert_eq!(json["compared"].as_array().map(Vec::len), Some(check.compared.len()));
        assert!(json["left_out"][0]["reason"].is_string() && json["bound"].is_number());
    }
}
