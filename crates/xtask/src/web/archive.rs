//! The files of a model as one, in tar format: the page fetches it with one request and one progress bar.
//!
//! Configuration, tokenizer and weights cannot come from different builds then, whatever a browser has cached.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Result, root};

/// Headers and files begin at multiples of this.
const BLOCK: usize = 512;

/// Returns the files of an embedded model, in the order in which the page needs them.
pub(super) fn files(model: &str) -> [PathBuf; 3] {
    let models = root().join("crates/model/atlas");
    let own = models.join(model.trim_start_matches("atlas-"));
    [own.join("config.json"), models.join("tokenizer.json"), own.join("model.safetensors")]
}

/// Returns an archive of files, without their folders, owners and times: the same files give the same archive.
pub(super) fn archive(files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for path in files {
        let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        archive.extend(header(path, bytes.len())?);
        archive.extend(&bytes);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks end an archive.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

/// Returns the header of a file of `length` bytes.
fn header(path: &Path, length: usize) -> Result<[u8; BLOCK]> {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.len() < 100);
    let name = name.ok_or_else(|| format!("{}: no name for an archive", path.display()))?;
    let mut header = [0; BLOCK];
    // The checksum is the sum of all bytes, with blanks in its own place.
    let fields = [
        (0, name.to_owned()),
        (100, "0000644\0".to_owned()),
        (108, "0000000\0".to_owned()),
        (116, "0000000\0".to_owned()),
        (124, format!("{length:011o}\0")),
        (136, "00000000000\0".to_owned()),
        (148, " ".repeat(8)),
        (156, "0".to_owned()),
        (257, "ustar\x0000".to_owned()),
    ];
    for (at, text) in fields {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::web::MODELS;

    /// What the page's progress bar counts to.
    #[test]
    fn the_page_knows_the_sizes() {
        let page = fs::read_to_string(root().join("crates/web/page/state.js")).expect("is there");
        for model in MODELS {
            let size = archive(&files(model)).expect("the files are there").len();
            assert!(page.contains(&format!("\"{model}\": {size}")), "BYTES of {model} in state.js: {size}");
        }
    }

    /// Another program reads the same files.
    #[test]
    #[cfg(unix)]
    fn tar_unpacks_an_archive() {
        let folder = std::env::temp_dir().join(format!("resolvent-archive-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let files = files("atlas-nano");
        fs::write(folder.join("model.tar"), archive(&files).expect("readable")).expect("writable");
        let unpacked = Command::new("tar").args(["-xf", "model.tar"]).current_dir(&folder).status();
        assert!(unpacked.expect("tar is there").success());
        for path in files {
            let same = fs::read(folder.join(path.file_name().expect("a name"))).expect("unpacked");
            assert!(same == fs::read(&path).expect("is there"), "{}", path.display());
        }
        fs::remove_dir_all(&folder).expect("is there");
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        assert!(archive(&[root().join("missing.json")]).is_err_and(|e| e.contains("missing.json")));
    }
}
