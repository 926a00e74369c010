//! Buffers: limits, unwritten and foreign buffers, poison, the pool.

use resolvent_engine::{Device, Error, Options, Shape, Tensor};
use resolvent_ops::add::add;
use resolvent_tests::{Subject, gpus, subjects};

use super::{addition, filled, with};

/// One MiB more than WebGPU's default limit of a binding.
const TOO_LARGE: usize = 129 << 18;

#[test]
fn bindings_past_the_default_limit_are_refused() {
    for on in gpus() {
        let device = on.device();
        assert_eq!(device.info().max_binding, 128 << 20, "opened with the default limits");
        let reserved = device.reserve("large", &[("n", TOO_LARGE)]);
        let want = Error::TooLarge { label: "large".into(), bytes: 129 << 20, limit: 128 << 20 };
        assert_eq!(reserved.map(|_| ()), Err(want));
        let a = filled(device, "a", 64, 1.0);
        let rec = device.record();
        let y = rec.tensor("large", &[("n", TOO_LARGE)]).expect("takes no memory yet");
        let mut launch = addition(&a, &a, &y);
        launch.grid = [1, 1, 1];
        match with(rec, launch) {
            Err(Error::TooLarge { label, bytes, limit }) => {
                assert_eq!((label.as_str(), bytes, limit), ("large (y)", 129 << 20, 128 << 20));
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn unwritten_buffers_are_not_read() {
    for on in subjects() {
        let device = on.device();
        let a = filled(device, "a", 64, 1.0);
        let rec = device.record();
        let (nothing, y) = (rec.tensor("nothing", &[("n", 64)]), rec.tensor("y", &[("n", 64)]));
        let (nothing, y) = (nothing.expect("small"), y.expect("small"));
        let of = |result: Result<(), Error>| match result {
            Err(Error::Buffer { label, reason }) => (label, reason),
            other => panic!("{}: {other:?}", on.name()),
        };
        let (label, reason) = of(device.read(&nothing).map(|_| ()));
        assert_eq!((label.as_str(), reason.as_str()), ("nothing", "was never written; submit its recording first"));
        let rec = with(rec, addition(&a, &nothing, &y)).expect("fits");
        let (label, reason) = of(device.submit(rec));
        assert!(label == "nothing" && reason.contains("add.primal"), "{label} {reason}");
        // The launch did not run, so y is unwritten: reading it must not return zeros.
        assert_eq!(of(device.read(&y).map(|_| ())).0, "y", "{}", on.name());
    }
}

#[test]
fn buffers_of_another_device_are_refused() {
    // Each GPU is given the host's memory, and the host a GPU's. All host devices share one memory.
    let foreign = |a: &'static Subject| subjects().into_iter().find(move |b| a.is_host() != b.is_host());
    for (on, other) in subjects().into_iter().filter_map(|on| Some((on, foreign(on)?))) {
        let device = on.device();
        let (ours, theirs) = (filled(device, "ours", 64, 1.0), filled(other.device(), "theirs", 64, 1.0));
        let refuse = |result: Result<(), Error>| match result {
            Err(Error::Buffer { label, reason }) => {
                assert_eq!((label.as_str(), reason.as_str()), ("theirs", "belongs to another device"));
            }
            other => panic!("{}: {other:?}", on.name()),
        };
        let mut rec = device.record();
        add(&mut rec, &ours, &theirs).expect("shapes fit");
        refuse(device.submit(rec));
        refuse(device.read(&theirs).map(|_| ()));
        refuse(device.write(&theirs, 0, &[0; 4]));
    }
}

/// Two devices of one adapter do not share buffers.
#[test]
fn buffers_of_a_second_gpu_device_are_refused() {
    for on in gpus() {
        let second = Device::open(&Options::new(resolvent_engine::Choice::Name(on.device().info().name.clone())));
        let second = second.unwrap_or_else(|e| panic!("{e}"));
        let (ours, theirs) = (filled(on.device(), "ours", 64, 1.0), filled(&second, "theirs", 64, 1.0));
        let mut rec = on.device().record();
        add(&mut rec, &ours, &theirs).expect("shapes fit");
        let want = "buffer `theirs` belongs to another device";
        assert_eq!(on.device().submit(rec).expect_err("foreign").to_string(), want);
        assert_eq!(on.device().read(&theirs).expect_err("foreign").to_string(), want);
        assert_eq!(on.device().write(&theirs, 0, &[0; 4]).expect_err("foreign").to_string(), want);
    }
}

/// Unwritten memory reads as NaN, fresh or recycled.
#[test]
fn fresh_and_recycled_memory_is_poisoned() {
    for on in subjects() {
        let device = on.device();
        let a = filled(device, "a", 200, 1.0);
        for round in 0..4 {
            let rec = device.record();
            let y = rec.tensor("y", &[("n", 200)]).expect("small");
            // Writes only the first 64 elements; the rest must read as NaN.
            let mut launch = addition(&a, &a, &y);
            launch.params = bytemuck::bytes_of(&[64u32, 1, 0, 0]).to_vec();
            launch.grid = [1, 1, 1];
            if on.is_host() {
                // The host body fills its whole slice, so it gets a view of the part.
                let part = Tensor::view(y.buffer().clone(), 0, Shape::new(&[("n", 64)])).expect("fits");
                launch = addition(&a, &a, &part);
            }
            device.submit(with(rec, launch).expect("fits")).expect("runs");
            let values = device.read(&y).expect("was written in part");
            assert!(values[..64].iter().all(|x| *x == 2.0), "{} round {round}", on.name());
            assert!(values[64..].iter().all(|x| x.is_nan()), "{} round {round}: {:?}", on.name(), &values[64..70]);
        }
    }
}

/// A long chain of sums whose intermediate buffers return to the pool, and are reused by later launches of the
/// recording.
#[test]
fn pooled_buffers_are_reused_without_mixing() {
    for on in subjects() {
        let device = on.device();
        let one = filled(device, "one", 300, 1.0);
        let mut retained = Vec::new();
        for round in 0..3 {
            let mut rec = device.record();
            let mut sum = one.clone();
            for step in 0..40 {
                sum = add(&mut rec, &sum, &one).expect("fits");
                if step % 10 == 9 {
                    retained.push((sum.clone(), (step + 2) as f32));
                }
            }
            device.submit(rec).unwrap_or_else(|e| panic!("{} round {round}: {e}", on.name()));
        }
        for (tensor, want) in &retained {
            assert_eq!(device.read(tensor).expect("written"), vec![*want; 300], "{}", on.name());
        }
    }
}
