//! A figure of several tasks, and one beside a statement.

use crate::stats::Interval;

/// A figure of several tasks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// The mean of the tasks' estimates, with its 95 % interval over prompts.
    pub(super) interval: Interval,
    /// Number of prompts.
    pub(super) prompts: usize,
    /// The estimate of each task.
    pub(super) by_task: Vec<(String, f64)>,
}

impl Figure {
    /// Returns this figure as one beside that of a statement.
    pub(super) fn named(self, name: impl Into<String>) -> Beside {
        Beside { name: name.into(), figure: self.interval, by_task: self.by_task }
    }
}

/// A figure that explains that of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    /// What it is.
    pub name: String,
    /// The mean over tasks, with its 95 % interval over prompts.
    pub figure: Interval,
    /// The figure of each task. Empty if all tasks are measured together.
    pub by_task: Vec<(String, f64)>,
}
