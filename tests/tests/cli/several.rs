//! `--device` with several devices: all shards once, the bytes of one process, and devices that fail are named.

use std::path::Path;
use std::process::{Command, Stdio};

use resolvent_field::Labelled;
use resolvent_tests::gpus;
use tempfile::TempDir;

use super::{Ran, command, names, run, tiny, utf8};

/// A sensitivity of ten prompts, two in a shard.
struct Shared(TempDir);

impl Shared {
    fn new() -> Self {
        let shared = Self(tempfile::tempdir().expect("a temporary folder"));
        let rows: String = (0..10).map(|i| format!("\"{i},3,4,1\",#{}\n", i + 3)).collect();
        std::fs::write(shared.0.path().join("rows.csv"), format!("clean_tokens,target\n{rows}\"1,2\",#99\n"))
            .expect("writes");
        shared
    }

    fn at(&self, name: &str) -> String {
        utf8(&self.0.path().join(name))
    }

    fn run(&self, more: &[&str]) -> Ran {
        run(&self.arguments(more).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let rows = self.at("rows.csv");
        let own = ["sensitivity", "--prompts", &rows, "--model", tiny(), "--shard-size", "2"];
        own.iter().chain(more).map(|&word| word.to_owned()).collect()
    }

    /// Computes all shards on some devices, and joins them.
    fn on(&self, devices: &str) -> (Ran, Vec<u8>) {
        let out = self.at(&format!("shards {devices}"));
        let ran = self.run(&["--out-dir", &out, "--device", devices]);
        let joined = self.at("joined.safetensors");
        run(&["merge", &out, "--out", &joined]).done();
        (ran, std::fs::read(joined).expect("a file"))
    }

    fn whole(&self) -> Vec<u8> {
        let path = self.at("whole.safetensors");
        self.run(&["--out", &path, "--device", "host"]).done();
        std::fs::read(path).expect("a file")
    }
}

#[test]
fn devices_share_the_shards() {
    let shared = Shared::new();
    let whole = shared.whole();
    let (ran, bytes) = shared.on("host,host");
    assert!(bytes == whole, "two processes of the host have the bytes of one");
    assert!(ran.stderr.contains("line 12 is left out"), "{}", ran.stderr);
    let text = ran.done();
    assert!(text.starts_with("6 of 6 shards: 6 computed, 0 were there; 1 prompt left out\ndevice host: "), "{text}");
    let counts = text.lines().filter_map(|line| line.strip_prefix("device host: ")?.split_once(" shards"));
    assert_eq!(counts.map(|(n, _)| n.parse::<usize>().expect("a number")).sum::<usize>(), 6, "{text}");
    // All real devices: at least the host.
    let (ran, _) = shared.on("all");
    assert!(ran.done().contains("\ndevice host: "));
    let again = shared.run(&["--out-dir", &shared.at("shards all"), "-d", "host,host"]).done();
    assert!(again.starts_with("6 of 6 shards: 0 computed, 6 were there"), "{again}");
}

#[test]
fn a_device_that_fails_is_named_and_others_compute_its_shards() {
    let shared = Shared::new();
    let (ran, bytes) = shared.on("host,99");
    assert!(bytes == shared.whole());
    // The host may be done before the other process has looked for its device.
    let is_named = ran.stderr.contains("device 99: no ") && ran.stderr.contains("; other devices compute its shards");
    assert!(
        is_named || ran.stdout.contains("device 99: 0 shards, not open before the others were done"),
        "{}",
        ran.stderr
    );
    assert!(ran.done().contains("device host: 6 shards"));
    let ran = shared.run(&["--out-dir", &shared.at("none"), "--device", "98,99"]);
    let line = ran.stderr.lines().last().unwrap_or_default();
    assert!(ran.code == Some(1) && line.contains("error: no device is left for 6 shards: device 98: no "), "{line}");
    // Without shards there is nothing to share.
    let line = shared.run(&["--out", &shared.at("x.safetensors"), "--device", "all"]).failed();
    assert!(line.contains("several devices share only shards: give --prompts and --out-dir, or one device"), "{line}");
}

#[test]
fn the_environment_sets_the_default() {
    let shared = Shared::new();
    let of = |device: &str, index: Option<&str>, more: &[&str]| -> Ran {
        let out = shared.at("one.safetensors");
        let arguments = shared.arguments(&[&["--out", &out][..], more].concat());
        let mut command = command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("RESOLVENT_DEVICE", device).env_remove("SLURM_LOCALID");
        if let Some(index) = index {
            command.env("SLURM_LOCALID", index);
        }
        command.output().unwrap_or_else(|e| panic!("{e}")).into()
    };
    of("host", None, &[]).done();
    assert!(of("imagined", None, &[]).failed().contains("imagined"));
    of("imagined", None, &["--device", "host"]).done();
    // Of a list, a process of a batch job takes one device.
    of("99,host", Some("3"), &[]).done();
    assert!(of("99,host", Some("0"), &[]).failed().contains("99"));
    assert!(of("99,host", None, &[]).failed().contains("several devices share only shards"));
}

/// A GPU and the host give the same numbers up to rounding, and the joined file says which device computed which
/// prompt.
#[test]
fn a_gpu_and_the_host_agree() {
    if gpus().is_empty() {
        return;
    }
    let shared = Shared::new();
    let whole = shared.whole();
    // The host may be done before the GPU is open, so the GPU computes some shards before.
    shared.run(&["--out-dir", &shared.at("shards 0,host"), "--device", "0,0", "--shard", "1/3"]).done();
    let (ran, _) = shared.on("0,host");
    assert!(ran.done().starts_with("6 of 6 shards: 4 computed"));
    let joined = Labelled::read(&shared.0.path().join("joined.safetensors")).expect("reads");
    std::fs::write(shared.at("whole.safetensors"), whole).expect("writes");
    let alone = Labelled::read(&shared.0.path().join("whole.safetensors")).expect("reads");
    let [ours, theirs] = [&joined, &alone].map(|result| &result.array("norm").expect("norms").data);
    let most = theirs.iter().copied().filter(|x| x.is_finite()).fold(0.0, f32::max);
    let near = |(a, b): (&f32, &f32)| (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 * most;
    assert!(ours.iter().zip(theirs).all(near) && ours.len() == theirs.len());
    let executors = &joined.metadata["executor"];
    assert!(executors.contains("gpu"), "{executors}");
}

/// A process that is killed at work is started again, and the bytes are those of one process.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_process_changes_no_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [whole, shards, joined] =
        ["whole.safetensors", "shards", "joined.safetensors"].map(|name| utf8(&folder.path().join(name)));
    let embedded = |more: &[&str]| {
        let common = ["sensitivity", "--prompts", "embedded", "--task", "capitals", "--model", "atlas-nano"];
        command(&[&common[..], &["--shard-size", "2"], more].concat())
    };
    let one: Ran = embedded(&["--device", "host", "--out", &whole]).output().unwrap_or_else(|e| panic!("{e}")).into();
    one.done();
    let mut parent = embedded(&["--device", "host,host", "--out-dir", &shards]);
    parent.stdout(Stdio::piped()).stderr(Stdio::piped());
    let parent = parent.spawn().expect("starts");
    let written = || names(Path::new(&shards)).iter().filter(|name| name.ends_with(".safetensors")).count();
    while !Path::new(&shards).exists() || written() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // A process that has a shard written is at work.
    let children = children(parent.id());
    assert!(!children.is_empty(), "the processes of the devices");
    for child in &children {
        assert!(Command::new("kill").args(["-9", &child.to_string()]).status().expect("kills").success());
    }
    let ran: Ran = parent.wait_with_output().expect("ends").into();
    assert!(
        ran.stderr.contains("device host: its process ended early; its process is started again"),
        "{}",
        ran.stderr
    );
    let text = ran.done();
    assert!(text.starts_with("32 of 32 shards: 32 computed, 0 were there"), "{text}");
    run(&["merge", &shards, "--out", &joined]).done();
    assert!(std::fs::read(joined).expect("a file") == std::fs::read(whole).expect("a file"));
}

/// Returns the processes that a process has started.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<u32> {
    let stat = |id: u32| std::fs::read_to_string(format!("/proc/{id}/stat")).ok();
    let is_child = |id: &u32| {
        // The name of the program, in brackets, may have spaces. Behind it are the state and the parent.
        let text = stat(*id).unwrap_or_default();
        text.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&parent.to_string())
    };
    let all =
        std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(is_child).collect()
}
