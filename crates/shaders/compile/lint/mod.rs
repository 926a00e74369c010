//! The rules of this project for shaders, beyond those of naga: one rule per file, with its reason and its tests.

mod binding_layout;
mod header;
mod library;
mod rule;
mod shape_comment;
mod storage_count;
mod subgroup;
mod tanh;
mod workgroup;

pub(crate) use header::text as header_comment;
pub(crate) use rule::Subject;

use super::{assemble::Source, problem::Problem};
use rule::{Lint, apply};

const LINTS: [Lint; 7] = [
    shape_comment::LINT,
    storage_count::LINT,
    workgroup::LINT,
    tanh::LINT,
    subgroup::LINT,
    binding_layout::LINT,
    header::LINT,
];

/// Checks a variant against every rule.
pub(crate) fn shader(subject: &Subject<'_>) -> Vec<Problem> {
    LINTS.iter().flat_map(|lint| apply(lint, subject)).collect()
}

/// Checks a file of `shaders/lib` against the rules for imported files.
pub(crate) fn library(source: &Source) -> Vec<Problem> {
    library::check(source)
}
