//! Prefetches memory that will be read soon.

/// Prefetches the cache line that is `ahead` words of four bytes after the start of `at`.
#[inline(always)]
pub fn fetch<T>(at: &[T], ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch is a hint. It reads nothing and never faults, so the address may lie past the slice.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.as_ptr().cast::<f32>().wrapping_add(ahead).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, ahead);
}
