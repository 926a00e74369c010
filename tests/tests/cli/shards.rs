//! `--shard`, `--out-dir` and `merge`: the same bytes however an analysis of many prompts is divided, interrupted or
//! repeated.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use resolvent_engine::{Step, reported};
use resolvent_field::Shards;
use tempfile::TempDir;

use super::{Ran, binary, command, names, on_host, run, tiny, utf8};

/// Eight pairs of two lengths with a role; a row without a corrupted prompt, one whose prompts differ in length, and a
/// line that is no row.
fn rows(folder: &TempDir) -> String {
    let mut text = "clean_tokens,corrupted_tokens,target,against,role.changed\n".to_owned();
    for i in 0..8 {
        let row = |text: &str| text.split(',').take(if i % 2 == 0 { 5 } else { 4 }).collect::<Vec<_>>().join(",");
        text += &format!("\"{}\",\"{}\",#3,#11,2\n", row(&format!("{i},3,4,1,5")), row(&format!("{i},3,9,1,5")));
        if i == 2 {
            text += "\"1,2,3\",\"1,2\",#3,#11,1\n\"1,x\",\"1,2\",#3,#11,1\n\"4,1,4,1,5\",,#3,#11,2\n";
        }
    }
    let path = folder.path().join("rows.csv");
    std::fs::write(&path, text).expect("writes");
    utf8(&path)
}

/// An analysis of these rows, three in a shard, and where its files go.
struct Sharded {
    folder: TempDir,
    arguments: Vec<String>,
}

impl Sharded {
    fn new(analysis: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows = rows(&folder);
        // The lens reads a run of several prompts at places that a narrow model does not align.
        let model = if analysis.starts_with("lens") { "atlas-nano" } else { tiny() };
        let more = ["--prompts", &rows, "--shard-size", "3", "--model", model];
        let arguments = analysis.split(' ').chain(more).map(str::to_owned).collect();
        Self { folder, arguments }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shards(&self) -> String {
        utf8(&self.at("shards"))
    }

    fn run(&self, more: &[&str]) -> Ran {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        on_host(&[&arguments, more].concat())
    }

    /// Computes a part of the shards.
    fn part(&self, part: &str) -> Ran {
        self.run(&["--out-dir", &self.shards(), "--shard", part])
    }

    /// Returns the file of one process.
    fn whole(&self) -> Vec<u8> {
        let path = self.at("whole.safetensors");
        self.run(&["--out", &utf8(&path)]).done();
        std::fs::read(path).expect("a file")
    }

    fn merge(&self) -> Ran {
        run(&["merge", &self.shards(), "--out", &utf8(&self.at("merged.safetensors"))])
    }

    fn merged(&self) -> Vec<u8> {
        self.merge().done();
        std::fs::read(self.at("merged.safetensors")).expect("a file")
    }

    /// Returns the files of the shards, in their order.
    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<String> = names(&self.at("shards"));
        files.retain(|name| name.ends_with(".safetensors"));
        files.sort();
        files.iter().map(|name| self.at("shards").join(name)).collect()
    }
}

/// Returns the error of a run that has warned about rows too.
fn error(ran: &Ran) -> String {
    assert_eq!((ran.code, &ran.stdout[..]), (Some(1), ""), "{}", ran.stderr);
    let line = ran.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(line.starts_with("error: "), "{}", ran.stderr);
    line
}

/// Two parts joined have the bytes of one process, for every analysis that has a result for each prompt.
#[test]
fn merged_shards_have_the_bytes_of_one_process() {
    for analysis in [
        "run",
        "sensitivity",
        "sensitivity --observe kl(base)",
        "patch --sites resid,z --predictors relp,curvature",
        "lens",
        "attribute --neurons",
        "edges --predictors integrated --steps 2",
        "edges --controls 1",
        "green --source 0,1 --direction displacement",
        "flow --steps 2",
        "flow --source 0,1",
        "identities",
        "regime --sites=0,-1 --direction random",
        "quadratic --at 0,-1 -k 2 --samples 3",
        "invert --goal 0.1 --from=-1,-1",
        "transfer --controls 1",
    ] {
        let sharded = Sharded::new(analysis);
        let whole = sharded.whole();
        let first = sharded.part("0/2").done();
        assert!(first.starts_with("2 of 4 shards: 2 computed, 0 were there"), "{analysis}: {first}");
        sharded.part("1/2").done();
        assert!(sharded.merged() == whole, "{analysis}: the merged file differs");
        assert!(sharded.merged() == whole, "{analysis}: merged again, the file differs");
    }
}

/// Options and rows decide what is computed: nothing is computed twice, and other work is not mixed in.
#[test]
fn what_is_there_is_not_computed_again() {
    let sharded = Sharded::new("patch");
    sharded.part("1/3").done();
    let line = sharded.merge().failed();
    assert!(line.contains("3 of 4 shards are missing: 0, 2, 3; run the analysis again with --out-dir"), "{line}");
    let first = std::fs::metadata(&sharded.files()[0]).and_then(|about| about.modified()).expect("a file");
    // Another number of parts uses what is there, and so does a run without parts.
    let text = sharded.part("0/2").done();
    assert!(text.starts_with("2 of 4 shards: 2 computed, 0 were there"), "{text}");
    let text = sharded.run(&["--out-dir", &sharded.shards()]).done();
    assert!(text.starts_with("4 of 4 shards: 1 computed, 3 were there"), "{text}");
    let again = std::fs::metadata(&sharded.files()[1]).and_then(|about| about.modified()).expect("a file");
    assert_eq!(first, again);
    assert!(sharded.merged() == sharded.whole());
    // More parts than shards: the last ones have nothing to do.
    let text = sharded.part("8/9").done();
    assert!(text.starts_with("0 of 4 shards"), "{text}");
    // The device is no part of the work, but the options and the rows are.
    for (more, key) in [
        (&["--sites", "z"][..], "`--sites` was resid and is now z"),
        (&["--rows", "2"], "`prompts` was 10 and is now 2"),
        (&["--observe", "entropy()"], "`--observe` was none and is now entropy()"),
    ] {
        let line = error(&sharded.run(&[&["--out-dir", &sharded.shards()][..], more].concat()));
        assert!(line.contains("has shards of other work: ") && line.contains(key), "{line}");
    }
}

/// A file that is cut, damaged or unfinished is no shard: the next run computes it again.
#[test]
fn damaged_shards_do_not_exist() {
    let sharded = Sharded::new("sensitivity");
    let whole = sharded.whole();
    sharded.part("0/1").done();
    let files = sharded.files();
    let bytes = std::fs::read(&files[2]).expect("a file");
    let mut flipped = bytes.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    for damaged in [&[][..], &bytes[..7], &bytes[..bytes.len() / 2], &flipped] {
        std::fs::write(&files[2], damaged).expect("writes");
        // What a killed process leaves beside it has no effect.
        std::fs::write(sharded.at("shards/.tmpHalf"), damaged).expect("writes");
        let line = sharded.merge().failed();
        assert!(line.contains("1 of 4 shards are missing: 2 (damaged); "), "{line}");
        let text = sharded.part("0/1").done();
        assert!(text.starts_with("4 of 4 shards: 1 computed, 3 were there"), "{text}");
        assert!(std::fs::read(&files[2]).expect("a file") == bytes && sharded.merged() == whole);
    }
}

/// A worker of another version stops at once, and a shard of other work that was copied into the folder is not merged.
#[test]
fn other_versions_are_refused() {
    let sharded = Sharded::new("sensitivity");
    sharded.part("0/1").done();
    let other = Sharded::new("run");
    other.part("0/1").done();
    let file = &sharded.files()[1];
    let own = std::fs::read(file).expect("a file");
    std::fs::copy(&other.files()[1], file).expect("copies");
    for line in [sharded.merge().failed(), error(&sharded.part("0/1"))] {
        assert!(
            line.contains("is a shard of other work: `--") || line.contains("is a shard of other work: `analysis`"),
            "{line}"
        );
    }
    std::fs::write(file, own).expect("writes");
    let manifest = sharded.at("shards/work.json");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let version = env!("CARGO_PKG_VERSION");
    std::fs::write(&manifest, text.replace(&format!("\"version\":\"{version}\""), "\"version\":\"0.0.1\""))
        .expect("writes");
    let line = error(&sharded.part("0/1"));
    assert!(
        line.contains(&format!(
            "has shards of other work: `version` was 0.0.1 and is now {version}; name another folder"
        )),
        "{line}"
    );
    std::fs::write(&manifest, "{}").expect("writes");
    let line = sharded.merge().failed();
    assert!(line.contains("work.json: does not describe shards"), "{line}");
    let line = run(&["merge", &utf8(sharded.folder.path())]).failed();
    assert!(line.contains("work.json: cannot be read"), "{line}");
}

#[test]
fn parts_that_cannot_be_are_refused() {
    let sharded = Sharded::new("sensitivity");
    for (more, part) in [
        (&["--shard", "0/2"][..], "--out-dir <DIR>"),
        (&["--shard", "2/2", "--out-dir", "x"], "the last of 2 is 1/2"),
        (&["--out-dir", "x", "--out", "x.safetensors"], "cannot be used with"),
    ] {
        let ran = sharded.run(more);
        assert!(ran.code == Some(2) && ran.stderr.contains(part), "{more:?}: {}", ran.stderr);
    }
    let line = sharded.run(&["--out-dir", &sharded.shards(), "--shard-size", "0"]);
    assert!(line.stderr.contains("cannot be used multiple times"), "{}", line.stderr);
    for analysis in ["average", "reach", "circuit", "reduce"] {
        let sharded = Sharded::new(analysis);
        let line = error(&sharded.run(&["--out-dir", &sharded.shards()]));
        assert!(line.contains("one result for all prompts together; leave --out-dir out"), "{analysis}: {line}");
        let help = run(&[analysis, "--help"]).done();
        assert!(!help.contains("--out-dir"), "{analysis}");
    }
    let sharded = Sharded::new("edges --graph x.json");
    let line = error(&sharded.run(&["--out-dir", &sharded.shards()]));
    assert!(line.contains("--graph needs the result of all prompts"), "{line}");
}

/// An analysis of the embedded model that takes a second or two, with 16 shards.
fn embedded(out: &[&str]) -> Command {
    let common =
        ["sensitivity", "--prompts", "embedded", "--task", "capitals", "--model", "atlas-nano", "--device", "host"];
    command(&[&common[..], &["--shard-size", "4"], out].concat())
}

fn finished(mut command: Command) -> Ran {
    command.output().unwrap_or_else(|e| panic!("{e}")).into()
}

fn merged(folder: &Path, out: &Path) -> Vec<u8> {
    run(&["merge", &utf8(folder), "--out", &utf8(out)]).done();
    std::fs::read(out).expect("a file")
}

/// Ten times, a worker that is killed at another moment of its work loses nothing and doubles nothing.
#[test]
fn kills_change_no_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [whole, out] = ["whole.safetensors", "merged.safetensors"].map(|name| folder.path().join(name));
    let began = std::time::Instant::now();
    finished(embedded(&["--out", &utf8(&whole)])).done();
    let all = began.elapsed();
    let whole = std::fs::read(whole).expect("a file");
    let mut unfinished = 0;
    for n in 0..10 {
        let shards = folder.path().join(n.to_string());
        let mut worker = embedded(&["--out-dir", &utf8(&shards)]);
        worker.stdout(Stdio::null()).stderr(Stdio::null());
        let mut worker = worker.spawn().expect("starts");
        std::thread::sleep(all.mul_f64(0.35 + 0.061 * f64::from(n)));
        let _already_done = worker.kill();
        worker.wait().expect("ends");
        let line = finished(embedded(&["--out-dir", &utf8(&shards)])).done();
        unfinished += u32::from(!line.contains("16 shards: 0 computed"));
        assert!(merged(&shards, &out) == whole, "kill {n} changed the file: {line}");
    }
    assert!(unfinished >= 3, "only {unfinished} workers were killed at work");
}

/// Two workers that compute all shards at the same time do no harm.
#[test]
fn two_workers_on_one_shard_do_no_harm() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [whole, shards, out] =
        ["whole.safetensors", "shards", "merged.safetensors"].map(|name| folder.path().join(name));
    finished(embedded(&["--out", &utf8(&whole)])).done();
    let start = || {
        let mut worker = embedded(&["--out-dir", &utf8(&shards)]);
        worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
    };
    for mut worker in [start(), start()] {
        assert!(worker.wait().expect("ends").success());
    }
    assert!(merged(&shards, &out) == std::fs::read(whole).expect("a file"));
    // Every shard once, the description, and nothing else.
    assert_eq!(names(&shards).len(), 16 + 1, "{:?}", names(&shards));
}

/// A full disk leaves no shard behind, and says so; the same command resumes.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_shard() {
    let sharded = Sharded::new("run");
    let whole = sharded.whole();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\"", &utf8(binary())]).args(&sharded.arguments);
    limited.args(["--device", "host", "--out-dir", &sharded.shards()]);
    let ran: Ran = limited.output().expect("runs").into();
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let line = ran.stderr.lines().last().unwrap_or_default();
    assert!(line.contains("File too large") && line.contains("is the disk full"), "{line}");
    assert_eq!(names(&sharded.at("shards")), ["work.json"]);
    sharded.part("0/1").done();
    assert!(sharded.merged() == whole);
}

/// `merge` reports its steps: the first reading of the shards, and all further ones.
#[test]
fn merging_reports_its_steps() {
    let sharded = Sharded::new("patch");
    sharded.part("0/1").done();
    let shards = Shards::open(&sharded.at("shards")).expect("shards");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (steps, path) = (Rc::clone(&seen), sharded.at("merged.safetensors"));
    let report = move |step: Step| steps.borrow_mut().push((step.what, step.done, step.all));
    reported(report, || shards.merge_into(&path)).expect("merges");
    let seen = seen.take();
    let of = |what: &str| seen.iter().filter(|step| step.0 == what).copied().collect::<Vec<_>>();
    assert_eq!(of("shards"), (0..=4).map(|n| ("shards", n, 4)).collect::<Vec<_>>());
    // Means of one block of places, two passes of correlations, and the rows: every reading is counted.
    assert_eq!(of("readings of shards"), (0..=16).map(|n| ("readings of shards", n, 16)).collect::<Vec<_>>());
    assert_eq!(seen.len(), 5 + 17);
}
