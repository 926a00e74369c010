//! The statements of a study beside those of its nulls.

use crate::stats::Interval;

use super::Done;
use super::null::Null;
use super::rules;
use super::statement::{NullFigure, Statement, Verdict};

/// Evaluates the statements of the paper, and those that this program adds, on the results of a study and of its nulls.
pub fn statements(done: &[Done], nulls: &[(Null, Vec<Done>)]) -> Vec<Statement> {
    let mut all = rules::statements(done);
    for (null, done) in nulls {
        let theirs = rules::statements(done);
        for statement in &mut all {
            let same = theirs.iter().find(|other| other.name == statement.name);
            let (figure, verdict) = same.map_or((Interval::NONE, Verdict::Unknown), |s| (s.figure, s.verdict));
            let exceeded = statement.better.beyond(statement.figure, figure);
            statement.nulls.push(NullFigure { null: *null, figure, verdict, exceeded });
        }
    }
    all
}

#[cfg(test)]
#[path = "verdicts_tests.rs"]
mod tests;
