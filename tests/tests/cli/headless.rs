//! Runs without a desktop session: drivers and libraries print nothing.

use super::{Ran, command, tiny};

/// Runs the binary without the variables that a desktop session sets.
fn headless(arguments: &[&str], more: &[(&str, &str)]) -> Ran {
    let mut command = command(arguments);
    for variable in ["XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "WGPU_BACKEND"] {
        command.env_remove(variable);
    }
    command.envs(more.iter().copied()).output().expect("runs").into()
}

#[test]
fn only_the_command_prints() {
    for arguments in [
        &["run", "--tokens", "1,2", "--model", tiny()][..],
        &["run", "The capital of France is"],
        &["run", "--tokens", "1,2", "--model", tiny(), "--device", "host"],
        &["devices", "--no-test"],
        &["devices"],
    ] {
        let ran = headless(arguments, &[]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
    for gpu in resolvent_tests::gpus() {
        let device = gpu.device().info().name.as_str();
        let ran = headless(&["run", "--tokens", "1,2", "--model", tiny(), "--device", device], &[]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{device}");
    }
}

/// If a variable hides the adapters, the message names it. It does not suggest a driver, which would not help.
#[test]
fn a_variable_that_hides_adapters_is_named() {
    let arguments = ["run", "--tokens", "1,2", "--model", tiny(), "--device"];
    for value in ["bogus", "gl", ","] {
        let set = [("WGPU_BACKEND", value)];
        let line = headless(&[&arguments[..], &["gpu"]].concat(), &set).failed();
        let cause = format!("no GPU adapter matches `gpu` (found: none); WGPU_BACKEND={value} names no backend");
        assert!(line.contains(&cause) && line.contains("unset it") && !line.contains("driver"), "{line}");
        let auto = headless(&[&arguments[..], &["auto"]].concat(), &set);
        let warned = auto.stderr.contains(&format!("WGPU_BACKEND={value}")) && auto.stderr.lines().count() == 1;
        assert!(warned && !auto.stderr.contains('\u{1b}'), "{:?}", auto.stderr);
        auto.done();
        let listed = headless(&["devices"], &set).stdout;
        assert!(listed.contains(&format!("no GPU adapter: WGPU_BACKEND={value}")), "{listed}");
    }
    // An empty variable has no effect.
    let plain = headless(&["devices", "--no-test"], &[]).done();
    assert_eq!(headless(&["devices", "--no-test"], &[("WGPU_BACKEND", "")]).done(), plain);
}

#[test]
fn devices_are_named_in_any_case() {
    let of = |device: &str| headless(&["run", "--tokens", "1", "--model", tiny(), "--device", device], &[]);
    for device in ["HOST", "Cpu", " host ", "Auto"] {
        of(device).done();
    }
    for device in ["", "  "] {
        let ran = of(device);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        let said = "expected auto, gpu, host, an index of `resolvent devices`, or part of an adapter's name";
        assert!(ran.stderr.replace('\n', " ").contains(said), "{}", ran.stderr);
    }
}
