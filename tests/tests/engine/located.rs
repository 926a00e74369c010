//! An error in a kernel's WGSL names the file and line where it was written, not the line of the assembled text.

use resolvent_engine::{Error, Kernel, Launch};
use resolvent_shaders as shaders;
use resolvent_tests::gpus;

use super::kernel::kernel;
use super::{filled, with};

/// Line 5 of the assembled text, with an identifier that is not declared, is line 41 of the second file.
const UNDECLARED: &str = "\
const WG: u32 = 64u;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn primal(@builtin(local_invocation_index) lane: u32) {
    y[lane] = missing;
}
";

/// The same place, where every name is known and the types do not fit.
const MISTYPED: &str = "\
const WG: u32 = 64u;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn primal(@builtin(local_invocation_index) lane: u32) {
    y[lane] = lane;
}
";

const LINES: &[shaders::Run] = &[
    shaders::Run { start: 1, file: "shaders/lib/sizes.wgsl", line: 7 },
    shaders::Run { start: 2, file: "shaders/ops/broken.wgsl", line: 38 },
];

kernel!(NAMES, "broken_names", 0, UNDECLARED, LINES, |_| {});
kernel!(TYPES, "broken_types", 0, MISTYPED, LINES, |_| {});

#[test]
fn an_error_in_the_wgsl_names_file_and_line() {
    for on in gpus() {
        let device = on.device();
        for (kernel, part) in [(&NAMES, "missing"), (&TYPES, "")] {
            // The second launch finds the broken module in the cache.
            for _ in 0..2 {
                let y = filled(device, "y", 64, 0.0);
                let rec = with(device.record(), Launch::new(kernel, [0u32; 0], &[&y], [1, 1, 1]));
                let error = device.submit(rec.expect("it fits")).expect_err("the kernel is broken");
                let Error::Validation { what, reason } = &error else { panic!("{error}") };
                assert_eq!(what, kernel.name());
                assert!(reason.starts_with("shaders/ops/broken.wgsl:41: "), "{reason}");
                assert!(reason.contains(part) && !reason.contains(['\n', '│']), "{reason}");
            }
        }
    }
}
