//! A study: every analysis on a model and a set of prompts, as steps whose results are files.
//!
//! A step is one analysis of one task. Its result is written when it is done, so a study that was interrupted goes on
//! where it was: steps whose files are there, and were made from the same model, prompts, options, device and version, are
//! read back. Every step is a function of those alone, so the results do not depend on interruptions.
//!
//! What cannot be analysed, and what fails its check, is recorded and left out, and the study goes on: see [`LeftOut`].

mod inverse;
mod left_out;
mod names;
mod patching;
mod predictors;
mod propagation;
mod reduction;
mod regimes;
mod scaling;
mod statement;
mod superposed;
mod tasks;
mod transfers;

use std::path::{Path, PathBuf};

use resolvent_model::{Model, PromptSet, TokenPair};

use crate::distinct::distinct;
use crate::error::{Error, Result};
use crate::labelled::Labelled;

pub use left_out::LeftOut;
use left_out::{Record, ends, may_pass};
pub use statement::{Statement, Verdict, statements};
use tasks::{Task, pair_name};

/// What to study.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyOptions {
    /// Tasks of the prompt set; without any, all of them.
    pub tasks: Vec<String>,
    /// The most prompts that a step takes of a task.
    pub prompts: usize,
    /// Fewer prompts, places and directions in each step: a first look.
    pub quick: bool,
    /// Of everything that is drawn at random.
    pub seed: u64,
}

impl Default for StudyOptions {
    fn default() -> Self {
        Self { tasks: Vec::new(), prompts: 32, quick: false, seed: 0 }
    }
}

/// A study that is ready to run.
pub struct Study<'a> {
    model: &'a Model,
    small: &'a [Model],
    tasks: Vec<(String, Vec<TokenPair>)>,
    /// What files call the tasks.
    stems: Vec<String>,
    options: StudyOptions,
    /// Pairs that do not fit the model's tokenizer, of all.
    pub left_out: (usize, usize),
    /// Those pairs, and tasks with too few pairs, by name.
    before: Vec<LeftOut>,
    key: String,
}

/// The fewest pairs of a task: fewer are no sample.
const LEAST: usize = 4;

/// A step's name and result.
#[derive(Clone, Debug)]
pub struct Done {
    /// Analysis and task, such as `patching.ioi`.
    pub name: String,
    /// Arrays, checks and provenance.
    pub result: Labelled,
}

/// What a study tells while it runs.
#[derive(Clone, Copy, Debug)]
pub struct StepProgress<'a> {
    /// Steps that are done.
    pub done: usize,
    /// Steps that there are.
    pub of: usize,
    /// The step that is about to run, or was read back.
    pub name: &'a str,
    /// Whether it was read back.
    pub cached: bool,
}

/// An analysis of one task.
type Analysis = fn(&Task<'_>, &mut Record) -> Result<Labelled>;

/// The analyses of a task, in order.
const ANALYSES: [(&str, Analysis); 8] = [
    ("regimes", regimes::step),
    ("patching", patching::step),
    ("predictors", predictors::step),
    ("superposed", superposed::step),
    ("propagation", propagation::step),
    ("reduction", reduction::step),
    ("transfers", transfers::step),
    ("inverse", inverse::step),
];

/// Why a pair of prompts is no pair of tokens.
const UNFIT: &str = "does not fit the model's tokenizer: both texts need as many tokens, and each answer is one token";

/// The analysis of all tasks together.
const SCALING: &str = "scaling";

impl<'a> Study<'a> {
    /// A study of `model` on the tasks of `set`; responses of the models in `small`, which share its tokenizer, are tried as
    /// predictions of its own.
    ///
    /// # Errors
    /// A task that is not in the set, a model without a tokenizer, or prompts of which none fits the model.
    pub fn new(model: &'a Model, small: &'a [Model], set: &PromptSet, options: StudyOptions) -> Result<Self> {
        let names: Vec<String> = if options.tasks.is_empty() {
            set.tasks.keys().cloned().collect()
        } else {
            distinct(options.tasks.iter().cloned())
        };
        if options.prompts < LEAST {
            return Err(Error::Input(format!(
                "a study needs at least {LEAST} prompt pairs of each task, and the limit is {}; raise --limit",
                options.prompts
            )));
        }
        let (mut tasks, mut left_out, mut before) = (Vec::<(String, Vec<TokenPair>)>::new(), (0, 0), Vec::new());
        for name in names {
            if tasks.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let mut pairs = Vec::new();
            let prompts = &set.task(&name)?.prompts;
            for pair in prompts {
                left_out.1 += 1;
                match pair.tokens(model)? {
                    Some(tokens) => pairs.push(tokens),
                    None => {
                        left_out.0 += 1;
                        let what = format!("{} of task {name}", pair_name(&pair.clean, &pair.corrupted));
                        before.push(LeftOut::new(what, UNFIT));
                    }
                }
            }
            if pairs.len() < LEAST {
                let (all, fit) = (prompts.len(), pairs.len());
                let reason = format!("{fit} of its {all} pairs fit the model, and a task needs {LEAST}");
                before.push(LeftOut::new(format!("task {name}"), reason));
                continue;
            }
            pairs.truncate(options.prompts);
            tasks.push((name, pairs));
        }
        if tasks.is_empty() {
            return Err(Error::Input(format!(
                "no task has four prompts that fit {}: both texts of a pair need as many tokens, and answers are one \
                 token",
                model.name()
            )));
        }
        let key = key(model, small, &tasks, &options);
        let stems = names::stems(&tasks.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
        Ok(Self { model, small, tasks, stems, options, left_out, before, key })
    }

    /// Names of the steps, in order.
    pub fn steps(&self) -> Vec<String> {
        let each = self.tasks.iter().flat_map(|(task, _)| ANALYSES.map(|(name, _)| format!("{name}.{task}")));
        each.chain((!self.small.is_empty()).then(|| SCALING.to_owned())).collect()
    }

    /// The tasks with their pairs.
    pub fn tasks(&self) -> &[(String, Vec<TokenPair>)] {
        &self.tasks
    }

    /// The model that is studied.
    pub fn model(&self) -> &Model {
        self.model
    }

    /// What the study left out: tasks and pairs before all steps, then what the steps recorded, each once.
    pub fn left_out_of(&self, done: &[Done]) -> Vec<LeftOut> {
        self.before.iter().cloned().chain(left_out::of_steps(done)).collect()
    }

    /// Runs what is not there yet and returns everything; results go to `folder`, one file a step. A step that cannot be
    /// analysed has a result without arrays, and [`Study::left_out_of`] tells why.
    ///
    /// # Errors
    /// A folder that cannot be written, results of another study in it, a lost device, or a stop.
    pub fn run(&self, folder: &Path, progress: &mut dyn FnMut(StepProgress<'_>)) -> Result<Vec<Done>> {
        std::fs::create_dir_all(folder).map_err(|e| Error::File {
            path: folder.to_owned(),
            reason: format!("cannot be created: {e}; name a folder that you may write to"),
        })?;
        let names = self.steps();
        let mut all = Vec::with_capacity(names.len());
        for (done, name) in names.iter().enumerate() {
            let path = folder.join(self.file_name(name));
            let known = if path.exists() { Some(self.known(&path)?) } else { None };
            progress(StepProgress { done, of: names.len(), name, cached: known.is_some() });
            let result = match known {
                Some(result) => result,
                None => self.made(name, &path)?,
            };
            all.push(Done { name: name.clone(), result });
        }
        Ok(all)
    }

    /// Name of the file of a step: the step's own, unless no file can have that.
    fn file_name(&self, step: &str) -> String {
        let (analysis, task) = step.split_once('.').unwrap_or((step, ""));
        let stem = self.tasks.iter().zip(&self.stems).find(|((name, _), _)| name == task).map(|(_, stem)| stem);
        match stem {
            Some(stem) if analysis != SCALING => format!("{analysis}.{stem}.safetensors"),
            _ => format!("{step}.safetensors"),
        }
    }

    /// A result that is there, if it belongs to this study.
    fn known(&self, path: &Path) -> Result<Labelled> {
        let result = Labelled::read(path)?;
        if result.metadata.get("study") == Some(&self.key) {
            return Ok(result);
        }
        Err(Error::File {
            path: PathBuf::from(path),
            reason:
                "belongs to a study of another model, prompts, options, device or version; name another folder, or \
                     remove this one"
                    .to_owned(),
        })
    }

    /// A step that is not there yet: its result, or what it came to, written to a file unless that may pass.
    fn made(&self, name: &str, path: &Path) -> Result<Labelled> {
        let mut record = Record::default();
        let made = self.step(name, &mut record).and_then(|result| record.clone().close(result));
        let (result, write) = match made {
            Ok(result) => (result, true),
            Err(error) if ends(&error) => return Err(error),
            Err(error) => (record.nothing(name, &error)?, !may_pass(&error)),
        };
        let result = result.note("study", &self.key).note("step", name).note("model_hash", self.model.hash());
        if !write {
            return Ok(result);
        }
        result.write(path)?;
        // As it will be read back, so that what follows does not depend on when it was made.
        Labelled::read(path)
    }

    fn step(&self, name: &str, record: &mut Record) -> Result<Labelled> {
        let (analysis, task) = name.split_once('.').unwrap_or((name, ""));
        if analysis == SCALING {
            return scaling::step(self.small, self.model, &self.tasks, &self.options, record);
        }
        let pairs = self.tasks.iter().find(|(name, _)| name == task).map(|(_, pairs)| &pairs[..]);
        let run = ANALYSES.iter().find(|(name, _)| *name == analysis).map(|(_, run)| run);
        match (pairs, run) {
            (Some(pairs), Some(run)) => run(&Task { model: self.model, pairs, options: &self.options }, record),
            _ => Err(Error::Input(format!("invalid step `{name}`: expected one of {}", self.steps().join(", ")))),
        }
    }
}

/// What the results are a function of, as a hash.
fn key(model: &Model, small: &[Model], tasks: &[(String, Vec<TokenPair>)], options: &StudyOptions) -> String {
    let hashes: Vec<&str> = small.iter().map(Model::hash).collect();
    let (device, version) = (model.device().info(), env!("CARGO_PKG_VERSION"));
    let text = format!("{} {hashes:?} {tasks:?} {options:?} {device} {version}", model.hash());
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
