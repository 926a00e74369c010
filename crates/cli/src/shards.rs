//! `--shard I/N --out-dir DIR`: a part of an analysis of many prompts, as files that any process can complete.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::{ArgMatches, Args, Command};
use resolvent::engine::Steps;
use resolvent::field::{Part, Prompts, SHARD, Shards, Work, file_hash};
use resolvent::model::{EditText, Model, PromptRow};

use crate::Failure;
use crate::left_out::{LeftOut, Refused};
use crate::several::{self, Asked, from_stdin};
use crate::terminal::counted;

/// Which part of the prompts, and where its files go.
#[derive(Args)]
pub(crate) struct ShardArgs {
    /// Compute part I of N of the prompts, from 0; without it, all parts. With --out-dir
    #[arg(long, value_name = "I/N", requires = "out_dir")]
    shard: Option<Part>,
    /// Write results of fixed-size shards of the prompts to files in DIR; `resolvent merge DIR` joins them. Shards that
    /// are there are not computed again
    #[arg(long, value_name = "DIR", requires = "many", conflicts_with_all = ["prompt", "tokens", "out", "plot", "json"])]
    out_dir: Option<PathBuf>,
    /// Prompts of a shard, which are computed together: all parts of one folder have the same number
    #[arg(long, value_name = "N", default_value_t = SHARD, requires = "many", conflicts_with_all = ["prompt", "tokens"])]
    shard_size: usize,
    /// Compute the shards whose numbers stdin lists, as a process of one of several devices
    #[arg(long, hide = true, requires = "out_dir")]
    queue: bool,
}

/// The rows of a prompt file, for shards.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) rows: &'a [PromptRow],
    /// How many lines of the file are no rows.
    pub(crate) unread: usize,
    /// Whether each result depends on all rows.
    pub(crate) all: bool,
}

/// Returns the results of some rows, and the rows that do not fit the model.
type Compute<'a> = &'a dyn Fn(&[PromptRow]) -> Result<(Prompts, LeftOut), Failure>;

/// Names the rows of a shard that are left out, or refuses them.
type Name<'a> = &'a dyn Fn(&[(String, String)]) -> Result<(), Failure>;

/// What a shard is made of.
#[derive(Clone, Copy)]
pub(crate) struct Calls<'a> {
    pub(crate) compute: Compute<'a>,
    pub(crate) name: Name<'a>,
}

impl ShardArgs {
    /// Returns whether results are shards.
    pub(crate) fn is_given(&self) -> bool {
        self.out_dir.is_some()
    }

    /// Returns whether the command computes shards for another process.
    pub(crate) fn is_queue(&self) -> bool {
        self.queue
    }

    /// Returns how many rows are computed together.
    pub(crate) fn size(&self) -> Result<usize, Failure> {
        match self.shard_size {
            0 => Err("--shard-size 0 leaves no prompt; give 1 or more".into()),
            size => Ok(size),
        }
    }

    /// Returns an error if results are shards, for an analysis that has one result for all prompts together.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        match self.is_given() {
            true => {
                Err("this analysis has one result for all prompts together; leave --out-dir out, and write --out"
                    .into())
            }
            false => Ok(()),
        }
    }

    /// Returns an error if results are shards, for an option that needs the result of all prompts.
    pub(crate) fn refuse_beside(&self, option: &str) -> Result<(), Failure> {
        match self.is_given() {
            true => Err(format!("{option} needs the result of all prompts; leave it or --out-dir out").into()),
            false => Ok(()),
        }
    }

    /// Computes the shards of this part that are not there; `None` if results are not shards.
    pub(crate) fn compute(&self, model: &Model, set: Rows<'_>, calls: Calls<'_>) -> Result<Option<Computed>, Failure> {
        let Some(folder) = &self.out_dir else { return Ok(None) };
        let Rows { rows, unread, all } = set;
        let texts = rows.iter().map(|row| {
            let files = row.observable.as_deref().map_or_else(String::new, |text| files_in(text).join(" "));
            format!("{row:?} {files}")
        });
        let Given { options, words, devices, .. } = given();
        let work = Work::new(model, options, texts, (self.size()?, Some(unread)))?;
        let shards = Shards::create(folder, &if all { work.of_all_rows() } else { work })?;
        let mut process = Process { rows, shards: &shards, calls, has_results: false };
        let all = shards.work().shards();
        let part = self.shard.unwrap_or(Part::WHOLE).shards(all);
        let mut computed =
            Computed { folder: folder.clone(), all, part: part.len(), found: 0, left_out: 0, shares: String::new() };
        if self.queue {
            from_stdin(&mut |shard| if process.is_there(shard)? { Ok(0) } else { process.compute(shard) })?;
            return Ok(Some(computed));
        }
        let mut steps = Steps::new("shards", part.len() as u64);
        if let Some(devices) = devices {
            let mut missing = Vec::new();
            for shard in part {
                if !shards.is_complete(shard)? {
                    missing.push(shard);
                }
            }
            computed.found = computed.part - missing.len();
            steps.advance(computed.found as u64);
            let shares = several::compute(&words, &devices, missing, &mut || steps.advance(1))?;
            if !shares.set_aside.is_empty() {
                return Err(process.set_aside(&shares.set_aside).into());
            }
            (computed.left_out, computed.shares) = (shares.left_out, shares.text);
            return Ok(Some(computed));
        }
        for shard in part {
            match process.is_there(shard)? {
                true => computed.found += 1,
                false => computed.left_out += process.compute(shard)?,
            }
            steps.advance(1);
        }
        Ok(Some(computed))
    }
}

/// The shards as one process computes them.
struct Process<'a> {
    rows: &'a [PromptRow],
    shards: &'a Shards,
    calls: Calls<'a>,
    /// Whether a shard has results, so that the options fit some prompt.
    has_results: bool,
}

impl Process<'_> {
    fn is_there(&mut self, shard: usize) -> Result<bool, Failure> {
        let results = self.shards.results(shard)?;
        self.has_results |= results.is_some_and(|count| count > 0);
        Ok(results.is_some())
    }

    /// Computes and writes a shard, and returns how many of its rows are left out.
    fn compute(&mut self, shard: usize) -> Result<usize, Failure> {
        let rows = |shard: usize| &self.rows[self.shards.work().rows(shard)];
        let (results, unfit) = (self.calls.compute)(rows(shard))?;
        let failed = results.left_out.iter().map(|row| (row.what.clone(), row.reason.clone()));
        let left_out: LeftOut = unfit.iter().cloned().chain(failed).collect();
        (self.calls.name)(&left_out)?;
        self.has_results |= !results.results.is_empty();
        if let Some((name, reason)) = left_out.first().filter(|_| !self.has_results) {
            let has_results =
                &mut |other| -> Result<bool, Failure> { Ok(!(self.calls.compute)(rows(other))?.0.results.is_empty()) };
            self.shards.check_options(shard, (name, reason), has_results).map_err(of_options)?;
            self.has_results = true;
        }
        self.shards.write(shard, &results, unfit.len())?;
        Ok(left_out.len())
    }

    /// Returns the error of shards that ended two processes each, with the reason of the second.
    fn set_aside(&self, shards: &[(usize, String)]) -> String {
        let one = |(shard, reason): &(usize, String)| {
            let rows = &self.rows[self.shards.work().rows(*shard)];
            let names = [rows.first(), rows.last()].map(|row| row.map(PromptRow::name).unwrap_or_default());
            format!("shard {shard} ({}): {reason}", names.join(" to "))
        };
        let each: Vec<String> = shards.iter().map(one).collect();
        format!(
            "two processes ended at each of these shards: {}; the others are computed; run the command again, or \
             replace the row that ends a process by one that is left out, such as {{\"clean\": [999999999]}}",
            each.join("; ")
        )
    }
}

/// Marks the library's error about input as one that no other process would avoid.
fn of_options(failure: Failure) -> Failure {
    match failure.downcast_ref::<resolvent::field::Error>() {
        Some(error @ resolvent::field::Error::Input(_)) => Refused(error.to_string()).into(),
        _ => failure,
    }
}

/// What a process has computed.
pub(crate) struct Computed {
    folder: PathBuf,
    /// Shards of all processes.
    all: usize,
    /// Shards of this process.
    part: usize,
    /// Shards that were there.
    found: usize,
    /// Rows of the computed shards that were left out.
    left_out: usize,
    /// What each of several devices has computed, in words.
    shares: String,
}

impl fmt::Display for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, all, part, found, left_out, shares } = self;
        let (computed, left_out) = (part - found, counted(&left_out.to_string()));
        write!(
            f,
            "{part} of {all} shards: {computed} computed, {found} were there; {left_out} left out{shares}\n\
            `resolvent merge {}` joins them when all are there",
            folder.display()
        )
    }
}

/// A command line.
#[derive(Clone, Default)]
struct Given {
    /// The command and its options, on which results depend.
    options: BTreeMap<String, String>,
    /// All words of it.
    words: Vec<OsString>,
    /// The devices, if several share its shards.
    devices: Option<Vec<String>>,
    /// Whether it computes shards for another process.
    is_queue: bool,
    /// Whether it is a cell of a grid.
    is_cell: bool,
}

/// The command line that is run: that of the process, or that of a cell.
static GIVEN: Mutex<Option<Given>> = Mutex::new(None);

fn given() -> Given {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
}

/// Returns whether the command is a cell of a grid, which may use the model of the cell before.
pub(crate) fn is_cell() -> bool {
    given().is_cell
}

/// Returns whether another command says what this one has computed.
pub(crate) fn is_silent() -> bool {
    let given = given();
    given.is_cell || given.is_queue
}

/// Returns whether several devices share the shards of the command.
pub(crate) fn is_divided() -> bool {
    given().devices.is_some()
}

/// Options on which results do not depend, or that shards identify in another way: the model by its hash, prompts row
/// by row.
const OTHERS: [&str; 17] = [
    "model",
    "device",
    "memory",
    "prompts",
    "text",
    "window",
    "task",
    "rows",
    "strict",
    "shard",
    "out_dir",
    "shard_size",
    "queue",
    "out",
    "plot",
    "json",
    "graph",
];

/// Remembers the command, its options and the words of its line.
pub(crate) fn remember(program: &Command, matches: &ArgMatches, words: Vec<OsString>, is_cell: bool) {
    let Some((name, given)) = matches.subcommand() else { return };
    let Some(command) = program.find_subcommand(name) else { return };
    let mut options = BTreeMap::from([("analysis".to_owned(), name.to_owned())]);
    for option in command.get_arguments().filter(|option| !OTHERS.contains(&option.get_id().as_str())) {
        let id = option.get_id().as_str();
        if let Ok(Some(values)) = given.try_get_raw(id) {
            let values: Vec<String> = values.map(canonical).collect();
            options.insert(format!("--{}", id.replace('_', "-")), values.join(","));
        }
    }
    let has = |id: &str| given.try_contains_id(id).unwrap_or(false);
    let asked = given.try_get_one::<Asked>("device").ok().flatten().filter(|_| has("out_dir"));
    let devices = asked.and_then(Asked::several);
    let is_queue = given.try_get_one::<bool>("queue").ok().flatten().is_some_and(|queue| *queue);
    *GIVEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Given { options, words, devices, is_queue, is_cell });
}

/// Returns the value of an option. One that names files has their hashes.
fn canonical(value: &OsStr) -> String {
    let text = value.to_string_lossy();
    let own = Path::new(value).is_file().then(|| file_hash(Path::new(value)).unwrap_or_default());
    let hashes: Vec<String> = own.into_iter().chain(files_in(&text)).collect();
    if hashes.is_empty() { text.into_owned() } else { format!("{text} ({})", hashes.join(" ")) }
}

/// Returns the hashes of the files that an observable names in quotes, or that an edit names.
fn files_in(text: &str) -> Vec<String> {
    let edit: Option<EditText> = text.parse().ok();
    let named = edit.as_ref().and_then(EditText::file).map(Path::new);
    let is_observable = text.contains("project") && edit.is_none();
    let quoted = text.split('"').skip(1).step_by(2).map(Path::new).filter(|_| is_observable);
    named
        .into_iter()
        .chain(quoted)
        .filter(|path| path.is_file())
        .map(|path| file_hash(path).unwrap_or_default())
        .collect()
}
