//! The engine's cache folder: files that it writes, and folders with damaged or foreign files.

use std::path::{Path, PathBuf};

use resolvent_engine::{Choice, Device, Options};
use resolvent_tests::{Subject, gpus, subjects};

use super::{addition, filled, with};

/// Opens the adapter of `on` again with `cache`, so that no kernel is compiled yet, and runs a launch.
fn compute(on: &Subject, cache: &Path) {
    let name = on.device().info().name.clone();
    let options = Options { cache: Some(cache.to_owned()), ..Options::new(Choice::Name(name)) };
    let device = Device::open(&options).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
    let (a, b) = (filled(&device, "a", 64, 1.0), filled(&device, "b", 64, 2.0));
    let rec = device.record();
    let y = rec.tensor("y", &[("n", 64)]).expect("small");
    let rec = with(rec, addition(&a, &b, &y)).expect("fits");
    device.submit(rec).unwrap_or_else(|e| panic!("{}: {e}", on.name()));
    assert_eq!(device.read(&y).expect("written"), [3.0; 64], "{}", on.name());
}

/// Returns the single file of compiled kernels; `None` if the backend does not cache them.
fn pipelines(cache: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(cache.join("pipelines")).ok()?;
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(files.len(), 1, "one adapter, one driver, one version: {files:?}");
    files.pop()
}

/// Returns the checksum that precedes cached data.
fn seal(data: &[u8]) -> [u8; 8] {
    let (words, rest) = data.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let all = words.chain(rest.iter().map(|&byte| u64::from(byte))).chain([data.len() as u64]);
    let sum = all
        .fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29));
    sum.to_le_bytes()
}

#[test]
fn compiled_kernels_are_cached_and_foreign_files_are_not_used() {
    for on in gpus() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        compute(on, folder.path());
        let Some(file) = pipelines(folder.path()) else {
            assert_ne!(on.device().info().backend, "Vulkan", "{}: Vulkan caches pipelines", on.name());
            continue;
        };
        let whole = std::fs::read(&file).expect("readable");
        assert_eq!(whole[..8], seal(&whole[8..]), "{}", on.name());
        compute(on, folder.path());
        assert!(pipelines(folder.path()).is_some());

        // A damaged file is never passed to the driver.
        for damaged in [&b""[..], b"short", &whole[..whole.len() - 1], &[0; 4096]] {
            std::fs::write(&file, damaged).expect("writable");
            compute(on, folder.path());
            assert!(std::fs::read(&file).expect("readable").len() > 8, "{}: the file was not rewritten", on.name());
        }
        // An intact file of another adapter, driver, backend or format: each part of the header is changed once. The
        // bytes after the header belong to the driver.
        for at in (8..64).step_by(3) {
            let mut foreign = whole.clone();
            foreign[at] ^= 1;
            let sum = seal(&foreign[8..]);
            foreign[..8].copy_from_slice(&sum);
            std::fs::write(&file, &foreign).expect("writable");
            compute(on, folder.path());
            let now = std::fs::read(&file).expect("readable");
            assert_ne!(now, foreign, "{}: byte {at} makes the file foreign", on.name());
        }
    }
}

/// If the folder cannot be created, the device works without a cache.
#[test]
fn an_impossible_cache_folder_is_not_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("writable");
    for on in gpus() {
        compute(on, &file);
        compute(on, Path::new(""));
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1, "a file was written");
}

/// A device reads back what it cached, by kind. A truncated file counts as absent.
#[test]
fn cached_data_is_read_back() {
    for on in subjects() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = |cache: &Path| on.again(Options { cache: Some(cache.to_owned()), ..Options::default() });
        let first = open(folder.path());
        assert_eq!(first.device().cached("figures"), None);
        first.device().keep("figures", b"12");
        first.device().keep("letters", b"ab");
        let again = open(folder.path());
        assert_eq!(again.device().cached("figures").as_deref(), Some(&b"12"[..]), "{}", on.name());
        assert_eq!(again.device().cached("letters").as_deref(), Some(&b"ab"[..]), "{}", on.name());
        let file = std::fs::read_dir(folder.path().join("figures")).expect("a folder").next();
        let file = file.expect("a file").expect("readable").path();
        let whole = std::fs::read(&file).expect("readable");
        std::fs::write(&file, &whole[..whole.len() - 1]).expect("writable");
        assert_eq!(again.device().cached("figures"), None, "{}", on.name());
        on.device().keep("figures", b"nowhere to put it");
        assert_eq!(on.device().cached("figures"), None, "{}: no folder, no cache", on.name());
    }
}
