//! The steps of a study that one process of several computes.
//!
//! The steps are numbered analysis by analysis, and within one over the study, its nulls and the tasks. So each process
//! gets as many tasks of a long analysis as the others.

use std::path::Path;

use crate::error::Result;
use crate::part::Part;

use super::left_out::{ends, may_pass};
use super::null::Null;
use super::{ANALYSES, ANSWERS, Done, SCALING, StepProgress, Study, create};

/// How many steps one process of several has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepShare {
    /// Steps of all processes, without those that select pairs.
    pub all: usize,
    /// Steps of this process.
    pub own: usize,
    /// Steps of this process that were there.
    pub found: usize,
}

/// A step of the study, or of a null.
type Step = (Option<Null>, String);

impl Study<'_> {
    /// Computes the steps of one process of several, of the study in `folder` and of its `nulls`, that have no file
    /// yet. [`Study::run_with`] reads all of them back and computes what is missing.
    ///
    /// The steps that select pairs come first. A process that needs the pairs of a task selects them, if no other has
    /// done so: two processes that compute one step write equal files.
    ///
    /// # Errors
    /// As [`Study::run`].
    pub fn run_part(
        &self,
        nulls: &[Null],
        (part, folder): (Part, &Path),
        progress: &mut dyn FnMut(StepProgress<'_>),
    ) -> Result<StepShare> {
        create(folder)?;
        let answers = self.answers(folder)?;
        let steps = self.numbered(nulls, &answers);
        let own: Vec<&Step> = part.shards(steps.len()).map(|number| &steps[number]).collect();
        let mut share = StepShare { all: steps.len(), own: own.len(), found: 0 };
        let mut done = 0;
        let studies = [None].into_iter().chain(nulls.iter().copied().map(Some));
        for of in studies {
            let names: Vec<&str> = own.iter().filter(|(null, _)| *null == of).map(|(_, name)| &name[..]).collect();
            if names.is_empty() {
                continue;
            }
            let mut tell = |name: &str, cached: bool| {
                progress(StepProgress { null: of, done, of: own.len(), name, cached });
                (done, share.found) = (done + 1, share.found + usize::from(cached));
            };
            let computed = match of {
                None => self.each(&names, (&answers, folder), &mut tell),
                Some(null) => self.each_of_null(null, &names, (&answers, folder), &mut tell),
            };
            match computed {
                // Such as other weights of a model without files. The whole study names it.
                Err(error) if of.is_some() && !ends(&error) && !may_pass(&error) => {}
                computed => computed?,
            }
        }
        Ok(share)
    }

    /// Returns the steps that select the pairs of each task.
    fn answers(&self, folder: &Path) -> Result<Vec<Done>> {
        let one = |(task, _): &(String, _)| {
            let name = format!("{ANSWERS}.{task}");
            Ok(Done { result: self.obtain(&name, (&[], folder), &mut |_| {})?, name })
        };
        self.tasks.iter().map(one).collect()
    }

    /// Returns all steps but those that select pairs, in the order of their numbers.
    fn numbered(&self, nulls: &[Null], answers: &[Done]) -> Vec<Step> {
        let tasks = |of: Option<Null>| -> Vec<String> {
            match of {
                None => self.tasks.iter().map(|(task, _)| task.clone()).collect(),
                Some(null) => self.tasks_of_null(null, answers).into_iter().map(|(task, _)| task).collect(),
            }
        };
        let studies = [None].into_iter().chain(nulls.iter().copied().map(Some));
        let studies: Vec<(Option<Null>, Vec<String>)> = studies.map(|of| (of, tasks(of))).collect();
        let each = |analysis: &'static str| {
            let of_study = move |(of, tasks): &(Option<Null>, Vec<String>)| -> Vec<Step> {
                tasks.iter().map(|task| (*of, format!("{analysis}.{task}"))).collect()
            };
            studies.iter().flat_map(of_study)
        };
        let scaling = studies.iter().filter(|(_, tasks)| !self.small.is_empty() && !tasks.is_empty());
        let scaling = scaling.map(|(of, _)| (*of, SCALING.to_owned()));
        ANALYSES.iter().flat_map(|(analysis, _)| each(analysis)).chain(scaling).collect()
    }

    /// Computes steps on the pairs that `answers` select.
    fn each(
        &self,
        names: &[&str],
        (answers, folder): (&[Done], &Path),
        tell: &mut dyn FnMut(&str, bool),
    ) -> Result<()> {
        names
            .iter()
            .try_for_each(|name| self.obtain(name, (answers, folder), &mut |cached| tell(name, cached)).map(|_| ()))
    }

    /// Computes steps of a null, whose pairs `answers` of the study select.
    fn each_of_null(
        &self,
        null: Null,
        names: &[&str],
        (answers, folder): (&[Done], &Path),
        tell: &mut dyn FnMut(&str, bool),
    ) -> Result<()> {
        let replaced = self.replaced(null)?;
        let models = replaced.as_ref().map_or((self.model, self.small), |(model, small)| (model, small));
        let (study, folder) = (self.of_null(null, models, answers)?, null.folder(folder));
        create(&folder)?;
        let own = study.answers(&folder)?;
        study.each(names, (&own, &folder), tell)
    }
}
