//! Reads little-endian values from the start of a file. No read allocates before the bytes are there.

use std::ops::Range;

/// A position in the bytes of a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What is being read, for messages.
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, what: "the header" }
    }

    /// Sets what the following reads are, for messages.
    pub(super) fn within(&mut self, what: &'static str) {
        self.what = what;
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the number of bytes that follow.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Skips `n` bytes, and returns where they are.
    pub(super) fn skip(&mut self, n: u64) -> Result<Range<usize>, String> {
        let end = usize::try_from(n).ok().filter(|&n| n <= self.remaining()).map(|n| self.at + n);
        let Some(end) = end else {
            let (what, at, len) = (self.what, self.at, self.bytes.len());
            return Err(format!("it is truncated: {what} needs {n} bytes at byte {at}, and the file has {len}"));
        };
        let start = std::mem::replace(&mut self.at, end);
        Ok(start..end)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let range = self.skip(N as u64)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[range]);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a length and that many bytes of UTF-8.
    pub(super) fn text(&mut self) -> Result<&'a str, String> {
        let length = self.u64()?;
        let range = self.skip(length)?;
        let at = range.start;
        std::str::from_utf8(&self.bytes[range]).map_err(|_| format!("the text at byte {at} is not UTF-8"))
    }

    /// Returns a number of entries as read from the file. Each has at least `least` bytes, so that a damaged number is
    /// found before anything is allocated.
    pub(super) fn count(&self, n: u64, least: usize) -> Result<usize, String> {
        let most = self.remaining() / least;
        usize::try_from(n).ok().filter(|&n| n <= most).ok_or_else(|| {
            format!("it is truncated: {} has {n} entries, and {} bytes follow", self.what, self.remaining())
        })
    }
}
