//! Small cache files with a checksum: reading one returns all of its data or nothing.
//!
//! Cached data can always be computed again, so nothing here fails. A damaged or unreadable file counts as absent.

use std::path::Path;

/// Length of the checksum in bytes; the checksum comes first in a file.
const SEAL: usize = size_of::<u64>();

/// Returns a file name for `key`.
pub(crate) fn name(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Returns the data that [`write`] stored in `file`, or `None` if they are absent or damaged.
pub(crate) fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(file).ok()?;
    let sum = u64::from_le_bytes(bytes.first_chunk().copied()?);
    let data = bytes.split_off(SEAL);
    let whole = sum == checksum(&data);
    if !whole {
        tracing::debug!("ignoring damaged cache file {}", file.display());
    }
    whole.then_some(data)
}

/// Stores `data` in `file`, completely or not at all.
pub(crate) fn write(file: &Path, data: &[u8]) {
    let sealed = [&checksum(data).to_le_bytes(), data].concat();
    // The process id is part of the name: two processes that start together must not write to one file.
    let part = file.with_extension(format!("{}.part", std::process::id()));
    let written = file
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&part, sealed))
        .and_then(|()| std::fs::rename(&part, file));
    if let Err(e) = written {
        tracing::debug!("cannot write cache file {}: {e}", file.display());
        // There is nothing to remove if the folder could not be made.
        let _gone = std::fs::remove_file(&part);
    }
}

/// Computes FNV-1a over 64-bit words and then over the remaining bytes. It detects accidents, not malice.
fn checksum(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let all = words.chain(rest.iter().map(|&byte| u64::from(byte))).chain([data.len() as u64]);
    all.fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| {
        // The rotation lets the high bits of a word affect the next product.
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_data_is_read_and_damaged_data_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("sub").join(name("a key/1.0"));
        assert!(file.ends_with("a-key-1-0") && read(&file).is_none(), "nothing is there yet");
        for data in [&b""[..], b"a", b"eight by", b"something longer than a word"] {
            write(&file, data);
            assert_eq!(read(&file).as_deref(), Some(data));
            let whole = std::fs::read(&file).expect("is there");
            assert_eq!(std::fs::read_dir(folder.path().join("sub")).expect("is there").count(), 1, "no part is left");
            for at in 0..whole.len() {
                for bit in 0..8 {
                    let mut flipped = whole.clone();
                    flipped[at] ^= 1 << bit;
                    std::fs::write(&file, flipped).expect("writable");
                    assert_eq!(read(&file), None, "bit {bit} of byte {at}");
                }
                std::fs::write(&file, &whole[..at]).expect("writable");
                assert_eq!(read(&file), None, "truncated at {at}");
            }
        }
    }

    /// The path of the folder is a file: nothing is cached, and nothing fails.
    #[test]
    fn a_failed_write_is_no_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blocked = folder.path().join("blocked");
        std::fs::write(&blocked, b"").expect("writable");
        write(&blocked.join("file"), b"data");
        assert_eq!(read(&blocked.join("file")), None);
    }
}
