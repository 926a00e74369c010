//! Folders of shards whose prompt set grows or is mended: only shards with other rows are computed, and no shard of
//! rows that are not in the set is merged.

use std::process::Stdio;

use tempfile::TempDir;

use super::{Ran, command, names, on_host, run, tiny, utf8};

/// A prompt file whose rows change, and a folder of its shards, three rows each.
struct Growing {
    folder: TempDir,
    rows: Vec<String>,
}

impl Growing {
    fn new(rows: usize) -> Self {
        let growing = Self { folder: tempfile::tempdir().expect("a temporary folder"), rows: Vec::new() };
        growing.with((0..rows).map(row).collect())
    }

    /// Returns the same folder with other rows in the file.
    fn with(mut self, rows: Vec<String>) -> Self {
        let header = "clean_tokens,corrupted_tokens,target,against\n";
        std::fs::write(self.folder.path().join("rows.csv"), format!("{header}{}\n", rows.join("\n"))).expect("writes");
        self.rows = rows;
        self
    }

    fn at(&self, name: &str) -> String {
        utf8(&self.folder.path().join(name))
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let rows = self.at("rows.csv");
        let own = ["patch", "--prompts", &rows, "--model", tiny(), "--shard-size", "3"];
        own.iter().chain(more).map(|&word| word.to_owned()).collect()
    }

    fn run(&self, more: &[&str]) -> Ran {
        on_host(&self.arguments(more).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Checks how many shards are computed, and that the merged file has the bytes of one process.
    #[track_caller]
    fn computes(&self, computed: usize) {
        let all = self.rows.len().div_ceil(3);
        let text = self.run(&["--out-dir", &self.at("shards")]).done();
        let wanted = format!("{all} of {all} shards: {computed} computed, {} were there", all - computed);
        assert!(text.starts_with(&wanted), "{text}");
        assert!(self.merged() == self.whole(), "the merged file differs");
    }

    fn merged(&self) -> Vec<u8> {
        let path = self.at("merged.safetensors");
        run(&["merge", &self.at("shards"), "--out", &path]).done();
        std::fs::read(path).expect("a file")
    }

    fn whole(&self) -> Vec<u8> {
        let path = self.at("whole.safetensors");
        self.run(&["--out", &path]).done();
        std::fs::read(path).expect("a file")
    }

    #[track_caller]
    fn refuses(&self, more: &[&str], difference: &str) {
        let line = self.run(&[&["--out-dir", &self.at("shards")], more].concat()).failed();
        let wanted = format!("has shards of other work: {difference}");
        assert!(line.contains(&wanted) && line.contains("; name another folder"), "{line}");
    }
}

fn row(i: usize) -> String {
    format!("\"{},3,4,1\",\"{},3,9,1\",#3,#11", i % 40, i % 40)
}

#[test]
fn only_shards_with_other_rows_are_computed() {
    let growing = Growing::new(10);
    growing.computes(4);
    // Three rows at the end: the last shard grows, and there is another one.
    let growing = growing.with((0..13).map(row).collect());
    growing.computes(2);
    // The set before, or a part of it, is other work, and so are rows between others.
    growing.refuses(&["--rows", "10"], "`prompts` was 13 and is now 10");
    let mut between: Vec<String> = (0..13).map(row).collect();
    between.insert(5, row(30));
    let growing = growing.with(between);
    growing.refuses(&[], "`prompts` was 13 and is now 14, with other rows among the first 13");
    // A mended row, and the row as it was.
    let mut mended: Vec<String> = (0..13).map(row).collect();
    mended[4] = row(20);
    let growing = growing.with(mended);
    growing.computes(1);
    let growing = growing.with((0..13).map(row).collect());
    growing.computes(0);
    // A line that is no row changes no shard, but the count of rows that were left out.
    let mut unread: Vec<String> = (0..13).map(row).collect();
    unread.push("\"x\",,,".to_owned());
    std::fs::write(
        growing.at("rows.csv"),
        format!("clean_tokens,corrupted_tokens,target,against\n{}\n", unread.join("\n")),
    )
    .expect("writes");
    growing.computes(0);
    // Options are other work, whatever the rows are, and as many rows without one in common are.
    let growing = growing.with((0..14).map(row).collect());
    growing.refuses(&["--sites", "z"], "`--sites` was resid and is now z");
    let growing = growing.with((20..33).map(row).collect());
    growing.refuses(&[], "no shard has the same prompts");
}

/// What a process of the set before leaves in the folder is not merged, and under the name of another shard it is
/// refused.
#[test]
fn shards_of_rows_that_are_gone_are_not_merged() {
    let growing = Growing::new(4);
    growing.computes(2);
    let old = names(growing.folder.path().join("shards").as_path());
    let growing = growing.with((0..5).map(row).collect());
    // A process of the set before computes its last shard again, and writes it after the folder has changed.
    let last = old.iter().find(|name| name.starts_with("000001-")).expect("a shard").clone();
    let bytes = std::fs::read(growing.at(&format!("shards/{last}"))).expect("a file");
    growing.computes(1);
    std::fs::write(growing.at(&format!("shards/{last}")), &bytes).expect("writes");
    assert!(growing.merged() == growing.whole());
    let now = names(growing.folder.path().join("shards").as_path());
    let grown = now.iter().find(|name| name.starts_with("000001-") && **name != last).expect("a shard");
    std::fs::write(growing.at(&format!("shards/{grown}")), &bytes).expect("writes");
    let line = run(&["merge", &growing.at("shards"), "--out", &growing.at("merged.safetensors")]).failed();
    assert!(line.contains("is a shard of other work: `rows` was "), "{line}");
}

/// Several processes at once may make a folder one of a larger set.
#[test]
fn two_processes_may_grow_a_folder() {
    let growing = Growing::new(7);
    growing.computes(3);
    let growing = growing.with((0..30).map(row).collect());
    let start = || {
        let more = ["--device", "host", "--out-dir", &growing.at("shards")];
        let arguments = growing.arguments(&more);
        let mut worker = command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
    };
    for mut worker in [start(), start()] {
        assert!(worker.wait().expect("ends").success());
    }
    growing.computes(0);
}

/// Where each prompt is compared with others, a larger set is other work.
#[test]
fn controls_depend_on_all_rows() {
    let growing = Growing::new(6);
    let edges = |growing: &Growing| {
        let mut arguments = growing.arguments(&["--controls", "1", "--out-dir", &growing.at("edges")]);
        "edges".clone_into(&mut arguments[0]);
        on_host(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(edges(&growing).done().starts_with("2 of 2 shards: 2 computed"));
    assert!(edges(&growing).done().starts_with("2 of 2 shards: 0 computed"));
    let growing = growing.with((0..7).map(row).collect());
    let line = edges(&growing).failed();
    assert!(line.contains("has shards of other work: `prompts_hash` was "), "{line}");
}
