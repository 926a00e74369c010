//! Blocking until a future is done.
//!
//! A thread sleeps until the driver's answer is there. In a browser that answer arrives through the event loop, to
//! which code must return. There the whole module is suspended until then, by what browsers call JavaScript Promise
//! Integration, so that the code that blocks is the same everywhere: `docs/src/decisions/0019-webgpu-in-a-browser.md`.

/// Blocks until `future` is done.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

#[cfg(target_arch = "wasm32")]
pub(crate) use suspending::block_on;

#[cfg(target_arch = "wasm32")]
mod suspending {
    use std::cell::RefCell;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use js_sys::{Function, Promise};

    thread_local! {
        /// Resumes the module, if it is suspended. There is one thread, and a suspended one starts nothing else.
        static RESUME: RefCell<Option<Function>> = const { RefCell::new(None) };
    }

    /// Whether the future has asked for another poll.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
            if let Some(resume) = RESUME.take() {
                // The function that fulfils a promise does not throw.
                let _fulfilled = resume.call0(&wasm_bindgen::JsValue::UNDEFINED);
            }
        }
    }

    /// Suspends the module until `future` is done. The call from JavaScript must be one that returns a promise.
    pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        loop {
            woken.0.store(false, Ordering::SeqCst);
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return done;
            }
            if !woken.0.load(Ordering::SeqCst) {
                suspend(&Promise::new(&mut |resume, _| RESUME.set(Some(resume))));
            }
        }
    }

    #[expect(deprecated, reason = "wasm-bindgen marks its support of suspension so, because it is new")]
    fn suspend(until: &Promise) {
        // This promise is only ever fulfilled.
        let _fulfilled = js_sys::futures::jspi_block_on_promise(until);
    }
}
