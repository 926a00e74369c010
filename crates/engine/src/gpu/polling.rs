//! Blocking outside of a browser, where the driver answers only when it is polled.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::error::{Error, Result};

/// Longest wait for the driver's answer once the queue is empty: so many rounds of so long. After each round the device
/// is polled again. A machine that was suspended loses one round, however long it slept.
const ROUNDS: usize = 60;
const ROUND: Duration = Duration::from_millis(500);

/// Blocks until `future` is done. Meanwhile it polls the device, which nothing else does outside of a browser.
pub(super) fn block_on<T>(shared: &Shared, future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut silent = 0;
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        if let Err(error) = shared.device.poll(wgpu::PollType::wait_indefinitely()) {
            shared.faults.check("wait")?;
            return Err(Error::DeviceLost { reason: error.to_string() });
        }
        // The answer is here, and has woken this thread already, unless another polling thread has received it and
        // not delivered it yet.
        let since = Instant::now();
        std::thread::park_timeout(ROUND);
        silent = if since.elapsed() < ROUND { 0 } else { silent + 1 };
        if silent == ROUNDS {
            return Err(Error::DeviceLost { reason: "the driver finished without answering".to_owned() });
        }
    }
}

/// The thread that waits in [`block_on`].
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
