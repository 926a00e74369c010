//! Launches that a device compares with their host bodies.

use resolvent_engine::{Bound, Comparison, Device, Kernel, Launch, Options};
use resolvent_ops::add;
use resolvent_shaders as shaders;
use resolvent_tests::gpus;

use super::{addition, filled, with};

/// Writes 1.5 where the sum is 2.
fn wrong(bound: Bound<'_>) {
    let (_, [y]) = bound.slices::<2, 1>();
    y.fill(1.5);
}

static WRONG: Kernel = Kernel { shader: &shaders::add::PRIMAL, host: wrong };

fn compared(device: &Device, kernel: &'static Kernel) -> Vec<Comparison> {
    let one = filled(device, "one", 65, 1.0);
    let rec = device.record();
    let y = rec.tensor("y", &[("n", 65)]).expect("small");
    let launch = Launch { kernel, ..addition(&one, &one, &y) };
    device.submit(with(rec, launch).expect("fits")).expect("runs");
    assert_eq!(device.read(&y).expect("was written"), [2.0; 65]);
    device.take_comparisons()
}

#[test]
fn a_wrong_host_body_shows() {
    for on in gpus() {
        let device = on.again(Options { compare: true, ..Options::default() });
        let expected = |error| {
            let shape = "[n=65]".to_owned();
            [Comparison { kernel: "add.primal", variant: "base", shape, error }]
        };
        assert_eq!(compared(device.device(), add::KERNELS[0]), expected(0.0), "{}", on.name());
        assert_eq!(compared(device.device(), &WRONG), expected(0.5 / 1.5), "{}", on.name());
        assert_eq!(compared(on.device(), &WRONG), [], "{} compares nothing", on.name());
    }
    assert_eq!(compared(&Device::host(), add::KERNELS[0]), []);
}
