//! Work that is stopped from outside.

use std::cell::Cell;
use std::rc::Rc;

use resolvent_engine::{Device, Error, Result, Tensor, go_on, stoppable};
use resolvent_tests::subjects;

use super::{addition, filled, with};

/// Launches too heavy to share a submission, so that each is asked for on every executor.
fn heavy(device: &Device, launches: usize) -> Result<Tensor> {
    let (one, mut sum) = (filled(device, "one", 64, 1.0), filled(device, "zero", 64, 0.0));
    let mut rec = device.record();
    for _ in 0..launches {
        let y = rec.tensor("sum", &[("n", 64)])?;
        rec = with(rec, addition(&sum, &one, &y).work(1e12, 0.0))?;
        sum = y;
    }
    device.submit(rec)?;
    Ok(sum)
}

#[test]
fn work_stops_between_launches() {
    for on in subjects() {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let stop = move || {
            count.set(count.get() + 1);
            count.get() > 3
        };
        let stopped = stoppable(stop, || heavy(on.device(), 10).map(|_| ()));
        assert_eq!(stopped, Err(Error::Stopped), "{}", on.name());
        assert_eq!(asked.get(), 4, "{}: asked until it said so, and not again", on.name());
        // The device is as good as before, and nobody asks any more.
        let sum = heavy(on.device(), 10).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        assert_eq!(on.device().read(&sum).expect("written"), vec![10.0; 64], "{}", on.name());
        assert_eq!(asked.get(), 4, "{}", on.name());
    }
}

/// The question is the thread's own, and the outer one is back when the inner work is done.
#[test]
fn questions_nest_and_belong_to_a_thread() {
    stoppable(
        || true,
        || {
            assert_eq!(go_on(), Err(Error::Stopped));
            stoppable(|| false, || assert_eq!(go_on(), Ok(())));
            assert_eq!(go_on(), Err(Error::Stopped));
            let elsewhere = std::thread::spawn(go_on).join().expect("does not panic");
            assert_eq!(elsewhere, Ok(()));
        },
    );
    assert_eq!(go_on(), Ok(()));
}
