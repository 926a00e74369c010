//! `arm`: the tests of the host executor for 64-bit Arm, run under QEMU.

use crate::{
    Verb,
    process::{Result, need, run},
    toolchain::Toolchain,
};

pub(crate) const VERB: Verb = Verb {
    name: "arm",
    summary: "build for 64-bit Arm (target/arm) and run unit tests, kernels and goldens of the host executor under QEMU [FILTER ...]",
    takes_arguments: true,
    run: arm,
};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Runs programs of the target, with the libraries where Debian has them.
const RUNNER: &str = "qemu-aarch64 -L /usr/aarch64-linux-gnu";

/// Tests of the suite that run without a filter: every kernel, and models against references.
const FILTERS: [&str; 3] = ["kernels::", "model::goldens", "model::families"];

/// Packages whose tests are of tools, Python or browsers.
const WITHOUT: [&str; 4] = ["xtask", "resolvent-benches", "resolvent-python", "resolvent-web"];

fn arm(filters: &[String]) -> Result {
    need("aarch64-linux-gnu-gcc", &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])?;
    need("qemu-aarch64", &["qemu-user"])?;
    let toolchain = Toolchain::find(TARGET)?;
    let given: Vec<&str> = filters.iter().map(String::as_str).collect();
    let of_suite = if given.is_empty() { FILTERS.to_vec() } else { given.clone() };
    let without = WITHOUT.iter().flat_map(|package| ["--exclude", package]);
    let what: Vec<&str> = ["test", "--workspace", "--quiet"].into_iter().chain(without).collect();
    for (part, filters) in [(&["--lib"][..], given), (&["--test", "all"], of_suite)] {
        let mut test = toolchain.cargo(&[&what[..], part].concat(), "target/arm");
        test.arg("--").args(filters);
        for (name, value) in [
            ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
            ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", RUNNER),
            ("CARGO_PROFILE_TEST_DEBUG", "0"),
            // There is no adapter under QEMU.
            ("RESOLVENT_TEST_DEVICES", "host"),
            ("RESOLVENT_DEVICE", "host"),
        ] {
            test.env(name, value);
        }
        run(&mut test)?;
    }
    Ok(())
}
