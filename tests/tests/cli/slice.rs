//! The command `slice`: results that grow in a file, interruptions, memory, and arguments.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Ran, command, names, on_host, tiny, utf8};

/// A slice that is written in many parts. It has all 12 480 causal pairs of 64 tokens of the random model, with blocks
/// of 20 x 20 elements. Its memory is enough for the blocks of a few places only.
struct Long {
    folder: TempDir,
}

impl Long {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, name: &str, more: &[&str]) -> Vec<String> {
        let tokens: Vec<String> = (0..64).map(|i| (i * 7 % 50).to_string()).collect();
        let own = ["slice", "--model", "random:3", "--basis", "random:1", "--memory", "2M", "--device", "host"];
        let mut arguments: Vec<String> = own.iter().chain(more).map(|x| (*x).to_owned()).collect();
        if !more.contains(&"--rank") {
            arguments.extend(["--rank", "20"].map(str::to_owned));
        }
        arguments.extend(["--tokens", &tokens.join(","), "--out", &utf8(&self.path(name))].map(str::to_owned));
        arguments
    }

    fn run(&self, name: &str, more: &[&str]) -> Ran {
        let arguments = self.arguments(name, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command(&arguments).output().unwrap_or_else(|e| panic!("{e}")).into()
    }

    /// Starts the work, and kills it when `parts` more parts are on the disk. Panics if the work ends before that.
    fn kill(&self, name: &str, parts: usize) {
        let journal = self.path(&format!("{name}.partial.journal"));
        let lines = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
        let before = lines();
        let arguments = self.arguments(name, &[]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        let start = Instant::now();
        while lines() < before + parts && start.elapsed() < Duration::from_secs(300) {
            assert!(child.try_wait().expect("is ours").is_none(), "the work was over before it was killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        end(&mut child);
        assert!(lines() >= before + parts, "nothing came within five minutes");
        assert!(self.path(&format!("{name}.partial")).exists() && !self.path(name).exists());
    }
}

/// Kills the process, on Unix with SIGKILL, and waits for its end.
fn end(child: &mut Child) {
    child.kill().expect("can be killed");
    child.wait().expect("ends");
}

fn contents(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Work that is killed twice and resumed writes the same bytes as uninterrupted work.
#[test]
fn killed_work_is_resumed() {
    let work = Long::new();
    let alone = work.run("alone.safetensors", &[]);
    assert_eq!(alone.stderr.trim_end(), format!("wrote {}", work.path("alone.safetensors").display()));
    assert!(alone.done().contains("12480 pairs, 20 x 20"));
    work.kill("x.safetensors", 4);
    work.kill("x.safetensors", 3);
    // An incomplete line, as a crash may leave it, is ignored.
    let journal = work.path("x.safetensors.partial.journal");
    OpenOptions::new().append(true).open(&journal).and_then(|mut f| f.write_all(b"1234")).expect("writable");
    let ran = work.run("x.safetensors", &[]);
    assert!(ran.stderr.contains("resumed an interrupted run: 6 parts were complete"), "{}", ran.stderr);
    ran.done();
    assert!(contents(&work.path("x.safetensors")) == contents(&work.path("alone.safetensors")), "other bytes");
    let mut left = names(work.folder.path());
    left.sort();
    assert_eq!(left, ["alone.safetensors", "x.safetensors"], "nothing else is left");
}

/// A partial file is resumed only by the same work. `--fresh` discards it.
#[test]
fn other_work_is_refused() {
    let work = Long::new();
    work.kill("x.safetensors", 2);
    for (more, parts) in [
        (&["--rank", "19"][..], ["`shape of blocks` was [12480,20,20] and is now [12480,19,19]", "--fresh"]),
        (&["--readout", "random:2"], ["`readout` was random:1 and is now random:2", "or give another name"]),
        (&["--from", "0", "1", "2", "3"], ["`from` was all and is now 0,0 0,1", "belongs to other work"]),
        (&["--memory", "3M"], ["`memory` was 2097152 and is now 3145728", "belongs to other work"]),
    ] {
        let mut arguments = work.arguments("x.safetensors", &[]);
        // An option that is given twice is an error, so its first value is removed.
        if let Some(at) = arguments.iter().position(|a| a == more[0]) {
            arguments.drain(at..at + 2);
        }
        arguments.extend(more.iter().map(|x| (*x).to_owned()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let line = Ran::from(command(&arguments).output().expect("runs")).failed();
        for part in parts {
            assert!(line.contains(part), "{more:?}: `{part}` is not in {line}");
        }
    }
    let partial = work.path("x.safetensors.partial");
    let locked = File::open(&partial).expect("is there");
    locked.lock().expect("is free");
    assert!(work.run("x.safetensors", &[]).failed().contains("is being written by another process"));
    drop(locked);
    File::options().write(true).open(&partial).and_then(|f| f.set_len(9999)).expect("writable");
    assert!(work.run("x.safetensors", &[]).failed().contains("is damaged; start again with --fresh"));
    work.run("x.safetensors", &["--fresh"]).done();
    assert_eq!(names(work.folder.path()), ["x.safetensors"]);
}

/// The check by the other pass finds a number that changed on the disk.
#[test]
fn a_damaged_number_is_found() {
    let work = Long::new();
    work.kill("x.safetensors", 2);
    let path = work.path("x.safetensors.partial");
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("is there");
    // The blocks follow the pairs, and the pairs follow the header. The first pairs are found by their values.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("readable");
    let first: Vec<u8> = [1.0f32, 0.0, 0.0, 0.0, 1.0, 1.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let at = bytes.windows(first.len()).position(|window| window == first).expect("the pairs begin so");
    file.seek(SeekFrom::Start((at + 12480 * 16 + 40) as u64)).expect("is inside");
    file.write_all(&1.0f32.to_le_bytes()).expect("writable");
    drop(file);
    assert!(work.run("x.safetensors", &[]).failed().contains("check `other_pass` failed"));
}

/// Returns the peak memory of a run in bytes, as last read before its end.
#[cfg(target_os = "linux")]
fn peak(arguments: &[String]) -> u64 {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let path = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().expect("is ours").is_none() {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = most.max(kilobytes.unwrap_or(0) * 1024);
        std::thread::sleep(Duration::from_millis(2));
    }
    most
}

/// A result that is many times larger than the memory option needs little more memory than a small result.
#[cfg(target_os = "linux")]
#[test]
fn large_results_take_little_memory() {
    let work = Long::new();
    let small = peak(&work.arguments("small.safetensors", &["--from", "0,0", "--to", "1,0"]));
    let large = peak(&work.arguments("large.safetensors", &["--rank", "32"]));
    let bytes = fs::metadata(work.path("large.safetensors")).expect("was written").len();
    let more = large.saturating_sub(small);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "| slice of {:.1} MB in a memory of 2.1 MB | {:.1} MB, {:.1} more than a slice of one pair |",
        megabytes(bytes),
        megabytes(large),
        megabytes(more)
    );
    assert!(bytes > 50_000_000 && more < bytes / 4, "{more} of {bytes}");
}

/// In a dense spectrum of the embedded model, all eight singular values are right to the last digit. The bound on the
/// remainder is little more than the next value.
#[test]
fn a_dense_spectrum_is_right() {
    let prompt = "When Mary and John went to the store, Mary gave a drink to";
    let shown = on_host(&["slice", prompt, "--svd", "-k", "8", "--from", "3,9", "--to=-1"]).done();
    let value = |line: &str| -> Option<f64> {
        let before = line.split("  reads ").next()?;
        before.split_whitespace().last()?.parse().ok()
    };
    let values: Vec<f64> = shown.lines().filter(|l| l.contains("  reads ")).filter_map(value).collect();
    let want = [10.0213, 5.4050, 5.3227, 4.8513, 4.8440, 4.7362, 4.5340, 4.3825];
    assert!(values.len() == 8 && values.iter().zip(want).all(|(v, w)| (v - w).abs() < 6e-5), "{shown}");
    let bound = shown.split("|G - U S V'| <= ").nth(1).and_then(|rest| rest.lines().next()?.parse::<f64>().ok());
    assert!(bound.is_some_and(|bound| bound > 4.1 && bound < 4.3), "{shown}");
    assert!(shown.contains("exact, from 192 unit vectors"), "{shown}");
}

#[test]
fn invalid_arguments_are_refused() {
    let says = |more: &[&str], parts: &[&str]| {
        let own = ["slice", "--tokens", "1,2,3,4", "--model", tiny()];
        let line = on_host(&[&own, more].concat()).failed();
        for part in parts {
            assert!(line.contains(part), "{more:?}: `{part}` is not in: {line}");
        }
    };
    says(&["--basis", "sideways"], &["invalid basis `sideways`: no such file, and none of pca, unembed"]);
    says(&["--basis", "krylov:x"], &["invalid seed `x`: expected krylov:SEED"]);
    says(&["--basis", "unembed:#53"], &["outside the vocabulary"]);
    says(&["--basis", "unembed:#1,,#2"], &["no tokenizer"]);
    says(&["--basis", "displacement"], &["has 0 vectors", "other prompts (--donor)"]);
    says(&["--basis", "pca", "--rank", "4"], &["has 3 vectors", "a rank of 1 to 3, or more prompts (--donor)"]);
    says(&["--rank", "0"], &["cannot have 0"]);
    says(&["--from", "2,1", "--to", "1,2"], &["no source reaches a target", "--from, --to"]);
    says(&["--from", "3"], &["level 3 is out of range"]);
    says(&["--from", "0,4"], &["token position 4 is out of range"]);
    says(&["--from", "x"], &["invalid place `x`: expected LEVEL,TOKEN or LEVEL"]);
    says(&["--svd", "--from", "0", "--to", "1", "--tolerance=-1"], &["--tolerance -1"]);
    says(&["--svd", "--from", "2", "--to", "1"], &["the operator is zero"]);
    says(
        &["--svd", "--from", "0,0", "--to", "1,0", "--rank", "31"],
        &["invalid --rank 31: a ", "has 30 singular values; give 1 to 30"],
    );
    let tokens = ["1"; 24].join(",");
    let large = ["slice", "--tokens", &tokens, "--basis", "random", "-k", "30", "--memory", "1M", "--model", tiny()];
    let line = on_host(&large).failed();
    for part in ["the result takes 3.4 MB, and the memory is 1.0 MB", "--out", "--from, --to", "--rank", "--memory"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for usage in [
        &["--svd"][..],
        &["--svd", "--from", "0,0", "--to", "1,0", "--basis", "pca"],
        &["--memory", "5"],
        &["--memory", "1Q"],
        &["--memory", "99999999999999G"],
        &["--fresh"],
        &["--power", "3"],
        &["--tolerance", "3"],
        &["--against", "#1"],
    ] {
        let own = ["slice", "--tokens", "1,2,3,4", "--model", tiny()];
        let ran = on_host(&[&own, usage].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{usage:?}: {}", ran.stderr);
    }
    let shown = on_host(&["slice", "--tokens", "1,2,3,4", "--model", tiny(), "--memory", "64MiB"]).done();
    assert!(shown.contains("30 pairs, 3 x 3, pca <- pca, forward"), "{shown}");
}
