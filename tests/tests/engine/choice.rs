//! Choosing a device.

use resolvent_engine::{Choice, Device, Error, Kind, Options, adapters};
use resolvent_tests::gpus;

#[test]
fn choices_are_read_from_text() {
    for (text, choice) in [
        ("auto", Choice::Auto),
        ("gpu", Choice::Gpu),
        ("host", Choice::Host),
        ("cpu", Choice::Host),
        ("HOST", Choice::Host),
        ("Auto", Choice::Auto),
        (" gpu ", Choice::Gpu),
        ("0", Choice::Index(0)),
        ("12", Choice::Index(12)),
        ("llvmpipe", Choice::Name("llvmpipe".to_owned())),
        ("NVIDIA H100", Choice::Name("NVIDIA H100".to_owned())),
    ] {
        assert_eq!(text.parse(), Ok(choice.clone()));
        assert_eq!(choice.to_string().parse(), Ok(choice), "what is shown can be typed");
    }
    for text in ["", " ", "\t"] {
        let error = text.parse::<Choice>().expect_err("names nothing");
        assert!(error.to_string().contains("expected auto, gpu, host"), "{error}");
    }
}

#[test]
fn the_error_of_an_unknown_adapter_lists_all_adapters() {
    let found: Vec<String> = adapters().into_iter().map(|info| info.name).collect();
    for choice in [Choice::Name("imagined".to_owned()), Choice::Name(String::new()), Choice::Index(1000)] {
        let error = Device::open(&Options::new(choice.clone())).map(|_| ()).expect_err("there is none");
        let want = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        let line = error.to_string();
        assert!(line.contains(&want) && line.contains("--device host"), "{line}");
        let Error::NoAdapter { wanted, found: named, .. } = error else { panic!("{line}") };
        assert_eq!((wanted, named), (choice.to_string(), want));
    }
}

#[test]
fn auto_never_takes_a_software_gpu() {
    let device = Device::open(&Options::default()).expect("there is always the host");
    assert_ne!(device.info().kind, Kind::Software);
}

#[test]
fn adapters_are_found_by_name_and_index() {
    for gpu in gpus() {
        let name = gpu.device().info().name.clone();
        let part = name.to_uppercase();
        let device = Device::open(&Options::new(Choice::Name(part))).expect("found without regard to case");
        assert_eq!(device.info().name, name);
        let index = adapters().iter().position(|info| info.name == name).expect("listed");
        let device = Device::open(&Options::new(Choice::Index(index))).expect("found by place");
        assert_eq!(device.info().name, name);
    }
}

#[test]
fn the_host_uses_the_given_number_of_threads() {
    let device = Device::open(&Options { threads: 3, ..Options::new(Choice::Host) }).expect("opens");
    assert_eq!(device.info().name, "host executor, 3 threads");
    assert!(device.info().is_host());
}
