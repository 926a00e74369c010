//! The async forms: the same data as the blocking ones, polled by hand, by a waker, and dropped half-way.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use resolvent_engine::{Choice, Device, Error, Options, Tensor};
use resolvent_ops::add::add;
use resolvent_tests::{gpus, subjects};

use super::filled;

/// Longest wait for a future; software GPUs are slow.
const LONGEST: Duration = Duration::from_secs(60);

/// Polls a future again and again, with a waker that does nothing, and returns its output and the number of polls.
fn by_hand<T>(future: impl Future<Output = T> + Send) -> (T, usize) {
    let mut future = pin!(future);
    let (start, mut polls) = (Instant::now(), 0);
    loop {
        polls += 1;
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return (done, polls);
        }
        assert!(start.elapsed() < LONGEST, "the future is not done after {polls} polls");
        std::thread::yield_now();
    }
}

/// Submits sums over several lengths, and returns them.
fn sums(device: &Device) -> Vec<Tensor> {
    let mut rec = device.record();
    let sums = [1usize, 64, 1000].map(|n| {
        let one = filled(device, "one", n, 1.0);
        (0..20).fold(one.clone(), |sum, _| add(&mut rec, &sum, &one).expect("fits"))
    });
    device.submit(rec).unwrap_or_else(|e| panic!("{e}"));
    sums.to_vec()
}

#[test]
fn a_read_polled_by_hand_returns_the_same_data() {
    for on in subjects() {
        let device = on.device();
        let sums = sums(device);
        let all: Vec<&Tensor> = sums.iter().collect();
        let (read, polls) = by_hand(device.read_many_async(&all));
        let read = read.unwrap_or_else(|e| panic!("{}: {e}", on.name()));
        assert_eq!(read, device.read_many(&all).expect("written"), "{}", on.name());
        assert_eq!(read, [vec![21.0; 1], vec![21.0; 64], vec![21.0; 1000]], "{}", on.name());
        assert!(polls == 1 || !device.info().is_host(), "the host's futures are ready at once");
        let (read, _) = by_hand(device.read_async(&sums[1]));
        assert_eq!(read.expect("written"), vec![21.0; 64], "{}", on.name());
        let (waited, _) = by_hand(device.wait_async());
        waited.unwrap_or_else(|e| panic!("{}: {e}", on.name()));
    }
}

/// Tensors that do not fit one copy are read by several, in one future.
#[test]
fn a_long_read_is_one_future() {
    for on in subjects() {
        let device = on.again(Options { max_binding: Some(1024), ..Options::default() });
        let device = device.device();
        let tensors: Vec<Tensor> = (0..5).map(|i| filled(device, "x", 200, i as f32)).collect();
        let all: Vec<&Tensor> = tensors.iter().collect();
        let before = device.waits();
        let (read, _) = by_hand(device.read_many_async(&all));
        assert_eq!(device.waits() - before, 5, "{}: one wait for each copy", on.name());
        assert_eq!(read.expect("uploaded"), device.read_many(&all).expect("uploaded"), "{}", on.name());
    }
}

#[test]
fn a_device_opens_without_blocking() {
    let names = gpus().iter().map(|gpu| Choice::Name(gpu.device().info().name.clone()));
    for choice in names.chain([Choice::Host]) {
        let options = Options::new(choice.clone());
        let (opened, _) = by_hand(Device::open_async(&options));
        let device = opened.unwrap_or_else(|e| panic!("{choice}: {e}"));
        assert_eq!(device.info().name, Device::open(&options).expect("opens").info().name);
        assert_eq!(device.read(&filled(&device, "x", 3, 2.0)).expect("uploaded"), [2.0; 3]);
    }
}

/// A waker that counts, and unparks a thread.
struct Counting(Thread, AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// Another thread polls the device. The waiting thread polls its future only when it was woken.
#[test]
fn polling_the_device_wakes_the_future() {
    for on in subjects() {
        let device = on.device();
        let sums = sums(device);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    device.poll().unwrap_or_else(|e| panic!("{}: {e}", on.name()));
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let counting = Arc::new(Counting(std::thread::current(), AtomicUsize::new(0)));
            let waker = Waker::from(Arc::clone(&counting));
            let mut future: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(device.read_async(&sums[2]));
            let (start, mut seen) = (Instant::now(), 0);
            let read = loop {
                if let Poll::Ready(read) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    break read;
                }
                while counting.1.load(Ordering::SeqCst) == seen && start.elapsed() < LONGEST {
                    std::thread::park_timeout(LONGEST);
                }
                assert!(start.elapsed() < LONGEST, "{}: nothing woke the future", on.name());
                seen = counting.1.load(Ordering::SeqCst);
            };
            stop.store(true, Ordering::SeqCst);
            assert_eq!(read.expect("written"), vec![21.0; 1000], "{}", on.name());
        });
    }
}

/// A future that is dropped before it is done leaves the device usable.
#[test]
fn a_dropped_future_does_no_harm() {
    for on in subjects() {
        let device = on.device();
        let sums = sums(device);
        for _ in 0..3 {
            let mut read = Box::pin(device.read_async(&sums[2]));
            let _first = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            drop(read);
            drop(device.wait_async());
        }
        assert_eq!(device.read(&sums[2]).expect("written"), vec![21.0; 1000], "{}", on.name());
    }
}

#[test]
fn errors_of_the_async_forms_are_those_of_the_blocking_forms() {
    for on in subjects() {
        let unwritten = on.device().record().tensor("y", &[("n", 64)]).expect("small");
        let (read, _) = by_hand(on.device().read_async(&unwritten));
        let error = read.expect_err("nothing wrote it");
        assert!(matches!(error, Error::Buffer { .. }), "{error}");
        assert_eq!(Err(error), on.device().read(&unwritten));
    }
}
