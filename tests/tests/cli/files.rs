//! Output files: links are followed, permissions of replaced files are preserved, and incomplete files are removed.

use std::fs;
use std::path::Path;

use super::commands::calls;
use super::directory::Directory;
use super::readable::readable;
use super::{Ran, command, names, on_host, tiny, utf8};

/// Writes one file with each writer: whole safetensors, safetensors that grows in place, JSON, and a plot.
fn write(folder: &Path) -> [String; 4] {
    let at = |name: &str| utf8(&folder.join(name));
    let files = ["run.safetensors", "slice.safetensors", "run.json", "run.svg"].map(at);
    let [tensors, slice, json, plot] = &files;
    for arguments in
        [&["run", "--out", tensors, "--plot", plot][..], &["run", "--out", json], &["slice", "-k", "1", "--out", slice]]
    {
        on_host(&[arguments, &["--tokens", "1,2,3", "--model", tiny()]].concat()).done();
    }
    files
}

#[cfg(unix)]
#[test]
fn links_and_permissions_are_preserved() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [links, data] = ["links", "data"].map(|name| folder.path().join(name));
    fs::create_dir(&links).and_then(|()| fs::create_dir(&data)).expect("writable");
    for name in ["run.safetensors", "slice.safetensors", "run.json", "run.svg"] {
        symlink(Path::new("../data").join(name), links.join(name)).expect("a link");
    }
    let mode = |path: &str| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    // The links first point to files that do not exist, then to files with restricted permissions.
    for wanted in [None, Some(0o600), Some(0o640)] {
        let real = names(&data).into_iter().map(|name| data.join(name));
        for path in real.filter(|_| wanted.is_some()) {
            fs::write(&path, b"old").expect("writable");
            fs::set_permissions(&path, PermissionsExt::from_mode(wanted.unwrap_or_default())).expect("ours");
        }
        for path in write(&links) {
            assert!(fs::symlink_metadata(&path).expect("a link").is_symlink(), "{path}");
            assert!(fs::read(&path).expect("its target").len() > 100, "{path}");
            assert!(wanted.is_none_or(|wanted| mode(&path) == wanted), "{path}: {:o}", mode(&path));
        }
        let mut left = names(&data);
        left.sort();
        assert_eq!(left, ["run.json", "run.safetensors", "run.svg", "slice.safetensors"]);
        assert_eq!(names(&links).len(), 4, "nothing else is left beside the links");
    }
}

/// If a file exceeds the size limit of the shell, the command prints one error line and leaves no file.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_does_not_fit_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let binary = utf8(super::binary());
    for (arguments, file) in [
        (&["run", "--out"][..], "out.safetensors"),
        (&["run", "--out"], "out.json"),
        (&["run", "--plot"], "plot.svg"),
        (&["run", "--plot"], "plot.png"),
        (&["slice", "-k", "1", "--out"], "slice.safetensors"),
    ] {
        let path = utf8(&folder.path().join(file));
        let common = ["--tokens", "1,2,3,4,5", "--device", "host", "--model", tiny()];
        let mut limited = std::process::Command::new("sh");
        // `ulimit -f` counts blocks of 512 bytes.
        limited.args(["-c", "ulimit -f 2; exec \"$0\" \"$@\"", &binary]).args(arguments).arg(&path).args(common);
        let inherited = command(&[]);
        for (name, value) in inherited.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        let line = Ran::from(limited.output().expect("runs")).failed();
        assert!(line.contains(file) && line.contains("File too large") && line.contains("ulimit -f"), "{line}");
        assert_eq!(names(folder.path()), Vec::<String>::new(), "{file}");
    }
}

/// A device is written to like a file and is not replaced. Its error is printed as one line.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (file, option, what) in
        [("out.safetensors", "--out", "run"), ("out.json", "--out", "run"), ("plot.svg", "--plot", "run")]
    {
        let path = folder.path().join(file);
        std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
        let line = on_host(&[what, "--tokens", "1,2", "--model", tiny(), option, &utf8(&path)]).failed();
        assert!(line.contains(file) && line.contains("No space left on device"), "{line}");
    }
    assert!(fs::metadata("/dev/full").is_ok_and(|full| !full.is_file()), "the device is still one");
}

/// Other readers can open every safetensors file that a command writes.
#[test]
fn every_file_is_readable() {
    let (folder, text) = (tempfile::tempdir().expect("a temporary folder"), Directory::copy().with_tokenizer());
    let mut seen = 0;
    for call in calls(folder.path(), &text) {
        super::run(&call.arguments()).done();
        for file in &call.files {
            if file.extension().is_some_and(|ending| ending == "safetensors") {
                assert!(!readable(file).is_empty());
                seen += 1;
            }
        }
    }
    for name in names(&folder.path().join("study")).iter().filter(|name| name.ends_with(".safetensors")) {
        assert!(!readable(&folder.path().join("study").join(name)).is_empty(), "{name}");
        seen += 1;
    }
    assert!(seen > 15, "{seen} files");
}
