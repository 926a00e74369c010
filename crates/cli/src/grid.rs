//! `resolvent grid`: one command for every combination of models, observables and other options, each as shards of its
//! own.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use resolvent::field::{Cell, MANIFEST, Part, Shards, read_grid, write_whole};
use serde_json::json;

use crate::Failure;
use crate::options::close;
use crate::terminal::{print, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Grid file (.json) with a command, its options, and axes with the values of further options
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder for the cells: a folder of shards for each, and beside it a result file when all its shards are there
    #[arg(long, value_name = "DIR")]
    out_dir: PathBuf,
    /// Compute part I of N of the shards of all cells, from 0; without it, all
    #[arg(long, value_name = "I/N")]
    shard: Option<Part>,
    /// Device of all cells that name none
    #[arg(short, long, value_name = "DEVICE")]
    device: Option<String>,
    /// List what is done and what is missing, and compute nothing
    #[arg(long)]
    list: bool,
}

/// The state of a cell.
enum State {
    Done,
    /// How many shards are missing, and how many there are.
    Missing(usize, usize),
    NotStarted,
    Failed(String),
}

/// Runs the command of each cell with `run`, and joins the shards of those that are complete.
pub(crate) fn main(args: &Args, run: &dyn Fn(Vec<String>) -> Result<(), Failure>) -> Result<(), Failure> {
    let cells = read_grid(&args.file)?;
    if !args.list {
        args.index(&cells)?;
    }
    let mut states = Vec::with_capacity(cells.len());
    for (number, cell) in cells.iter().enumerate() {
        let found = if args.list { args.state(cell) } else { args.compute(cell, number, run) };
        states.push(found.unwrap_or_else(|failure| {
            let reason = crate::one_line(&failure.to_string());
            say(format_args!("cell {}: {reason}", cell.name));
            close();
            State::Failed(reason)
        }));
    }
    print(args.table(&cells, &states).trim_end())?;
    let failed: Vec<_> = cells.iter().zip(&states).filter(|(_, state)| matches!(state, State::Failed(_))).collect();
    match failed.first() {
        Some((cell, State::Failed(reason))) => {
            let (count, all) = (failed.len(), cells.len());
            Err(format!("{count} of {all} cells failed, first {}: {reason}", cell.name).into())
        }
        _ => Ok(()),
    }
}

impl Args {
    fn folder(&self, cell: &Cell) -> PathBuf {
        self.out_dir.join(cell.key())
    }

    fn merged(&self, cell: &Cell) -> PathBuf {
        self.out_dir.join(format!("{}.safetensors", cell.key()))
    }

    /// Writes `cells.json`: which folder has which options.
    fn index(&self, cells: &[Cell]) -> Result<(), Failure> {
        let named = |e: std::io::Error| format!("{}: cannot be made: {e}", self.out_dir.display());
        std::fs::create_dir_all(&self.out_dir).map_err(named)?;
        let one = |cell: &Cell| json!({ "name": cell.name, "folder": cell.key(), "command": cell.command, "options": cell.options });
        let text = serde_json::to_string_pretty(&cells.iter().map(one).collect::<Vec<_>>())?;
        Ok(write_whole(&self.out_dir.join("cells.json"), text.as_bytes())?)
    }

    /// Computes this process's shards of a cell, and joins all if they are there.
    fn compute(
        &self,
        cell: &Cell,
        number: usize,
        run: &dyn Fn(Vec<String>) -> Result<(), Failure>,
    ) -> Result<State, Failure> {
        let Part { index, of } = self.shard.unwrap_or(Part::WHOLE).of_cell(number);
        let mut arguments = cell.arguments();
        arguments.push(format!("--out-dir={}", self.folder(cell).display()));
        arguments.push(format!("--shard={index}/{of}"));
        if let Some(device) = self.device.as_ref().filter(|_| !cell.options.contains_key("device")) {
            arguments.push(format!("--device={device}"));
        }
        run(arguments)?;
        let state = self.state(cell)?;
        if matches!(state, State::Done) {
            let (shards, merged) = (Shards::open(&self.folder(cell))?, self.merged(cell));
            if !is_newer(&merged, &shards, &self.folder(cell)) {
                shards.merge_into(&merged)?;
            }
        }
        Ok(state)
    }

    fn state(&self, cell: &Cell) -> Result<State, Failure> {
        let folder = self.folder(cell);
        if !folder.join(MANIFEST).exists() {
            return Ok(State::NotStarted);
        }
        let shards = Shards::open(&folder)?;
        Ok(match shards.missing()?.len() {
            0 => State::Done,
            missing => State::Missing(missing, shards.work().shards()),
        })
    }

    fn table(&self, cells: &[Cell], states: &[State]) -> String {
        let done = states.iter().filter(|state| matches!(state, State::Done)).count();
        let mut text = format!("{done} of {} cells are done, in {}\n", cells.len(), self.out_dir.display());
        for (cell, state) in cells.iter().zip(states) {
            let state = match state {
                State::Done => "done".to_owned(),
                State::Missing(missing, all) => format!("{missing} of {all} shards missing"),
                State::NotStarted => "not started".to_owned(),
                State::Failed(_) => "failed".to_owned(),
            };
            text.push_str(&format!("{}  {state:<22} {}\n", cell.key(), cell.name));
        }
        text
    }
}

/// Returns whether a joined file exists that is as new as all shards, and as the description of their rows.
fn is_newer(merged: &Path, shards: &Shards, folder: &Path) -> bool {
    let time = |path: &Path| -> Option<SystemTime> { path.metadata().and_then(|about| about.modified()).ok() };
    let Some(joined) = time(merged) else { return false };
    let paths = (0..shards.work().shards()).map(|shard| shards.path(shard));
    paths.chain([folder.join(MANIFEST)]).all(|path| time(&path).is_some_and(|written| written <= joined))
}
