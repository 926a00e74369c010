//! A study: every analysis on a model and a set of prompts, as steps whose results are files.
//!
//! A step is one analysis of one task. Its result is written as soon as the step is done, so an interrupted study can
//! be resumed. A step is read back if its file exists and has the same model, prompts, options, device and version.
//! Every step is a function of these alone, so the results do not depend on interruptions.
//!
//! The first step of each task reads the answers of the model, and selects the pairs that the other steps use. The same
//! steps on a [`Null`] show what the figures are without training, or for pairs that do not belong together.
//!
//! Items that cannot be analysed or that fail a check are recorded and left out, and the study continues: see
//! [`LeftOut`].

mod answers;
mod circuits;
mod figure;
mod flows;
mod inverse;
pub(crate) mod left_out;
mod locating;
mod names;
mod null;
mod null_runs;
mod parts;
mod patching;
mod predictors;
mod propagation;
mod reduction;
mod regimes;
mod rules;
mod samples;
mod scaling;
mod statement;
mod superposed;
mod tasks;
mod transfers;
mod verdicts;

use std::path::{Path, PathBuf};

use resolvent_model::{Model, PromptRow, PromptSet, PromptText, TokenPair};

use crate::error::{Error, Result};
use crate::labelled::Labelled;

pub use figure::Beside;
pub use left_out::LeftOut;
use left_out::{Record, ends, may_pass};
pub use null::Null;
pub use null_runs::Results;
pub use parts::StepShare;
pub use patching::counted_patches;
pub use statement::{Better, NullFigure, RULES, Statement, Verdict};
use tasks::{Task, pair_name};
pub use verdicts::statements;

/// Options of a [`Study`].
#[derive(Clone, Debug, PartialEq)]
pub struct StudyOptions {
    /// Names of tasks of the prompt set; if empty, all of them.
    pub tasks: Vec<String>,
    /// Largest number of prompt pairs of a task in a step.
    pub prompts: usize,
    /// Whether each step uses fewer prompts, places and directions, for a first look.
    pub quick: bool,
    /// Seed of everything that is drawn at random.
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
    /// Names of the tasks in file names.
    stems: Vec<String>,
    options: StudyOptions,
    /// Number of pairs that do not fit the model's tokenizer, and number of all pairs.
    pub left_out: (usize, usize),
    /// Pairs that do not fit the tokenizer, and tasks with too few pairs.
    before: Vec<LeftOut>,
    /// Whether pairs that the model answers wrongly are left out. A null has no right answers.
    expects_answers: bool,
    /// Hash that identifies the study in its result files.
    key: String,
}

/// Smallest number of pairs of a task: fewer are not a sample.
const LEAST: usize = 4;

/// Smallest number of pairs of a task that can be used: one to train on, and one to measure.
const LEAST_USABLE: usize = 2;

/// A completed step: its name and result.
#[derive(Clone, Debug)]
pub struct Done {
    /// Analysis and task, such as `patching.ioi`.
    pub name: String,
    /// Arrays, checks and provenance.
    pub result: Labelled,
}

/// Progress of a running study.
#[derive(Clone, Copy, Debug)]
pub struct StepProgress<'a> {
    /// The null that is run; `None` for the model itself.
    pub null: Option<Null>,
    /// Number of completed steps.
    pub done: usize,
    /// Number of all steps.
    pub of: usize,
    /// Name of the step that is about to run or was read back.
    pub name: &'a str,
    /// Whether the step was read back from its file.
    pub cached: bool,
}

/// An analysis of one task.
type Analysis = fn(&Task<'_>, &mut Record) -> Result<Labelled>;

/// The analyses of a task, in order.
const ANALYSES: [(&str, Analysis); 11] = [
    ("regimes", regimes::step),
    ("patching", patching::step),
    ("predictors", predictors::step),
    ("superposed", superposed::step),
    ("propagation", propagation::step),
    ("reduction", reduction::step),
    ("transfers", transfers::step),
    ("inverse", inverse::step),
    ("circuits", circuits::step),
    ("locating", locating::step),
    ("flows", flows::step),
];

/// Name of the first analysis of a task, which selects the pairs of the others.
const ANSWERS: &str = "answers";

/// Name of the analysis of all tasks together.
const SCALING: &str = "scaling";

impl<'a> Study<'a> {
    /// Prepares a study of `model` on the tasks of `set`. The models in `small` share its tokenizer; their responses
    /// are tested as predictions of its responses.
    ///
    /// # Errors
    /// A task that is not in the set, a model without a tokenizer, a limit of prompts that is too low, or no task with
    /// enough pairs that fit the model.
    pub fn new(model: &'a Model, small: &'a [Model], set: &PromptSet, options: StudyOptions) -> Result<Self> {
        if options.prompts < LEAST {
            return Err(Error::Input(format!(
                "a study needs at least {LEAST} prompt pairs of each task, and the limit is {}; raise --limit",
                options.prompts
            )));
        }
        let is_text = |row: &PromptRow| matches!(row.clean, PromptText::Text(_));
        if set.tasks.values().flat_map(|task| &task.prompts).any(is_text) && model.text_tokenizer()?.is_none() {
            return Err(Error::Input(format!(
                "{} has no tokenizer, and these prompts are text; use a model with one",
                model.name()
            )));
        }
        let (mut tasks, mut left_out, mut before) = (Vec::<(String, Vec<TokenPair>)>::new(), (0, 0), Vec::new());
        for (name, task) in set.named(&options.tasks)? {
            let mut pairs = Vec::new();
            for pair in &task.prompts {
                left_out.1 += 1;
                match pair.pair(model) {
                    // A repeated pair is no further observation.
                    Ok(tokens) if pairs.contains(&tokens) => {
                        left_out.0 += 1;
                        let corrupted = pair.corrupted.as_ref().map_or_else(String::new, PromptText::to_string);
                        let what = format!("{} of task {name}", pair_name(&pair.clean.to_string(), &corrupted));
                        before.push(LeftOut::new(what, "it is in the task twice, and counts once"));
                    }
                    Ok(tokens) => pairs.push(tokens),
                    Err(reason) => {
                        left_out.0 += 1;
                        let corrupted = pair.corrupted.as_ref().map_or_else(String::new, PromptText::to_string);
                        let what = format!("{} of task {name}", pair_name(&pair.clean.to_string(), &corrupted));
                        before.push(LeftOut::new(what, reason.to_string()));
                    }
                }
            }
            if pairs.len() < LEAST {
                let (all, fit) = (task.prompts.len(), pairs.len());
                let reason = format!("{fit} of its {all} pairs fit the model, and a task needs {LEAST}");
                before.push(LeftOut::new(format!("task {name}"), reason));
                continue;
            }
            pairs.truncate(options.prompts);
            tasks.push((name.to_owned(), pairs));
        }
        if tasks.is_empty() {
            return Err(Error::Input(format!(
                "no task has four prompts that fit {}: both texts of a pair need as many tokens, and answers are one \
                 token",
                model.name()
            )));
        }
        Ok(Self { left_out, before, ..Self::of(model, small, tasks, options, true) })
    }

    /// Returns a study of pairs that fit the models.
    fn of(
        model: &'a Model,
        small: &'a [Model],
        tasks: Vec<(String, Vec<TokenPair>)>,
        options: StudyOptions,
        expects_answers: bool,
    ) -> Self {
        let key = key(model, small, &tasks, &options, expects_answers);
        let stems = names::stems(&tasks.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
        Self { model, small, tasks, stems, options, left_out: (0, 0), before: Vec::new(), expects_answers, key }
    }

    /// Returns the pairs of a task that its answers select.
    fn selected(&self, task: &str, done: &[Done]) -> Vec<TokenPair> {
        let pairs = self.tasks.iter().find(|(name, _)| name == task).map_or(&[][..], |(_, pairs)| pairs);
        let answers = done.iter().find(|d| d.name.split_once('.') == Some((ANSWERS, task)));
        answers.map_or_else(Vec::new, |d| answers::usable(&d.result, pairs))
    }

    /// Returns the names of the steps, in order.
    pub fn steps(&self) -> Vec<String> {
        let of_task = |task: &str| {
            let analyses = std::iter::once(ANSWERS).chain(ANALYSES.map(|(name, _)| name));
            analyses.map(|name| format!("{name}.{task}")).collect::<Vec<_>>()
        };
        let each = self.tasks.iter().flat_map(|(task, _)| of_task(task));
        each.chain((!self.small.is_empty()).then(|| SCALING.to_owned())).collect()
    }

    /// Returns the tasks with their pairs.
    pub fn tasks(&self) -> &[(String, Vec<TokenPair>)] {
        &self.tasks
    }

    /// Returns the studied model.
    pub fn model(&self) -> &Model {
        self.model
    }

    /// Returns what the study left out: first tasks and pairs left out before all steps, then the items that steps
    /// recorded, each once.
    pub fn left_out_of(&self, done: &[Done]) -> Vec<LeftOut> {
        self.before.iter().cloned().chain(left_out::of_steps(done)).collect()
    }

    /// Runs the steps that have no file in `folder` yet, and returns the results of all steps. Each step has one file.
    /// The result of a step that cannot be analysed has no arrays, and [`Study::left_out_of`] gives the reason.
    ///
    /// # Errors
    /// A folder that cannot be written, results of another study in it, a lost device, or a stop.
    pub fn run(&self, folder: &Path, progress: &mut dyn FnMut(StepProgress<'_>)) -> Result<Vec<Done>> {
        create(folder)?;
        let names = self.steps();
        let mut all = Vec::with_capacity(names.len());
        for (done, name) in names.iter().enumerate() {
            let mut tell = |cached| progress(StepProgress { null: None, done, of: names.len(), name, cached });
            let result = self.obtain(name, (&all, folder), &mut tell)?;
            all.push(Done { name: name.clone(), result });
        }
        Ok(all)
    }

    /// Returns the result of a step, from its file in `folder` if there is one. `tell` learns whether there is.
    fn obtain(&self, name: &str, (done, folder): (&[Done], &Path), tell: &mut dyn FnMut(bool)) -> Result<Labelled> {
        let path = folder.join(self.file_name(name));
        let known = if path.exists() { Some(self.read_back(&path)?) } else { None };
        tell(known.is_some());
        known.map_or_else(|| self.compute(name, done, &path), Ok)
    }

    /// Returns the file name of a step, with the task's name in a form that every file system accepts.
    fn file_name(&self, step: &str) -> String {
        let (analysis, task) = step.split_once('.').unwrap_or((step, ""));
        let stem = self.tasks.iter().zip(&self.stems).find(|((name, _), _)| name == task).map(|(_, stem)| stem);
        match stem {
            Some(stem) if analysis != SCALING => format!("{analysis}.{stem}.safetensors"),
            _ => format!("{step}.safetensors"),
        }
    }

    /// Reads the result of a step from its file.
    ///
    /// # Errors
    /// A file that cannot be read, or that belongs to another study.
    fn read_back(&self, path: &Path) -> Result<Labelled> {
        let result = Labelled::read(path)?;
        if result.metadata.get("study") == Some(&self.key) {
            return Ok(result);
        }
        Err(Error::File {
            path: PathBuf::from(path),
            reason: "belongs to a study of another model, prompts, options, device or version; name another folder"
                .to_owned(),
        })
    }

    /// Runs a step and writes its result. The result of a failed step gives the reason; it is not written if another
    /// attempt may succeed.
    fn compute(&self, name: &str, done: &[Done], path: &Path) -> Result<Labelled> {
        let mut record = Record::default();
        let made = self.step(name, done, &mut record).and_then(|result| record.clone().close(result));
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
        // Return the result as a later run would read it, so that this run and a resumed one see the same.
        Labelled::read(path)
    }

    /// Runs the analysis of a step, on the pairs that the answers in `done` select.
    fn step(&self, name: &str, done: &[Done], record: &mut Record) -> Result<Labelled> {
        let (analysis, task) = name.split_once('.').unwrap_or((name, ""));
        if analysis == SCALING {
            let tasks: Vec<_> = self.tasks.iter().map(|(task, _)| (task.clone(), self.selected(task, done))).collect();
            return scaling::step(self.small, self.model, &tasks, &self.options, record);
        }
        let invalid = || Error::Input(format!("invalid step `{name}`: expected one of {}", self.steps().join(", ")));
        let (_, all) = self.tasks.iter().find(|(name, _)| name == task).ok_or_else(invalid)?;
        if analysis == ANSWERS {
            let task = Task { model: self.model, pairs: all, options: &self.options };
            return answers::step(&task, self.expects_answers, record);
        }
        let (_, run) = ANALYSES.iter().find(|(name, _)| *name == analysis).ok_or_else(invalid)?;
        let pairs = self.selected(task, done);
        if pairs.len() < LEAST_USABLE {
            return Err(Error::Input(format!(
                "{} of its {} pairs are usable (step {ANSWERS}.{task}), and a task needs {LEAST_USABLE}",
                pairs.len(),
                all.len()
            )));
        }
        run(&Task { model: self.model, pairs: &pairs, options: &self.options }, record)
    }
}

/// Creates the folder of a study.
fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::File {
        path: folder.to_owned(),
        reason: format!("cannot be created: {e}; name a folder that you may write to"),
    })
}

/// Returns a hash of everything on which the results depend.
fn key(
    model: &Model,
    small: &[Model],
    tasks: &[(String, Vec<TokenPair>)],
    options: &StudyOptions,
    expects_answers: bool,
) -> String {
    let hashes: Vec<&str> = small.iter().map(Model::hash).collect();
    let (device, version) = (model.device().info(), env!("CARGO_PKG_VERSION"));
    let text = format!("{} {hashes:?} {tasks:?} {options:?} {expects_answers} {device} {version}", model.hash());
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
