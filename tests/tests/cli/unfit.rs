//! Rows that cannot be analysed, of many shards: all of them because of an option, or those of some shards.

use tempfile::TempDir;

use super::{Ran, names, on_host, run, tiny, utf8};

/// A prompt file with so many rows, of which some have a token that the model lacks.
struct Rows(TempDir);

impl Rows {
    fn new(count: usize, bad: impl Fn(usize) -> bool) -> Self {
        let rows = Self(tempfile::tempdir().expect("a temporary folder"));
        let row = |i: usize| {
            let first = if bad(i) { 999 } else { i % 40 };
            format!("\"{first},3,4,1\",\"{first},3,9,1\",#3\n")
        };
        let text: String = (0..count).map(row).collect();
        std::fs::write(rows.0.path().join("rows.csv"), format!("clean_tokens,corrupted_tokens,target\n{text}"))
            .expect("writes");
        rows
    }

    fn at(&self, name: &str) -> String {
        utf8(&self.0.path().join(name))
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let rows = self.at("rows.csv");
        let own = ["patch", "--prompts", &rows, "--model", tiny(), "--shard-size", "2"];
        own.iter().chain(more).map(|&word| word.to_owned()).collect()
    }

    fn run(&self, more: &[&str]) -> Ran {
        let shards = self.at("shards");
        let more = [&["--out-dir", &shards], more].concat();
        run(&self.arguments(&more).iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// An option that no prompt can take ends the command at the first shard, and leaves no shard behind.
#[test]
fn options_that_fit_no_prompt_are_an_error() {
    for (rows, of) in [(10, ""), (60, " of the 9 shards that were tried")] {
        let rows = Rows::new(rows, |_| false);
        for device in ["host", "host,host"] {
            let ran = rows.run(&["--observe", "logit(#99)", "--device", device]);
            let line = ran.stderr.lines().last().unwrap_or_default();
            // Of two processes, either may be the first to find that its rows do not fit.
            let first = if device == "host" { "2: " } else { "" };
            let wanted = format!("error: no prompt{of} can be analysed; line {first}");
            assert!(ran.code == Some(1) && line.starts_with(&wanted) && line.contains("#99"), "{}", ran.stderr);
            assert_eq!(names(&rows.0.path().join("shards")), ["work.json"]);
            // Each of two processes may name the first rows of its first shard.
            assert!(ran.stderr.lines().count() <= 7 && ran.stdout.is_empty(), "{}", ran.stderr);
        }
        let line = rows.run(&["--observe", "logit(#99)", "--device", "host", "--strict"]).failed();
        assert!(line.contains("line 2: ") && line.contains("without --strict it is left out"), "{line}");
        // The same folder then takes the analysis itself only if the options are the same.
        let line = rows.run(&["--device", "host"]).failed();
        assert!(line.contains("`--observe` was logit(#99) and is now none"), "{line}");
    }
}

/// An option that some analyses refuse only when they run is found in the same way.
#[test]
fn options_that_fit_no_run_are_an_error() {
    let rows = Rows::new(8, |_| false);
    let mut arguments = rows.arguments(&["--source", "0,7", "--out-dir", &rows.at("shards")]);
    "green".clone_into(&mut arguments[0]);
    let ran = on_host(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let line = ran.stderr.lines().last().unwrap_or_default();
    assert!(ran.code == Some(1) && line.starts_with("error: no prompt can be analysed; line 2: "), "{}", ran.stderr);
    assert_eq!(names(&rows.0.path().join("shards")), ["work.json"]);
}

/// A shard whose rows are all bad is a shard, also if it is the only one of its process, or the first one.
#[test]
fn a_shard_of_bad_rows_stops_nothing() {
    let rows = Rows::new(40, |i| i < 6 || i % 7 == 0);
    let text = rows.run(&["--device", "host", "--shard", "0/20"]).done();
    assert!(text.starts_with("1 of 20 shards: 1 computed, 0 were there; 2 prompts left out"), "{text}");
    let ran = rows.run(&["--device", "host,host"]);
    assert!(ran.code == Some(0), "{}", ran.stderr);
    let [whole, merged] = ["whole.safetensors", "merged.safetensors"].map(|name| rows.at(name));
    on_host(&rows.arguments(&["--out", &whole]).iter().map(String::as_str).collect::<Vec<_>>()).done();
    run(&["merge", &rows.at("shards"), "--out", &merged]).done();
    assert!(std::fs::read(whole).expect("a file") == std::fs::read(merged).expect("a file"));
}

/// The first few rows are named, and the others counted once.
#[test]
fn rows_of_all_shards_are_counted_once() {
    let rows = Rows::new(80, |i| i % 2 == 1);
    let ran = rows.run(&["--device", "host"]);
    let named = ran.stderr.lines().filter(|line| line.contains(" is left out: ")).count();
    assert_eq!((named, ran.stderr.lines().count()), (5, 6), "{}", ran.stderr);
    assert!(ran.stderr.contains("rows.csv: 35 more rows are left out"), "{}", ran.stderr);
    assert!(ran.done().starts_with("40 of 40 shards: 40 computed, 0 were there; 40 prompts left out"));
}
