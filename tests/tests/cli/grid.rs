//! `grid`: every cell has the bytes of its own command, parts add up, and a cell that fails is named.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ran, names, on_host, run, utf8};

/// A grid of two models and two levels, and where its cells go.
struct Grid(TempDir);

impl Grid {
    fn new(models: &[&str]) -> Self {
        let grid = Self(tempfile::tempdir().expect("a temporary folder"));
        let rows = "clean_tokens,target\n\"0,3,4,1\",#3\n\"1,5,2\",#3\n\"2,3,4,1\",#3\n\"4,4,4\",#3\n\"5,3,1\",#3\n";
        std::fs::write(grid.0.path().join("rows.csv"), rows).expect("writes");
        grid.write(&json!({
            "command": "green",
            "options": {"prompts": grid.at("rows.csv"), "shard_size": 2},
            "axes": {"model": models, "source": ["0,-1", "1,-1"]},
        }));
        grid
    }

    fn write(&self, file: &Value) {
        std::fs::write(self.at("grid.json"), file.to_string()).expect("writes");
    }

    fn at(&self, name: &str) -> String {
        utf8(&self.0.path().join(name))
    }

    fn run(&self, out: &str, more: &[&str]) -> Ran {
        on_host(&[&["grid", &self.at("grid.json"), "--out-dir", &self.at(out)][..], more].concat())
    }

    /// Returns the bytes of the joined file of each cell, by its name.
    fn cells(&self, out: &str) -> Vec<(String, Vec<u8>)> {
        let index = std::fs::read(self.0.path().join(out).join("cells.json")).expect("an index");
        let index: Vec<Value> = serde_json::from_slice(&index).expect("JSON");
        let one = |cell: &Value| {
            let [name, folder] = ["name", "folder"].map(|key| cell[key].as_str().expect("a text"));
            let path = self.0.path().join(out).join(format!("{folder}.safetensors"));
            (name.to_owned(), std::fs::read(path).expect("a joined file"))
        };
        index.iter().map(one).collect()
    }
}

const MODELS: [&str; 2] = ["random:1", "random:2"];

#[test]
fn cells_have_the_bytes_of_their_own_commands() {
    let grid = Grid::new(&MODELS);
    let text = grid.run("out", &[]).done();
    assert!(
        text.starts_with("4 of 4 cells are done, in ")
            && text.contains("done                   model=random:1 source=0,-1\n"),
        "{text}"
    );
    let cells = grid.cells("out");
    for (number, (name, bytes)) in cells.iter().enumerate() {
        let (model, source) = (MODELS[number / 2], ["0,-1", "1,-1"][number % 2]);
        assert_eq!(*name, format!("model={model} source={source}"));
        let path = grid.at("alone.safetensors");
        let rows = grid.at("rows.csv");
        let alone =
            ["green", "--model", model, "--source", source, "--prompts", &rows, "--shard-size", "2", "--out", &path];
        on_host(&alone).done();
        assert!(*bytes == std::fs::read(path).expect("a file"), "{name}");
    }
    assert!(cells[0].1 != cells[1].1 && cells[0].1 != cells[2].1, "cells differ");
    // Parts add up to the same bytes, in any order, and the last one joins each cell.
    for part in ["2/3", "0/3"] {
        grid.run("parts", &["--shard", part]).done();
    }
    let list = run(&["grid", &grid.at("grid.json"), "--out-dir", &grid.at("parts"), "--list"]).done();
    assert!(list.starts_with("0 of 4 cells are done") && list.contains("1 of 3 shards missing"), "{list}");
    let text = grid.run("parts", &["--shard", "1/3"]).done();
    assert!(text.starts_with("4 of 4 cells are done"), "{text}");
    assert!(grid.cells("parts") == cells);
}

#[test]
fn a_grid_resumes_and_grows() {
    let grid = Grid::new(&MODELS[..1]);
    let list = run(&["grid", &grid.at("grid.json"), "--out-dir", &grid.at("out"), "--list"]).done();
    assert!(list.starts_with("0 of 2 cells are done") && list.contains("not started"), "{list}");
    assert!(!Path::new(&grid.at("out")).exists(), "a list writes nothing");
    grid.run("out", &[]).done();
    let before = grid.cells("out");
    // A shard that is lost is computed again, and so is a joined file.
    let folder = names(Path::new(&grid.at("out"))).into_iter().find(|name| !name.contains('.')).expect("a folder");
    let lost = names(Path::new(&grid.at(&format!("out/{folder}")))).into_iter().find(|name| name != "work.json");
    std::fs::remove_file(grid.at(&format!("out/{folder}/{}", lost.expect("a shard")))).expect("removes");
    std::fs::write(grid.at(&format!("out/{folder}.safetensors")), "old").expect("writes");
    let mut file: Value = serde_json::from_slice(&std::fs::read(grid.at("grid.json")).expect("a file")).expect("JSON");
    file["axes"]["model"] = json!(MODELS);
    grid.write(&file);
    let text = grid.run("out", &[]).done();
    assert!(text.starts_with("4 of 4 cells are done"), "{text}");
    assert!(grid.cells("out")[..2] == before[..]);
}

#[test]
fn a_cell_that_fails_is_named_and_others_proceed() {
    let grid = Grid::new(&["random:1", "no/such/folder"]);
    let ran = grid.run("out", &[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with("2 of 4 cells are done") && ran.stdout.contains("failed"), "{}", ran.stdout);
    let line = ran.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("error: 2 of 4 cells failed, first model=no/such/folder source=0,-1: "), "{line}");
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("cell model=no/such/folder")).count(), 2);
    // Options that do not exist, and commands with one result for all prompts.
    for (options, part) in [
        (json!({"command": "green", "options": {"prompts": "x.csv", "sorce": "0,1"}}), "unexpected argument '--sorce'"),
        (
            json!({"command": "average", "options": {"prompts": grid.at("rows.csv"), "model": "random"}}),
            "one result for all prompts",
        ),
        (json!({"command": "study"}), "unexpected argument '--out-dir"),
    ] {
        grid.write(&options);
        let ran = grid.run("other", &[]);
        let line = ran.stderr.lines().last().unwrap_or_default();
        assert!(ran.code == Some(1) && line.contains("1 of 1 cells failed") && line.contains(part), "{line}");
    }
    grid.write(&json!({"command": "green", "option": {}}));
    let line = grid.run("other", &[]).failed();
    assert!(
        line.contains(
            "invalid grid file: unknown key `option`; expected command, options or axes; did you mean `options`?"
        ),
        "{line}"
    );
}
