//! Measures the largest allocation of a thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which also notes the largest request of each thread.
struct Watched;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    // The cell no longer exists while the thread ends. Nothing is measured then.
    let _ended = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: every call goes to the system's allocator with unchanged arguments. `note` does not allocate, because the
// cell is initialised in place.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: `System` requires exactly what the caller guarantees.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Returns the largest allocation that `work` asked for on this thread, in bytes.
pub(super) fn largest(work: impl FnOnce()) -> usize {
    LARGEST.set(0);
    work();
    LARGEST.get()
}

#[test]
fn large_allocations_are_seen() {
    assert!(largest(|| drop(std::hint::black_box(vec![0u8; 1 << 20]))) >= 1 << 20);
    assert!(largest(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)))) >= 1 << 20);
    assert!(largest(|| drop(std::hint::black_box(Box::new(1)))) < 1 << 20);
}
