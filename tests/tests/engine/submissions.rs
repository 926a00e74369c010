//! Submissions: cut in segments, from several threads, profiled.

use resolvent_engine::{Choice, Device, Options, Tensor};
use resolvent_ops::add::add;
use resolvent_tests::{gpus, subjects};

use super::filled;

fn chain(device: &Device, launches: usize, step: f32) -> Tensor {
    let (mut rec, one) = (device.record(), filled(device, "step", 100, step));
    let mut sum = filled(device, "zero", 100, 0.0);
    for _ in 0..launches {
        sum = add(&mut rec, &sum, &one).expect("fits");
    }
    assert_eq!(rec.launches().len(), launches);
    device.submit(rec).unwrap_or_else(|e| panic!("{e}"));
    sum
}

/// More launches than one segment holds: parameters of later segments do not overwrite those of earlier ones.
#[test]
fn long_recordings_are_cut_and_stay_right() {
    for on in subjects() {
        let sum = chain(on.device(), 1000, 1.0);
        assert_eq!(on.device().read(&sum).expect("written"), vec![1000.0; 100], "{}", on.name());
    }
}

/// Launches that each claim more work than a submission may take are submitted one by one.
#[test]
fn heavy_launches_are_cut_by_their_work() {
    for on in subjects() {
        let device = on.device();
        let (one, mut sum) = (filled(device, "one", 64, 1.0), filled(device, "zero", 64, 0.0));
        let mut rec = device.record();
        for _ in 0..12 {
            let y = rec.tensor("sum", &[("n", 64)]).expect("small");
            rec.launch(super::addition(&sum, &one, &y).work(1e12, 0.0)).expect("fits");
            sum = y;
        }
        device.submit(rec).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        assert_eq!(device.read(&sum).expect("written"), vec![12.0; 64], "{}", on.name());
    }
}

#[test]
fn two_threads_share_a_device() {
    for on in subjects() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..5 {
                        let step = (1 + thread + round) as f32;
                        let sum = chain(on.device(), 60, step);
                        let got = on.device().read(&sum).expect("written");
                        assert_eq!(got, vec![60.0 * step; 100], "{}", on.name());
                    }
                });
            }
        });
        on.device().wait().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
    }
}

/// One sample a launch, in order, each of which took time.
#[test]
fn a_profile_has_a_sample_a_launch() {
    let names = gpus().iter().map(|gpu| Choice::Name(gpu.device().info().name.clone()));
    for choice in names.chain([Choice::Host]) {
        let device = Device::open(&Options { profile: true, ..Options::new(choice) }).expect("opens");
        let info = device.info().clone();
        let (mut rec, one) = (device.record(), filled(&device, "one", 100_000, 1.0));
        let mut sum = one.clone();
        for block in 0..300 {
            rec.scope(format!("blocks.{block}"));
            sum = add(&mut rec, &sum, &one).expect("fits");
        }
        device.submit(rec).expect("runs");
        let samples = device.take_profile().unwrap_or_else(|e| panic!("{info}: {e}"));
        if !info.timestamps {
            assert!(samples.is_empty(), "{info} has no timestamps, and gave samples");
            continue;
        }
        assert_eq!(samples.len(), 300, "{info}");
        for (block, sample) in samples.iter().enumerate() {
            assert_eq!((sample.kernel, sample.label.as_str()), ("add.primal", &*format!("blocks.{block}:add.primal")));
            assert!(sample.seconds > 0.0 && sample.seconds < 10.0, "{info}: {sample:?}");
            assert!(sample.gbytes() > 0.0 && sample.work.flops == 100_000.0, "{info}: {sample:?}");
        }
        assert!(device.take_profile().expect("still there").is_empty(), "{info}: samples are taken once");
    }
}

/// Without the option there is nothing to take.
#[test]
fn no_profile_unless_asked() {
    for on in subjects() {
        chain(on.device(), 3, 1.0);
        assert!(on.device().take_profile().expect("no error").is_empty());
    }
}
