//! Small files in a cache folder: written whole, and given back only if they are whole.
//!
//! What is kept can always be made anew, so nothing here fails: a file that cannot be read, or is damaged, is not there.

use std::path::Path;

/// The checksum stands first, in as many bytes.
const SEAL: usize = size_of::<u64>();

/// A file name of `key`.
pub(crate) fn name(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// What [`write`] put into `file`, if it is all there.
pub(crate) fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(file).ok()?;
    let sum = u64::from_le_bytes(bytes.first_chunk().copied()?);
    let data = bytes.split_off(SEAL);
    let whole = sum == checksum(&data);
    if !whole {
        tracing::debug!("{} is damaged and not used", file.display());
    }
    whole.then_some(data)
}

/// Puts `data` into `file`, whole or not at all.
pub(crate) fn write(file: &Path, data: &[u8]) {
    let sealed = [&checksum(data).to_le_bytes(), data].concat();
    // A name of this process's own: two that start together do not write into one file.
    let part = file.with_extension(format!("{}.part", std::process::id()));
    let written = file
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&part, sealed))
        .and_then(|()| std::fs::rename(&part, file));
    if let Err(e) = written {
        tracing::debug!("{} not kept: {e}", file.display());
        // There is nothing to remove if the folder could not be made.
        let _gone = std::fs::remove_file(&part);
    }
}

/// FNV-1a over words, then over what is left: sees accidents, not malice.
fn checksum(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let all = words.chain(rest.iter().map(|&byte| u64::from(byte))).chain([data.len() as u64]);
    all.fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| {
        // Turned, so that the high bits of a word come back into play.
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_was_damaged_is_not() {
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
                assert_eq!(read(&file), None, "cut at {at}");
            }
        }
    }

    /// A file where the folder should be: nothing is kept, and nothing fails.
    #[test]
    fn what_cannot_be_written_is_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blocked = folder.path().join("blocked");
        std::fs::write(&blocked, b"").expect("writable");
        write(&blocked.join("file"), b"data");
        assert_eq!(read(&blocked.join("file")), None);
    }
}
