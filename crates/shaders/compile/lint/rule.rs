//! A rule, what it receives, and how its problems are explained.

use crate::compile::{
    assemble::{Assembled, Source},
    problem::Problem,
};
use naga::{Block, Function, Module, Span, Statement, valid::ModuleInfo};

/// A variant of a shader, as the rules receive it.
pub(crate) struct Subject<'a> {
    pub(crate) source: &'a Source,
    pub(crate) assembled: &'a Assembled,
    pub(crate) module: &'a Module,
    pub(crate) info: &'a ModuleInfo,
}

impl Subject<'_> {
    /// Creates a problem at a span of the assembled module, with its file and line of origin.
    pub(crate) fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        if !span.is_defined() {
            return Problem::new(&self.source.path, 0, message);
        }
        let (file, line) = self.assembled.lines.locate(span.location(&self.assembled.text).line_number);
        Problem::new(file, line, message)
    }

    /// Returns all functions, entry points among them.
    pub(super) fn functions(&self) -> impl Iterator<Item = &Function> {
        let points = self.module.entry_points.iter().map(|point| &point.function);
        self.module.functions.iter().map(|(_, function)| function).chain(points)
    }
}

/// A rule about a shader.
pub(super) struct Lint {
    pub(super) name: &'static str,
    /// What the rule requires.
    pub(super) summary: &'static str,
    /// Why it does so.
    pub(super) reason: &'static str,
    pub(super) check: fn(&Subject<'_>) -> Vec<Problem>,
}

pub(super) fn apply(lint: &Lint, subject: &Subject<'_>) -> Vec<Problem> {
    let explain = |problem: Problem| problem.detail(format!("{}: {}; {}", lint.name, lint.summary, lint.reason));
    (lint.check)(subject).into_iter().map(explain).collect()
}

/// Calls `visit` for every statement of a block, inner blocks included.
pub(super) fn each_statement(block: &Block, visit: &mut dyn FnMut(&Statement, Span)) {
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

/// Returns the findings of a rule on a shader. Each rule's own tests use it.
#[cfg(test)]
pub(super) fn findings(lint: &Lint, text: &str) -> Vec<String> {
    use crate::compile::{assemble::assemble, check::check, manifest::Switches};
    let source = Source { name: "x".to_owned(), path: "shaders/ops/x.wgsl".to_owned(), text: text.to_owned() };
    let mut switches = Switches::base();
    switches.flags.insert("SUBGROUP".to_owned());
    let assembled = assemble(&source, &switches, &Default::default(), &Default::default()).expect("assembles");
    let (module, info) = check(&assembled, &switches).expect("valid");
    let subject = Subject { source: &source, assembled: &assembled, module: &module, info: &info };
    apply(lint, &subject).iter().map(ToString::to_string).collect()
}
