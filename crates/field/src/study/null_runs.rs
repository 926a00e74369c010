//! Runs of a study beside its nulls.

use std::path::Path;

use resolvent_model::{Model, TokenPair};

use crate::error::{Error, Result};

use super::left_out::{LeftOut, ends, may_pass};
use super::null::{Null, shuffled};
use super::statement::Statement;
use super::verdicts::statements;
use super::{Done, LEAST_USABLE, StepProgress, Study};

/// Results of a study and of its nulls.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// The results of the steps.
    pub done: Vec<Done>,
    /// The results of the same steps in each null.
    pub nulls: Vec<(Null, Vec<Done>)>,
    /// What was left out, of the nulls too.
    pub left_out: Vec<LeftOut>,
}

impl Results {
    /// Returns the statements, with their figures in the nulls.
    pub fn statements(&self) -> Vec<Statement> {
        statements(&self.done, &self.nulls)
    }
}

impl Study<'_> {
    /// Runs the study in `folder`, and then each of `nulls` in a folder below it. A null that cannot be run is left
    /// out, such as other weights of a model without files.
    ///
    /// # Errors
    /// As [`Study::run`].
    pub fn run_with(
        &self,
        nulls: &[Null],
        folder: &Path,
        progress: &mut dyn FnMut(StepProgress<'_>),
    ) -> Result<Results> {
        let done = self.run(folder, progress)?;
        let mut results = Results { left_out: self.left_out_of(&done), done, nulls: Vec::new() };
        for &null in nulls {
            let folder = null.folder(folder);
            match self.run_null(null, (&results.done, &folder), progress) {
                Ok((done, left_out)) => {
                    results.nulls.push((null, done));
                    results.left_out.extend(left_out);
                }
                Err(error) if ends(&error) || may_pass(&error) => return Err(error),
                Err(error) => {
                    results.left_out.push(LeftOut::from_error(&format!("the null of {}", null.words()), &error));
                }
            }
        }
        Ok(results)
    }

    /// Runs one null. Returns its results, and what it left out.
    fn run_null(
        &self,
        null: Null,
        (done, folder): (&[Done], &Path),
        progress: &mut dyn FnMut(StepProgress<'_>),
    ) -> Result<(Vec<Done>, Vec<LeftOut>)> {
        let replaced = self.replaced(null)?;
        let models = replaced.as_ref().map_or((self.model, self.small), |(model, small)| (model, small));
        let study = self.of_null(null, models, done)?;
        let done = study.run(folder, &mut |step| progress(StepProgress { null: Some(null), ..step }))?;
        // Steps of a null are named as their files, so that they differ from those of the model.
        let path = |step: &String| format!("nulls/{}/{step}", null.name());
        let each = study.left_out_of(&done).into_iter();
        let left_out = each.map(|one| LeftOut { steps: one.steps.iter().map(path).collect(), ..one }).collect();
        Ok((done, left_out))
    }

    /// Returns the model and the small models of a null; `None` if they are those of the study.
    pub(super) fn replaced(&self, null: Null) -> Result<Option<(Model, Vec<Model>)>> {
        let Some(replacement) = null.replacement(self.options.seed) else { return Ok(None) };
        let small = self.small.iter().map(|model| model.replaced(replacement)).collect::<Result<_, _>>()?;
        Ok(Some((self.model.replaced(replacement)?, small)))
    }

    /// Returns the tasks of a null, with their pairs: those that `done` selected.
    pub(super) fn tasks_of_null(&self, null: Null, done: &[Done]) -> Vec<(String, Vec<TokenPair>)> {
        let paired = |pairs: Vec<TokenPair>| if null == Null::Shuffled { shuffled(&pairs) } else { pairs };
        let each = self.tasks.iter().map(|(name, _)| (name.clone(), paired(self.selected(name, done))));
        each.filter(|(_, pairs)| pairs.len() >= LEAST_USABLE).collect()
    }

    /// Returns the same study of a null, on the pairs that `done` selected. `model` and `small` are the models of the
    /// null.
    ///
    /// # Errors
    /// No task with enough pairs.
    pub(super) fn of_null<'b>(
        &self,
        null: Null,
        (model, small): (&'b Model, &'b [Model]),
        done: &[Done],
    ) -> Result<Study<'b>> {
        let tasks = self.tasks_of_null(null, done);
        match tasks.is_empty() {
            true => Err(Error::Input(format!("no task has {LEAST_USABLE} pairs for it"))),
            false => Ok(Study::of(model, small, tasks, self.options.clone(), false)),
        }
    }
}
