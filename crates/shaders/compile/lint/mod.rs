//! What this project asks of a shader beyond what naga asks: one rule a file, with its reason and its tests.

mod binding_layout;
mod header;
mod library;
mod shape_comment;
mod storage_count;
mod subgroup;
mod tanh;
mod workgroup;

pub(crate) use header::text as header_comment;

use super::{
    assemble::{Assembled, Source},
    problem::Problem,
};
use naga::{Block, Function, Module, Span, Statement, valid::ModuleInfo};

/// A variant of a shader, as the rules see it.
pub(crate) struct Subject<'a> {
    pub(crate) source: &'a Source,
    pub(crate) assembled: &'a Assembled,
    pub(crate) module: &'a Module,
    pub(crate) info: &'a ModuleInfo,
}

impl Subject<'_> {
    /// A problem at a place of the assembled text, led back to the file it was written in.
    pub(crate) fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        if !span.is_defined() {
            return Problem::new(&self.source.path, 0, message);
        }
        let (file, line) = self.assembled.lines.locate(span.location(&self.assembled.text).line_number);
        Problem::new(file, line, message)
    }

    /// All functions, entry points among them.
    fn functions(&self) -> impl Iterator<Item = &Function> {
        let points = self.module.entry_points.iter().map(|point| &point.function);
        self.module.functions.iter().map(|(_, function)| function).chain(points)
    }
}

/// A rule about a shader.
struct Lint {
    name: &'static str,
    /// What is asked.
    summary: &'static str,
    /// Why.
    reason: &'static str,
    check: fn(&Subject<'_>) -> Vec<Problem>,
}

const LINTS: [Lint; 7] = [
    shape_comment::LINT,
    storage_count::LINT,
    workgroup::LINT,
    tanh::LINT,
    subgroup::LINT,
    binding_layout::LINT,
    header::LINT,
];

/// Holds a variant to every rule.
pub(crate) fn shader(subject: &Subject<'_>) -> Vec<Problem> {
    LINTS.iter().flat_map(|lint| apply(lint, subject)).collect()
}

/// Holds a file of `shaders/lib` to the rules for those.
pub(crate) fn library(source: &Source) -> Vec<Problem> {
    library::check(source)
}

fn apply(lint: &Lint, subject: &Subject<'_>) -> Vec<Problem> {
    let explain = |problem: Problem| problem.detail(format!("{}: {}; {}", lint.name, lint.summary, lint.reason));
    (lint.check)(subject).into_iter().map(explain).collect()
}

/// Calls `visit` for every statement of a block, inner blocks included.
fn each_statement(block: &Block, visit: &mut dyn FnMut(&Statement, Span)) {
    for (statement, span) in block.span_iter() {
        visit(statement, *span);
        match statement {
            Statement::Block(inner) => each_statement(inner, visit),
            Statement::If { accept, reject, .. } => {
                each_statement(accept, visit);
                each_statement(reject, visit);
            }
            Statement::Switch { cases, .. } => {
                for case in cases {
                    each_statement(&case.body, visit);
                }
            }
            Statement::Loop { body, continuing, .. } => {
                each_statement(body, visit);
                each_statement(continuing, visit);
            }
            _ => {}
        }
    }
}

/// What a rule says to a text; empty where it has nothing to say. Each rule's own tests use it.
#[cfg(test)]
fn findings(lint: &Lint, text: &str) -> Vec<String> {
    use super::{check, manifest::Switches};
    let source = Source { name: "x".to_owned(), path: "shaders/ops/x.wgsl".to_owned(), text: text.to_owned() };
    let mut switches = Switches::base();
    switches.flags.insert("SUBGROUP".to_owned());
    let assembled =
        super::assemble::assemble(&source, &switches, &Default::default(), &Default::default()).expect("assembles");
    let (module, info) = check::check(&assembled, &switches).expect("valid");
    let subject = Subject { source: &source, assembled: &assembled, module: &module, info: &info };
    apply(lint, &subject).iter().map(ToString::to_string).collect()
}
