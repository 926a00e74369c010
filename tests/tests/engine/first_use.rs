//! Kernels are tested before their first use: a wrong one gives no number, whether it is launched first or later.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use resolvent_engine::{Device, Error, Kernel, Launch, Options, Result};
use resolvent_shaders as shaders;
use resolvent_tests::{Subject, gpus};

use super::kernel::kernel;
use super::with;

/// Defines a kernel that is to fill `y` with 2, and whose WGSL has this body.
macro_rules! twos {
    ($name:ident, $shader:literal, $body:literal) => {
        kernel!(
            $name,
            $shader,
            16,
            concat!(
                "@group(0) @binding(1) var<storage, read_write> y: array<f32>;\n",
                "@compute @workgroup_size(64)\n",
                "fn primal(@builtin(local_invocation_index) lane: u32) { ",
                $body,
                " }\n"
            ),
            &[shaders::Run { start: 1, file: "shaders/ops/two.wgsl", line: 1 }],
            |bound| {
                let ([], [y]) = bound.slices::<0, 1>();
                y.fill(2.0);
            }
        );
    };
}

twos!(RIGHT, "right", "y[lane] = 2.0;");
twos!(WRONG, "wrong", "y[lane] = 2.0 + select(0.0, 1e-3, lane == 40u);");
twos!(IDLE, "idle", "if (lane > 0u) { y[lane] = 2.0; }");
twos!(REFUSED, "refused", "y[lane] = missing;");

/// Launches kernels in one submission, and returns what the last one has written.
fn launched(device: &Device, kernels: &[&'static Kernel]) -> Result<Vec<f32>> {
    let mut rec = device.record();
    let mut last = rec.tensor("y", &[("n", 64)])?;
    for kernel in kernels {
        last = rec.tensor("y", &[("n", 64)])?;
        rec = with(rec, Launch::new(kernel, [0u32; 4], &[&last], [1, 1, 1]))?;
    }
    device.submit(rec)?;
    device.read(&last)
}

/// Returns a device that tests these kernels, and the count of their tests.
fn guarded(on: &Subject, cache: Option<&Path>, kernels: &[&'static Kernel]) -> (Device, Arc<AtomicUsize>) {
    let on = on.again(Options { cache: cache.map(ToOwned::to_owned), ..Options::default() });
    let (kernels, count) = (kernels.to_vec(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    on.device().test_kernels(1e-5, move |tests| {
        counted.fetch_add(tests.missing().len(), Ordering::Relaxed);
        launched(&tests.device(Vec::new()), &kernels).map(drop).map_err(|error| error.to_string())
    });
    (on.device().clone(), count)
}

const ALL: [&Kernel; 4] = [&RIGHT, &WRONG, &IDLE, &REFUSED];

#[test]
fn a_wrong_kernel_is_refused_first_and_later() {
    for on in gpus() {
        for (wrong, found) in [(&WRONG, "wrong.primal base, [n=64]: differs"), (&IDLE, "differs"), (&REFUSED, "")] {
            let is_refused = |device: &Device, kernels: &[&'static Kernel]| {
                let error = launched(device, kernels).expect_err("a kernel is wrong");
                assert!(matches!(error, Error::WrongKernel { .. }), "{error}");
                let text = error.to_string();
                assert!(text.contains("fails its self-test (") && text.contains(found), "{text}");
                assert!(text.ends_with("; update its driver, or use `--device host`"), "{text}");
                assert_eq!(device.failed_test().map(|error| error.to_string()), Some(text));
            };
            let (first, _) = guarded(on, None, &ALL);
            is_refused(&first, &[wrong]);
            is_refused(&first, &[&RIGHT, wrong, &RIGHT]);

            let (later, count) = guarded(on, None, &ALL);
            for _ in 0..2 {
                assert_eq!(launched(&later, &[&RIGHT]), Ok(vec![2.0; 64]), "{}", on.name());
            }
            assert_eq!((later.failed_test(), count.load(Ordering::Relaxed)), (None, 1));
            is_refused(&later, &[wrong]);
            assert_eq!(launched(&later, &[&RIGHT]), Ok(vec![2.0; 64]), "{}", on.name());
        }
        // Without the test, the wrong number is there.
        assert_eq!(launched(on.device(), &[&WRONG]).expect("runs")[40], 2.001);
    }
}

#[test]
fn kernels_without_a_test_are_refused() {
    for on in gpus() {
        let (device, _) = guarded(on, None, &[&RIGHT]);
        let text = launched(&device, &[&RIGHT, &IDLE]).expect_err("has no test").to_string();
        assert!(text.contains("nothing tests the kernel idle.primal base"), "{text}");
        let failing = on.again(Options::default());
        failing.device().test_kernels(1e-5, |_| Err("no memory".to_owned()));
        let text = launched(failing.device(), &[&RIGHT]).expect_err("its test fails").to_string();
        assert!(text.contains("fails its self-test (no memory)"), "{text}");
    }
    let host = Device::host();
    host.test_kernels(1e-5, |_| Err("never called".to_owned()));
    assert_eq!(launched(&host, &[&RIGHT]), Ok(vec![2.0; 64]));
}

#[test]
fn later_processes_know_what_was_tested() {
    for on in gpus() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let counts = [1, 0].map(|tests| {
            let (device, count) = guarded(on, Some(folder.path()), &ALL);
            assert_eq!(launched(&device, &[&RIGHT]), Ok(vec![2.0; 64]), "{}", on.name());
            assert_eq!(count.load(Ordering::Relaxed), tests, "{}", on.name());
            // What fails is tested each time.
            launched(&device, &[&RIGHT, &WRONG]).expect_err("is wrong");
            count.load(Ordering::Relaxed)
        });
        assert_eq!(counts, [2, 1], "{}", on.name());
    }
}
