//! What the engine keeps in a cache folder, and what it makes of a folder that others have been at.

use std::path::{Path, PathBuf};

use resolvent_engine::{Choice, Device, Options};
use resolvent_tests::{Subject, gpus, subjects};

use super::{addition, filled, with};

/// Opens the adapter of `on` with `cache`, and computes something: with no kernel compiled yet.
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

/// The one file in which compiled kernels are kept; `None` where the backend keeps none.
fn pipelines(cache: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(cache.join("pipelines")).ok()?;
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(files.len(), 1, "one adapter, one driver, one version: {files:?}");
    files.pop()
}

/// The checksum that stands before what is kept.
fn seal(data: &[u8]) -> [u8; 8] {
    let (words, rest) = data.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let all = words.chain(rest.iter().map(|&byte| u64::from(byte))).chain([data.len() as u64]);
    let sum = all
        .fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29));
    sum.to_le_bytes()
}

#[test]
fn compiled_kernels_are_kept_and_what_does_not_fit_is_not_used() {
    for on in gpus() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        compute(on, folder.path());
        let Some(file) = pipelines(folder.path()) else {
            assert_ne!(on.device().info().backend, "Vulkan", "{}: Vulkan keeps pipelines", on.name());
            continue;
        };
        let whole = std::fs::read(&file).expect("readable");
        assert_eq!(whole[..8], seal(&whole[8..]), "{}", on.name());
        compute(on, folder.path());
        assert!(pipelines(folder.path()).is_some());

        // Damaged: not even the driver's front end sees it.
        for damaged in [&b""[..], b"short", &whole[..whole.len() - 1], &[0; 4096]] {
            std::fs::write(&file, damaged).expect("writable");
            compute(on, folder.path());
            assert!(std::fs::read(&file).expect("readable").len() > 8, "{}: written anew", on.name());
        }
        // Whole, and of another adapter, driver, backend or format: each part of the header in turn. What follows the
        // header is the driver's own.
        for at in (8..64).step_by(3) {
            let mut foreign = whole.clone();
            foreign[at] ^= 1;
            let sum = seal(&foreign[8..]);
            foreign[..8].copy_from_slice(&sum);
            std::fs::write(&file, &foreign).expect("writable");
            compute(on, folder.path());
            let now = std::fs::read(&file).expect("readable");
            assert_ne!(now, foreign, "{}: byte {at} made it another's", on.name());
        }
    }
}

/// A folder that cannot be made is as good as none.
#[test]
fn a_cache_folder_that_cannot_be_is_no_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("writable");
    for on in gpus() {
        compute(on, &file);
        compute(on, Path::new(""));
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing came of it");
}

/// What a device keeps is its own, by kind, and is not there where it was cut.
#[test]
fn what_a_device_keeps_is_given_back() {
    for on in subjects() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = |cache: &Path| on.again(Options { cache: Some(cache.to_owned()), ..Options::default() });
        let keeps = open(folder.path());
        assert_eq!(keeps.device().cached("figures"), None);
        keeps.device().keep("figures", b"12");
        keeps.device().keep("letters", b"ab");
        let again = open(folder.path());
        assert_eq!(again.device().cached("figures").as_deref(), Some(&b"12"[..]), "{}", on.name());
        assert_eq!(again.device().cached("letters").as_deref(), Some(&b"ab"[..]), "{}", on.name());
        let file = std::fs::read_dir(folder.path().join("figures")).expect("a folder").next();
        let file = file.expect("a file").expect("readable").path();
        let whole = std::fs::read(&file).expect("readable");
        std::fs::write(&file, &whole[..whole.len() - 1]).expect("writable");
        assert_eq!(again.device().cached("figures"), None, "{}", on.name());
        on.device().keep("figures", b"nowhere to put it");
        assert_eq!(on.device().cached("figures"), None, "{}: no folder, nothing kept", on.name());
    }
}
