//! The assembler: `#import name`, `#ifdef FLAG`, `#ifndef FLAG`, `#else`, `#endif`, and a line map.
//!
//! Text stays text: nothing is renamed or re-emitted, so a driver's message and a pipeline constant's name mean what
//! the author wrote, and [`LineMap`] leads from any assembled line back to its file.

use super::{
    manifest::{self, Manifest, Switches},
    problem::Problem,
};
use std::collections::{BTreeMap, BTreeSet};

/// One file of `shaders/`.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// File name without folder and ending.
    pub(crate) name: String,
    /// Path from the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Whether this is a piece of one shader.
    pub(crate) fn is_part(&self) -> bool {
        self.path.starts_with("shaders/parts/")
    }

    /// Whether it is a piece of this one, by its name.
    pub(crate) fn is_part_of(&self, shader: &str) -> bool {
        self.is_part() && self.name.strip_prefix(shader).is_some_and(|rest| rest.starts_with('_'))
    }
}

/// The files of `shaders/lib` and `shaders/parts`, by name.
pub(crate) type Library = BTreeMap<String, Source>;

/// Where each assembled line was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineMap(Vec<(String, u32)>);

impl LineMap {
    /// File and line of an assembled line; both count from 1.
    pub(crate) fn locate(&self, line: u32) -> (&str, u32) {
        let index = (line.max(1) as usize - 1).min(self.0.len().saturating_sub(1));
        self.0.get(index).map_or(("", line), |(file, line)| (file, *line))
    }

    /// Runs of lines that follow each other in one file: (first assembled line, file, line there).
    pub(crate) fn runs(&self) -> Vec<(u32, &str, u32)> {
        let mut runs: Vec<(u32, &str, u32)> = Vec::new();
        for (start, (file, line)) in (1..).zip(&self.0) {
            let goes_on =
                runs.last().is_some_and(|&(first, same, from)| same == file && from + (start - first) == *line);
            if !goes_on {
                runs.push((start, file, *line));
            }
        }
        runs
    }
}

/// A whole WGSL module and the way back to the files that it was made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assembled {
    /// The path of the shader that this was assembled for.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) lines: LineMap,
}

impl Assembled {
    fn push(&mut self, line: &str, file: &str, number: u32) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines.0.push((file.to_owned(), number));
    }
}

/// Assembles one variant of a shader.
pub(crate) fn assemble(
    shader: &Source,
    switches: &Switches,
    library: &Library,
    manifest: &Manifest,
) -> Result<Assembled, Problem> {
    let mut assembler = Assembler {
        switches,
        library,
        known_flags: &manifest.flags,
        out: Assembled { path: shader.path.clone(), ..Assembled::default() },
        included: BTreeSet::new(),
        open: Vec::new(),
        seen_flags: BTreeSet::new(),
    };
    // naga takes subgroup operations without a directive and rejects `enable subgroups;` as not yet implemented.
    if switches.f16() {
        assembler.out.push("enable f16;", manifest::PATH, switches.line);
    }
    if switches.cooperative() {
        assembler.out.push("enable wgpu_cooperative_matrix;", manifest::PATH, switches.line);
    }
    for (name, value) in &switches.numbers {
        assembler.out.push(&format!("const {name}: u32 = {value}u;"), manifest::PATH, switches.line);
    }
    assembler.file(shader)?;
    assembler.check_switches(shader)?;
    Ok(assembler.out)
}

struct Assembler<'a> {
    switches: &'a Switches,
    library: &'a Library,
    known_flags: &'a BTreeSet<String>,
    out: Assembled,
    included: BTreeSet<String>,
    /// The files being read, outermost first: an import of one of these is a cycle.
    open: Vec<String>,
    seen_flags: BTreeSet<String>,
}

/// An `#ifdef` that is still open.
struct Branch {
    line: u32,
    taken: bool,
    in_else: bool,
}

impl Assembler<'_> {
    fn file(&mut self, source: &Source) -> Result<(), Problem> {
        self.open.push(source.name.clone());
        let mut branches: Vec<Branch> = Vec::new();
        for (number, line) in (1..).zip(source.text.lines()) {
            let Some(directive) = line.trim_start().strip_prefix('#') else {
                if branches.iter().all(|branch| branch.taken) {
                    self.out.push(line, &source.path, number);
                }
                continue;
            };
            let problem = |message: String| Problem::new(&source.path, number, message);
            let code = directive.split("//").next().unwrap_or_default();
            let mut words = code.split_whitespace();
            let (verb, argument, extra) = (words.next().unwrap_or_default(), words.next(), words.next());
            match (verb, argument, extra) {
                ("import", Some(name), None) => {
                    if branches.iter().all(|branch| branch.taken) {
                        self.import(name, &problem)?;
                    }
                }
                ("ifdef" | "ifndef", Some(flag), None) => {
                    if !self.known_flags.contains(flag) {
                        return Err(problem(format!("no variant declares the flag `{flag}`"))
                            .detail(format!("flags are the booleans of {}", manifest::PATH)));
                    }
                    self.seen_flags.insert(flag.to_owned());
                    let set = self.switches.flags.contains(flag);
                    branches.push(Branch { line: number, taken: set == (verb == "ifdef"), in_else: false });
                }
                ("else", None, None) => match branches.last_mut() {
                    Some(branch) if !branch.in_else => {
                        branch.taken = !branch.taken;
                        branch.in_else = true;
                    }
                    Some(_) => return Err(problem("a second `#else` for one `#ifdef`".to_owned())),
                    None => return Err(problem("`#else` without `#ifdef`".to_owned())),
                },
                ("endif", None, None) => {
                    if branches.pop().is_none() {
                        return Err(problem("`#endif` without `#ifdef`".to_owned()));
                    }
                }
                _ => {
                    return Err(problem(format!("`#{}` is no directive", code.trim_end()))
                        .detail("known: #import NAME, #ifdef FLAG, #ifndef FLAG, #else, #endif"));
                }
            }
        }
        if let Some(branch) = branches.pop() {
            return Err(Problem::new(&source.path, branch.line, "this `#ifdef` has no `#endif`"));
        }
        self.open.pop();
        Ok(())
    }

    fn import(&mut self, name: &str, problem: &dyn Fn(String) -> Problem) -> Result<(), Problem> {
        let library = self.library;
        let Some(source) = library.get(name) else {
            let known = library.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(problem(format!("there is no shaders/lib/{name}.wgsl to import"))
                .detail(format!("known imports: {known}")));
        };
        if source.is_part() && !source.is_part_of(&self.open[0]) {
            return Err(problem(format!("{} is a part of another shader", source.path)));
        }
        if self.open[1..].iter().any(|open| open == name) {
            return Err(problem(format!("cyclic import: {} -> {name}", self.open[1..].join(" -> "))));
        }
        if self.included.insert(name.to_owned()) {
            self.file(source)?;
        }
        Ok(())
    }

    /// A flag that the text never asks for is a typing error in one of the two places. A number may be meant for the
    /// launching side alone, and a feature for naga alone.
    fn check_switches(&self, shader: &Source) -> Result<(), Problem> {
        for flag in &self.switches.flags {
            let is_feature = manifest::FEATURES.contains(&flag.as_str());
            if !is_feature && !self.seen_flags.contains(flag) {
                let message = format!("flag `{flag}` of `{}.{}` is never used", shader.name, self.switches.variant);
                return Err(Problem::new(manifest::PATH, self.switches.line, message)
                    .detail(format!("looked for in {}", shader.path)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
