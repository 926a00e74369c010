//! `--prompts FILE`: an analysis of many prompts instead of one.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use resolvent::Labelled;
use resolvent::engine::Steps;
use resolvent::field::{CaseRuns, Prompts, Spooled, clean_alone, over_prompts, read_direction};
use resolvent::model::{Error, Model, PromptCase, PromptRow, PromptSet, Site, Task, file_text};

use crate::Failure;
use crate::edits::EditArgs;
use crate::left_out::{LeftOut, Naming, name_left_out};
use crate::observable::ObservableArgs;
use crate::output::{Output, checks, maps};
use crate::shards::{Calls, Computed, Rows, ShardArgs, is_silent};
use crate::terminal::{counted, print};

/// The prompt file of an analysis, or a long text as many prompts.
#[derive(Args)]
#[group(id = "many", args = ["prompts", "text"])]
pub(crate) struct PromptSetArgs {
    /// Analyse all rows of a prompt file (.json, .jsonl, .csv), or `embedded` for the prompts that ship with the
    /// embedded models
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "tokens"])]
    prompts: Option<PathBuf>,
    /// Analyse windows of a text file, one after another
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "tokens", "prompts"])]
    text: Option<PathBuf>,
    /// Tokens of each window of --text
    #[arg(long, value_name = "N", default_value_t = WINDOW, requires = "text", conflicts_with_all = ["prompt", "tokens"])]
    window: usize,
    /// Task of the prompt file; may be given several times, without it all are analysed
    #[arg(long, value_name = "NAME", requires = "prompts", conflicts_with_all = ["prompt", "tokens"])]
    task: Vec<String>,
    /// The most rows that are taken of a task, or the most windows of a text
    #[arg(long, value_name = "N", requires = "many", conflicts_with_all = ["prompt", "tokens"])]
    rows: Option<usize>,
    /// Stop at a row that cannot be read or analysed, instead of leaving it out
    #[arg(long, requires = "many", conflicts_with_all = ["prompt", "tokens"])]
    strict: bool,
    #[command(flatten)]
    pub(crate) shards: ShardArgs,
}

/// Tokens of a window, as many as TransformerLens takes of a prompt for a lens.
const WINDOW: usize = 128;

/// Reads a prompt file. The name `embedded` selects the embedded prompts, if there is no such file.
pub(crate) fn read(path: &Path) -> Result<PromptSet, Failure> {
    match path == Path::new("embedded") && !path.exists() {
        true => embedded(),
        false => Ok(PromptSet::open(path)?),
    }
}

/// Reads the study prompts of a file; without a file, returns the embedded prompts.
pub(crate) fn prompt_set(path: Option<&Path>) -> Result<PromptSet, Failure> {
    match path {
        Some(path) => {
            let set = read(path)?;
            name_left_out(path, set.bad_rows.iter().map(|(line, reason)| (format!("line {line}"), reason.as_str())));
            Ok(set)
        }
        None => embedded(),
    }
}

#[cfg(feature = "atlas")]
fn embedded() -> Result<PromptSet, Failure> {
    Ok(PromptSet::embedded()?)
}

#[cfg(not(feature = "atlas"))]
fn embedded() -> Result<PromptSet, Failure> {
    Err("this program was built without embedded models and prompts; give --prompts FILE".into())
}

/// The rows of a prompt file, and their cases.
pub(crate) struct Cases<'a> {
    args: &'a PromptSetArgs,
    model: &'a Model,
    rows: Vec<PromptRow>,
    /// The observable that takes the place of the rows' own.
    observable: Option<String>,
    /// The edits of every prompt.
    edits: EditArgs,
    /// The file that gets the result part by part.
    stream: Option<PathBuf>,
    /// How many rows fit the model; unknown with shards, which read their own.
    fit: usize,
    /// Lines that are no rows, and rows that do not fit the model.
    left_out: LeftOut,
    /// Whether all cases are read beside those of each shard.
    reads_all: Cell<bool>,
    /// Names what is left out.
    naming: Naming<'a>,
}

/// What an analysis of a prompt file has given.
pub(crate) enum Outcome {
    /// The result of all prompts.
    Whole(Labelled),
    /// The result without the arrays of the prompts, which are in the file of `--out`.
    Written(Labelled),
    /// Shards, which are files.
    Shards(Computed),
}

impl PromptSetArgs {
    /// Returns the windows of a text file as rows.
    fn windows(&self, model: &Model, path: &Path) -> Result<PromptSet, Failure> {
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let bytes = std::fs::read(path).map_err(|e| named(&format_args!("cannot be read: {e}")))?;
        let text = file_text(&bytes).map_err(|e| named(&e))?;
        let prompts = model.windows(text, self.window).map_err(|e| named(&e))?;
        let task = Task { about: String::new(), prompts };
        Ok(PromptSet { tasks: [("text".to_owned(), task)].into(), bad_rows: Vec::new() })
    }

    /// Returns the cases of the file, if one is given. `observable` takes the place of the rows' own observables.
    /// `stream` is the file that gets their results part by part, if there is one.
    pub(crate) fn cases<'a>(
        &'a self,
        model: &'a Model,
        observable: Option<&ObservableArgs>,
        stream: Option<&Path>,
    ) -> Result<Option<Cases<'a>>, Failure> {
        self.edited(model, (observable, &EditArgs::default()), stream)
    }

    /// Returns the cases of the file under edits, if one is given; see [`PromptSetArgs::cases`].
    pub(crate) fn edited<'a>(
        &'a self,
        model: &'a Model,
        (observable, edits): (Option<&ObservableArgs>, &EditArgs),
        stream: Option<&Path>,
    ) -> Result<Option<Cases<'a>>, Failure> {
        let (path, set) = match (&self.prompts, &self.text) {
            (Some(path), _) => (path, read(path)?),
            (None, Some(path)) => (path, self.windows(model, path)?),
            (None, None) => return Ok(None),
        };
        if self.rows == Some(0) {
            return Err("--rows 0 leaves no prompt; give 1 or more".into());
        }
        let observable = observable.and_then(|observable| observable.text(model));
        let rows = set.rows(&self.task, self.rows)?.into_iter().cloned().collect();
        let (edits, stream, fit, left_out) = (edits.clone(), stream.map(Path::to_owned), 0, Vec::new());
        let (reads_all, naming) = (Cell::new(false), Naming::new(path, self.strict));
        let mut found = Cases { args: self, model, rows, observable, edits, stream, fit, left_out, reads_all, naming };
        found.left_out.extend(set.bad_rows.iter().map(|(line, reason)| (format!("line {line}"), reason.clone())));
        if !self.shards.is_given() {
            // Rows that do not fit are named before the work begins. Their cases are made again, part by part.
            let parts: Vec<(usize, LeftOut)> = found.parts()?.map(|(cases, bad)| (cases.len(), bad)).collect();
            for (fit, left_out) in parts {
                found.fit += fit;
                found.left_out.extend(left_out);
            }
        }
        // The process that hands out the shards has named these lines.
        if !self.shards.is_queue() {
            found.naming.all(&found.left_out)?;
        }
        match found.left_out.first() {
            Some((name, reason)) if !self.shards.is_given() && found.fit == 0 => {
                Err(format!("no prompt can be analysed; {name}: {reason}").into())
            }
            _ => Ok(Some(found)),
        }
    }
}

/// Cases, and rows without one.
type Found = (Vec<PromptCase>, LeftOut);

/// An analysis of the cases of one batch: a result for each, or why a case has none.
type OfBatch<'f> = &'f dyn Fn(&[CaseRuns<'_>]) -> Result<Vec<Result<Labelled, Failure>>, Failure>;

impl Cases<'_> {
    /// Returns the cases of some rows, and the rows that do not fit the model.
    fn of_rows(&self, rows: &[PromptRow]) -> Found {
        let direction = |file: &str| {
            let read = read_direction(Path::new(file), self.model.sizes().d);
            read.map_err(|e| {
                let text = self.observable.clone().unwrap_or_default();
                Error::Observable { text, reason: e.to_string() }
            })
        };
        let (mut cases, mut left_out) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            let case = row.case(self.model, self.observable.as_deref(), Some(&direction));
            let edited = case.and_then(|case| {
                let edits = self.edits.of(self.model, case.clean.len())?;
                Ok(PromptCase { edits, ..case })
            });
            match edited {
                Ok(case) => cases.push(case),
                Err(error) => left_out.push((row.name(), error.to_string())),
            }
        }
        (cases, left_out)
    }

    /// Returns the cases that are computed together, part by part: those of shards, so that shards have the same
    /// batches.
    fn parts(&self) -> Result<impl Iterator<Item = Found>, Failure> {
        Ok(self.rows.chunks(self.args.shards.size()?).map(|rows| self.of_rows(rows)))
    }

    /// Returns the cases of all rows. Each result then depends on all rows.
    pub(crate) fn everything(&self) -> Vec<PromptCase> {
        self.reads_all.set(true);
        self.of_rows(&self.rows).0
    }

    /// Runs an analysis that takes one case at a time.
    pub(crate) fn each(
        &self,
        sites: &[Site],
        analysis: &dyn Fn(&CaseRuns<'_>) -> Result<Labelled, Failure>,
    ) -> Result<Outcome, Failure> {
        self.batched(sites, &|runs| Ok(runs.iter().map(analysis).collect()))
    }

    /// Runs an analysis that takes the cases of one batch at a time.
    pub(crate) fn batched(&self, sites: &[Site], analysis: OfBatch<'_>) -> Result<Outcome, Failure> {
        self.batched_of(&<[PromptCase]>::to_vec, sites, analysis)
    }

    /// Runs an analysis of what `part` returns of the cases.
    fn batched_of(
        &self,
        part: &dyn Fn(&[PromptCase]) -> Vec<PromptCase>,
        sites: &[Site],
        analysis: OfBatch<'_>,
    ) -> Result<Outcome, Failure> {
        let batch = &mut |runs: &[CaseRuns<'_>]| {
            let results = analysis(runs).map_err(of_library)?;
            Ok(results.into_iter().map(|result| result.map_err(of_library)).collect())
        };
        self.all(|model, cases, progress| over_prompts(model, &part(cases), sites, batch, progress))
    }

    /// Runs an analysis of the clean prompts, as [`Cases::batched`] does; the corrupted ones run only if it needs them.
    pub(crate) fn of_clean(&self, needs_other: bool, analysis: OfBatch<'_>) -> Result<Outcome, Failure> {
        match needs_other {
            true => self.batched(&[], analysis),
            false => self.batched_of(&clean_alone, &[], analysis),
        }
    }

    /// Runs an analysis that has a result for each case: of all cases, or of those of some shards.
    pub(crate) fn all(
        &self,
        mut analysis: impl FnMut(&Model, &[PromptCase], &mut dyn FnMut(u64, u64)) -> resolvent::field::Result<Prompts>,
    ) -> Result<Outcome, Failure> {
        let analysis = RefCell::new(&mut analysis);
        let compute = &|rows: &[PromptRow]| {
            let (cases, left_out) = self.of_rows(rows);
            Ok(((analysis.borrow_mut())(self.model, &cases, &mut |_, _| {})?, left_out))
        };
        // With shards, what is left out so far are lines that are no rows.
        let set = Rows { rows: &self.rows, unread: self.left_out.len(), all: self.reads_all.get() };
        let calls = Calls { compute, name: &|left_out| self.naming.some(left_out) };
        let computed = self.args.shards.compute(self.model, set, calls);
        self.naming.rest();
        if let Some(computed) = computed? {
            return Ok(Outcome::Shards(computed));
        }
        let analysis = analysis.into_inner();
        let all = self.fit as u64;
        let (mut steps, mut before, mut results) = (Steps::new("prompts", all), 0, Prompts::default());
        let mut spooled = self.stream.as_deref().map_or(Ok(None), Spooled::beside)?;
        for (part, _) in self.parts()? {
            let found = analysis(self.model, &part, &mut |done, _| steps.show(before + done, all))?;
            match &mut spooled {
                Some(spooled) => spooled.push(found)?,
                None => results.append(found),
            }
            before += part.len() as u64;
        }
        let Some(spooled) = spooled else { return Ok(Outcome::Whole(results.stack()?)) };
        let failed = spooled.left_out().iter().map(|row| (row.what.clone(), row.reason.clone())).collect::<LeftOut>();
        if !spooled.is_empty() {
            self.naming.all(&failed)?;
        }
        Ok(Outcome::Written(spooled.write(self.left_out.len() + failed.len())?))
    }

    /// Runs an analysis that has one result for all cases together.
    pub(crate) fn together(
        &self,
        analysis: impl FnOnce(&Model, &[PromptCase], &mut dyn FnMut(u64, u64)) -> resolvent::field::Result<Labelled>,
    ) -> Result<Labelled, Failure> {
        self.args.shards.refuse()?;
        let cases = self.everything();
        let mut steps = Steps::new("prompts", cases.len() as u64);
        Ok(analysis(self.model, &cases, &mut |done, all| steps.show(done, all))?)
    }

    /// Names the rows that are left out and notes their number; with `--strict` they are an error.
    pub(crate) fn counted(&self, result: Labelled) -> Result<Labelled, Failure> {
        let left_out = Prompts::left_out_of(&result);
        self.naming.all(&left_out)?;
        Ok(result.note("rows_left_out", (self.left_out.len() + left_out.len()).to_string()))
    }

    /// Writes the files and prints the means over prompts. `arrays` lists the maps to print, with their titles.
    pub(crate) fn finish(
        &self,
        output: Output<'_>,
        outcome: Outcome,
        arrays: &[(&str, &str)],
        more: &dyn Fn(&Labelled) -> String,
    ) -> Result<(), Failure> {
        let (result, written) = match outcome {
            Outcome::Whole(result) => (self.counted(result)?, None),
            Outcome::Written(result) => (result, self.stream.as_deref()),
            Outcome::Shards(_) if is_silent() => return Ok(()),
            Outcome::Shards(computed) => return print(&computed.to_string()),
        };
        let averaged = Prompts::averaged(&result);
        let most = result.array("counts").map_or(0, |counts| counts.data.len());
        let labels = from_end(most);
        let text = || {
            let prompts = counted(result.fact("prompts"));
            let mut text = format!("{prompts}, {} left out; tokens from the end\n\n", result.fact("rows_left_out"));
            let titles: Vec<(&str, String)> =
                arrays.iter().map(|(name, title)| (*name, format!("mean {title}"))).collect();
            let titles: Vec<(&str, &str)> = titles.iter().map(|(name, title)| (*name, &title[..])).collect();
            text.push_str(&maps(&labels, &averaged, &titles));
            for (name, title) in arrays {
                text.push_str(&roles(&result, name, title));
            }
            format!("{text}{}{}", more(&result), checks(&result))
        };
        let output = output.of_prompts(&averaged, &labels);
        match written {
            Some(path) => output.finish_streamed(path, &result, text),
            None => output.finish(&result, text),
        }
    }
}

/// Returns the library's own error, which says whether other prompts can still be analysed; any other text is about one
/// row.
fn of_library(failure: Failure) -> resolvent::field::Error {
    match failure.downcast::<resolvent::field::Error>() {
        Ok(error) => *error,
        Err(other) => match other.downcast::<Error>() {
            Ok(error) => (*error).into(),
            Err(other) => resolvent::field::Error::Input(other.to_string()),
        },
    }
}

/// Returns the names of `most` tokens that are counted from the end.
pub(crate) fn from_end(most: usize) -> Vec<String> {
    (0..most).map(|i| format!("-{}", most - i)).collect()
}

/// Returns the names of the roles of a result; none if it has no roles.
pub(crate) fn role_names(result: &Labelled) -> Vec<String> {
    result.texts("roles")
}

/// Formats the means of a map by role of token, one row for each level, if the prompts name roles.
fn roles(result: &Labelled, name: &str, title: &str) -> String {
    let Some(means) = result.array(&format!("{name}.role")).filter(|array| array.axes.len() == 2) else {
        return String::new();
    };
    let names = role_names(result);
    let mut text = format!("\nmean {title} by role\nlevel");
    for name in &names {
        let _infallible = write!(text, " {name:>12}");
    }
    text.push('\n');
    let levels = means.axes[1].1;
    for level in (0..levels).rev() {
        let _infallible = write!(text, "{level:>5}");
        for role in 0..names.len() {
            let _infallible = write!(text, " {:>12.4}", means.data[role * levels + level]);
        }
        text.push('\n');
    }
    text
}
