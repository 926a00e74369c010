//! Zeroed memory in whole cache lines, in huge pages where the system has them.

use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

/// One cache line. A vector of lines starts at a cache line, so SIMD loads of whole rows are aligned.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Line(pub(super) [f32; 16]);

/// Size in bytes of a huge page: below it, none fits.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Lines of one block.
pub(super) enum Lines {
    Small(Vec<Line>),
    /// A product reads weights once, line after line. With pages of 4 KiB it misses the translation cache in each of
    /// them, and the processor prefetches nothing beyond.
    #[cfg(target_os = "linux")]
    Large(memmap2::MmapMut),
}

impl Lines {
    /// Allocates lines of zeros. The system allocates no page for lines that are never written.
    pub(super) fn zeroed(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if len * size_of::<Line>() >= HUGE_PAGE
            && let Ok(map) = memmap2::MmapMut::map_anon(len * size_of::<Line>())
        {
            // Kernels without huge pages refuse, and then pages are small.
            drop(map.advise(memmap2::Advice::HugePage));
            return Self::Large(map);
        }
        Self::Small(vec![Line::zeroed(); len])
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::Small(Vec::new())
    }
}

impl Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        match self {
            Self::Small(lines) => lines,
            #[cfg(target_os = "linux")]
            Self::Large(map) => bytemuck::cast_slice(map),
        }
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [Line] {
        match self {
            Self::Small(lines) => lines,
            #[cfg(target_os = "linux")]
            Self::Large(map) => bytemuck::cast_slice_mut(map),
        }
    }
}
