//! What work costs, by the recordings that it submits.
//!
//! The count belongs to a thread, not to a device: other threads submit work to the same device meanwhile.

use std::cell::Cell;

use crate::work::Work;

thread_local! {
    /// The cost bounds of all recordings that this thread has submitted.
    static SUBMITTED: Cell<Work> = const { Cell::new(Work { flops: 0.0, bytes: 0.0 }) };
}

/// Runs `work`, and returns the total cost bound of the recordings that it submits on this thread.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Work) {
    let before = SUBMITTED.get();
    let done = work();
    let after = SUBMITTED.get();
    (done, Work { flops: after.flops - before.flops, bytes: after.bytes - before.bytes })
}

/// Runs `work`, whose recordings are not counted: tests that a submission causes are no part of what it costs.
pub(crate) fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    let before = SUBMITTED.get();
    let done = work();
    SUBMITTED.set(before);
    done
}

/// Adds the cost bound of a recording that is submitted.
pub(crate) fn add(work: Work) {
    let sum = SUBMITTED.get();
    SUBMITTED.set(Work { flops: sum.flops + work.flops, bytes: sum.bytes + work.bytes });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_nest_and_belong_to_a_thread() {
        let one = Work { flops: 3.0, bytes: 5.0 };
        let ((inner, other), outer) = counted(|| {
            add(one);
            let other = std::thread::spawn(move || counted(|| add(one)).1).join().expect("runs");
            (counted(|| add(one)).1, other)
        });
        assert_eq!((inner, other, outer), (one, one, Work { flops: 6.0, bytes: 10.0 }));
        assert_eq!(counted(|| uncounted(|| add(one))).1, Work::default());
    }
}
