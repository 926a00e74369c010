//! Devices that `resolvent::open` opens test each kernel before its first use.

use std::path::Path;

use resolvent::engine::{Choice, Device, Options};
use resolvent::model::{Mode, Model, Observable, RandomWeights, Site, Source, gaussian, tiny};
use resolvent_tests::gpus;

fn measured(device: &Device) -> Vec<Vec<f32>> {
    let model = Model::random(device, tiny(), RandomWeights::new(7).with_std(0.1)).expect("opens");
    let run = model.run(&[3, 1, 4, 1, 5], &[]).expect("runs");
    let linear = run.linearize(Mode::Exact);
    let j = Observable::logit_diff(2, 6, 4);
    let source = Source { site: Site::ResidPre(1), token: 2, vector: gaussian(5, 32) };
    vec![
        run.field().expect("runs"),
        linear.gradient(&j).expect("runs"),
        linear.hvp(&[[source]], &j).expect("runs").into_single(),
    ]
}

/// Returns the kernels that were tested.
fn tested(folder: &Path) -> String {
    let file = std::fs::read_dir(folder.join("tested-kernels")).expect("a folder").next();
    let bytes = std::fs::read(file.expect("a file").expect("readable").path()).expect("readable");
    String::from_utf8_lossy(&bytes[8..]).into_owned()
}

#[test]
fn only_kernels_that_were_tested_are_used() {
    let host = measured(&Device::host());
    for on in gpus() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let choice = Choice::Name(on.device().info().name.clone());
        let options = Options { cache: Some(folder.path().to_owned()), ..Options::new(choice) };
        let device = resolvent::open(&options).expect("passes its first test");
        let first = tested(folder.path());
        assert!(first.contains("layer_norm.primal ") && first.contains("unembed.primal "), "{first}");
        assert!(!first.contains("vjp") && !first.contains("hvp"), "{first}");
        for (ours, host) in measured(&device).iter().zip(&host) {
            let largest = host.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let apart = ours.iter().zip(host).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(apart <= 2e-5 * largest, "{}: {apart:e} of {largest:e}", on.name());
        }
        let all = tested(folder.path());
        assert!(all.contains("attention.vjp_q ") && all.contains("layer_norm.hvp "), "{all}");
        assert_eq!(device.failed_test(), None);
    }
}
