//! If a driver refuses a kernel, the error names the kernel, and the device remains usable.

use resolvent_engine::{Bound, Device, Error, Kernel, Launch};
use resolvent_ops::add::add;
use resolvent_shaders as shaders;
use resolvent_tests::gpus;

use super::{filled, with};

fn nothing(_: Bound<'_>) {}

/// Declares `add.primal` with one mistake.
fn declared(name: &'static str, wrong: impl FnOnce(&mut shaders::Kernel)) -> &'static Kernel {
    let good = &shaders::add::PRIMAL;
    let mut shader = shaders::Kernel {
        name,
        shader: good.shader,
        entry: good.entry,
        params_size: good.params_size,
        bindings: good.bindings,
        overrides: good.overrides,
        workgroup: good.workgroup,
        variants: good.variants,
    };
    wrong(&mut shader);
    Box::leak(Box::new(Kernel { shader: Box::leak(Box::new(shader)), host: nothing }))
}

fn refused(device: &Device, kernel: &'static Kernel, constants: &[(&'static str, f64)]) -> Error {
    let one = filled(device, "one", 64, 1.0);
    let rec = device.record();
    let y = rec.tensor("y", &[("n", 64)]).expect("small");
    let mut bindings = vec![&one; kernel.shader.bindings.len() - 1];
    bindings.push(&y);
    let launch = Launch::new(kernel, [64u32, 1, 0, 0], &bindings, [1, 1, 1]).constants(constants);
    let error = device.submit(with(rec, launch).expect("fits its own declaration"));
    assert!(matches!(device.read(&y), Err(Error::Buffer { .. })), "an unwritten buffer must not read as zeros");
    error.expect_err("the driver refuses it")
}

#[test]
fn a_refused_kernel_is_a_named_error() {
    const IMAGINED: shaders::Override =
        shaders::Override { name: "IMAGINED", kind: shaders::Scalar::U32, default: None };
    for on in gpus() {
        let entry = declared("add.imagined_entry", |shader| shader.entry = "imagined");
        let layout = declared("add.too_few", |shader| {
            shader.bindings = vec![shader.bindings[0], shader.bindings[2]].leak();
        });
        let constant = declared("add.imagined_constant", |shader| shader.overrides = &[IMAGINED]);
        for (kernel, constants) in [(entry, vec![]), (layout, vec![]), (constant, vec![("IMAGINED", 1.0)])] {
            match refused(on.device(), kernel, &constants) {
                Error::Validation { what, reason } => {
                    assert_eq!(what, kernel.name());
                    assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
                }
                other => panic!("{}: {}: {other}", on.name(), kernel.name()),
            }
        }
        // The device remains usable, and later submissions do not return the error again.
        let (mut rec, one) = (on.device().record(), filled(on.device(), "one", 64, 1.0));
        let two = add(&mut rec, &one, &one).expect("fits");
        on.device().submit(rec).expect("runs");
        assert_eq!(on.device().read(&two).expect("written"), vec![2.0; 64]);
    }
}

/// The launches of a segment share error scopes. The error names the one that the driver refuses.
#[test]
fn a_refused_launch_is_named_among_others() {
    // More than the device's buffer of parameters, which only the bind group shows.
    let large = declared("add.large_params", |shader| shader.params_size = 1 << 17);
    for on in gpus() {
        let device = on.device();
        let one = filled(device, "one", 64, 1.0);
        for _ in 0..2 {
            let mut rec = device.record();
            for block in 0..3 {
                rec.scope(format!("blocks.{block}"));
                let y = add(&mut rec, &one, &one).expect("fits");
                if block == 1 {
                    let mut launch = Launch::new(large, [64u32, 1, 0, 0], &[&one, &one, &y], [1, 1, 1]);
                    launch.params.resize(1 << 17, 0);
                    rec.launch(launch).expect("fits its own declaration");
                }
            }
            match device.submit(rec).expect_err("the driver refuses it") {
                Error::Validation { what, reason } => {
                    assert_eq!(what, "blocks.1:add.large_params", "{}: {reason}", on.name());
                    assert!(!reason.contains('\n'), "{reason}");
                }
                other => panic!("{}: {other}", on.name()),
            }
            let mut rec = device.record();
            let two = add(&mut rec, &one, &one).expect("fits");
            device.submit(rec).unwrap_or_else(|e| panic!("{}: the device is usable: {e}", on.name()));
            assert_eq!(device.read(&two).expect("written"), vec![2.0; 64]);
        }
    }
}

/// An error that the driver reports out of band, here for a write that is not a multiple of four bytes.
#[test]
fn a_refused_write_is_an_error() {
    for on in gpus() {
        let x = on.device().reserve("x", &[("n", 64)]).expect("small");
        let error = on.device().write(&x, 0, &[1, 2, 3]).expect_err("3 bytes are not words");
        assert!(matches!(error, Error::Validation { .. }), "{error}");
        on.device().write(&x, 0, &[0; 256]).expect("the device is usable");
        assert_eq!(on.device().read(&x).expect("written"), vec![0.0; 64]);
    }
}

/// Writing past the end is refused on every executor, before any driver sees it.
#[test]
fn a_write_past_the_end_is_an_error() {
    for on in resolvent_tests::subjects() {
        let x = on.device().reserve("x", &[("n", 64)]).expect("small");
        let error = on.device().write(&x, 60, &[0; 20]).expect_err("5 words from 60 on end at 65");
        assert_eq!(error.to_string(), "buffer `x` is too small for what is written to it");
    }
}
