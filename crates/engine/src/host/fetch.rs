//! Asking the memory for what will be read soon.

/// Asks for the line `ahead` numbers after the first of `at`.
#[inline(always)]
pub(super) fn fetch<T>(at: &[T], ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint that reads nothing and never faults, so that the address may lie past the slice.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.as_ptr().cast::<f32>().wrapping_add(ahead).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, ahead);
}
