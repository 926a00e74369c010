//! Which file of a crate imports from which, and the circles of these imports.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::{self, Import, Module};

/// Longest chain of re-exports that is followed.
const LONGEST: usize = 12;

/// The files of a crate that are reached from its root by declarations of modules.
pub(super) struct Sources {
    files: Vec<String>,
    modules: Vec<Placed>,
}

/// A module, its path from the root of the crate and the file that contains it.
struct Placed {
    path: Vec<String>,
    file: usize,
    module: Module,
}

/// What a path names.
#[derive(Debug, PartialEq)]
enum Named {
    Module(usize),
    /// Something that the file defines.
    Item(usize),
}

impl Sources {
    /// Reads the crate whose root is the file `root`. `text` returns the text of a file, or `None` if there is none.
    pub(super) fn read(root: &str, text: impl Fn(&str) -> Option<String>) -> Self {
        let mut sources = Self { files: Vec::new(), modules: Vec::new() };
        let mut open = vec![(Vec::new(), root.to_owned())];
        while let Some((path, file)) = open.pop() {
            let source = text(&file).unwrap_or_else(|| panic!("there is no {file}"));
            let (folder, name) = file.rsplit_once('/').unwrap_or(("", &file));
            let is_folder = path.is_empty() || name == "mod.rs";
            let below = if is_folder { folder.to_owned() } else { file.trim_end_matches(".rs").to_owned() };
            let at = sources.files.len();
            for module in parse::modules(&source) {
                let path = [&path[..], &module.inline].concat();
                for (name, attribute) in &module.files {
                    let inside = [&[below.clone()][..], &module.inline].concat().join("/");
                    let found = match attribute {
                        Some(relative) => flat(&format!("{folder}/{relative}")),
                        None => {
                            let alone = flat(&format!("{inside}/{name}.rs"));
                            if text(&alone).is_some() { alone } else { flat(&format!("{inside}/{name}/mod.rs")) }
                        }
                    };
                    open.push(([&path[..], std::slice::from_ref(name)].concat(), found));
                }
                sources.modules.push(Placed { path, file: at, module });
            }
            sources.files.push(file);
        }
        sources
    }

    /// Returns the number of files.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    fn module(&self, path: &[String]) -> Option<usize> {
        self.modules.iter().position(|placed| placed.path == path)
    }

    /// Returns what `path` names in the module `at`. `but` is an import that is not followed: the one that is being
    /// resolved. `is_scope` is whether `at` is the module in which the path is written.
    fn resolve(&self, at: usize, path: &[String], but: Option<&Import>, is_scope: bool, depth: usize) -> Vec<Named> {
        let placed = &self.modules[at];
        let Some((first, rest)) = path.split_first() else { return vec![Named::Module(at)] };
        if depth == LONGEST {
            return Vec::new();
        }
        let inside = |module: Option<usize>| {
            module.map_or_else(Vec::new, |module| self.resolve(module, rest, None, false, depth + 1))
        };
        match first.as_str() {
            "crate" | "$crate" => return inside(self.module(&[])),
            "self" => return self.resolve(at, rest, but, false, depth + 1),
            "super" => {
                let outer = placed.path.split_last().and_then(|(_, outer)| self.module(outer));
                return inside(outer);
            }
            _ => {}
        }
        let mut found = inside(self.module(&[&placed.path[..], std::slice::from_ref(first)].concat()));
        for import in placed.module.imports.iter().filter(|import| import.name == *first && Some(*import) != but) {
            let whole = [&import.path[..], rest].concat();
            found.extend(self.resolve(at, &whole, Some(import), true, depth + 1));
        }
        if placed.module.items.contains(first) {
            found.push(Named::Item(placed.file));
        }
        if found.is_empty() && !is_scope {
            for import in placed.module.imports.iter().filter(|import| import.name == "*" && import.is_public) {
                for named in self.resolve(at, &import.path, Some(import), true, depth + 1) {
                    let Named::Module(module) = named else { continue };
                    found.extend(self.resolve(module, path, None, false, depth + 1));
                }
            }
        }
        if found.is_empty() && !is_scope {
            // A macro may have defined it.
            found.push(Named::Item(placed.file));
        }
        found
    }

    /// Returns whether the module of a file contains `placed`, as a module contains its parts.
    fn contains(&self, file: usize, placed: &Placed) -> bool {
        let whole = self.modules.iter().find(|module| module.file == file).map(|module| &module.path);
        whole.is_some_and(|whole| whole.len() < placed.path.len() && placed.path.starts_with(whole))
    }

    /// Returns for each file the files whose items it imports or names. What a part takes from the modules that contain
    /// it is left out: the whole and its part are read together.
    pub(super) fn imports(&self) -> BTreeMap<usize, BTreeSet<usize>> {
        let mut edges: BTreeMap<usize, BTreeSet<usize>> =
            (0..self.files.len()).map(|at| (at, BTreeSet::new())).collect();
        for (at, placed) in self.modules.iter().enumerate() {
            let mut add = |path: &[String], but: Option<&Import>, is_glob: bool| {
                for named in self.resolve(at, path, but, true, 0) {
                    let file = match named {
                        Named::Item(file) => file,
                        // The name of a module alone imports nothing: paths in the code say what is used of it.
                        Named::Module(module) if is_glob => self.modules[module].file,
                        Named::Module(_) => continue,
                    };
                    if file != placed.file && !self.contains(file, placed) {
                        edges.entry(placed.file).or_default().insert(file);
                    }
                }
            };
            for import in &placed.module.imports {
                // A re-export that the module itself does not use is for others.
                if !import.is_public || placed.module.words.contains(&import.name) {
                    add(&import.path, Some(import), import.name == "*");
                }
            }
            for path in &placed.module.paths {
                add(path, None, false);
            }
        }
        edges
    }

    /// Returns the circles, each as sorted names of files: the largest sets in which each file imports every other one,
    /// directly or through others of the set.
    pub(super) fn circles(&self) -> Vec<Vec<String>> {
        let edges = self.imports();
        let reach = |start: usize| {
            let (mut open, mut seen) = (vec![start], BTreeSet::new());
            while let Some(at) = open.pop() {
                open.extend(edges[&at].iter().filter(|next| seen.insert(**next)));
            }
            seen
        };
        let reached: Vec<BTreeSet<usize>> = (0..self.files.len()).map(reach).collect();
        let mut found: Vec<Vec<String>> = Vec::new();
        for at in (0..self.files.len()).filter(|at| reached[*at].contains(at)) {
            let with = reached[at].iter().filter(|other| reached[**other].contains(&at));
            let mut circle: Vec<String> = with.map(|other| self.files[*other].clone()).collect();
            circle.sort();
            if !found.contains(&circle) {
                found.push(circle);
            }
        }
        found.sort();
        found
    }

    /// Returns the imports between `files`, as lines `a -> b`.
    pub(super) fn within(&self, files: &[String]) -> Vec<String> {
        let name = |at: usize| &self.files[at];
        let pairs = self.imports().into_iter().flat_map(|(from, all)| all.into_iter().map(move |to| (from, to)));
        let inside = pairs.filter(|(from, to)| files.contains(name(*from)) && files.contains(name(*to)));
        let mut lines: Vec<String> = inside.map(|(from, to)| format!("{} -> {}", name(from), name(to))).collect();
        lines.sort();
        lines
    }
}

/// Returns a path without `..` and empty names.
fn flat(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => _ = parts.pop(),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}
