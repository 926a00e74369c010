//! The shader compiler: from the tree of WGSL files to checked, reflected kernels.
//!
//! `build.rs` runs it; the library includes it under `cfg(test)` so that each step can be tested alone.
//! The steps in order: [`Tree::read`], [`manifest`], [`assemble`], [`check`] (naga), [`reflect`], [`lint`], agreement
//! of the variants, [`emit`].

mod agree;
mod assemble;
mod check;
mod emit;
mod interface;
mod lint;
mod manifest;
mod problem;
mod reflect;
mod tree;

pub(crate) use emit::emit;
pub(crate) use tree::Tree;

use assemble::Assembled;
use manifest::Switches;
use problem::Problem;
use reflect::Entry;

/// A compiled shader.
#[derive(Debug)]
pub(crate) struct Shader {
    pub(crate) name: String,
    pub(crate) path: String,
    /// The comment at the top of the file.
    pub(crate) header: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) variants: Vec<(Switches, Assembled)>,
}

/// Compiles every shader of the tree, or returns all problems.
pub(crate) fn compile(tree: &Tree) -> Result<Vec<Shader>, Vec<Problem>> {
    let manifest = manifest::Manifest::parse(&tree.manifest)?;
    let mut problems = tree.check_names(&manifest);
    for library in tree.library.values() {
        problems.extend(lint::library(library));
    }
    let mut shaders = Vec::new();
    for source in &tree.shaders {
        match compile_one(source, tree, &manifest) {
            Ok(shader) => shaders.push(shader),
            Err(found) => problems.extend(found),
        }
    }
    // The variants of a shader share most of their source, and so most of their mistakes.
    let mut distinct: Vec<Problem> = Vec::new();
    for problem in problems {
        if !distinct.contains(&problem) {
            distinct.push(problem);
        }
    }
    if distinct.is_empty() { Ok(shaders) } else { Err(distinct) }
}

fn compile_one(source: &assemble::Source, tree: &Tree, manifest: &manifest::Manifest) -> Result<Shader, Vec<Problem>> {
    let all = manifest.variants(&source.name);
    let mut problems = Vec::new();
    let mut modules = Vec::new();
    let mut reflected = Vec::new();
    for switches in &all {
        match compile_variant(source, switches, tree, manifest) {
            Ok((assembled, entries)) => {
                modules.push(assembled);
                reflected.push((switches, entries));
            }
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let entries = agree::merge(source, &reflected)?;
    Ok(Shader {
        name: source.name.clone(),
        path: source.path.clone(),
        header: lint::header_comment(&source.text),
        entries,
        variants: all.into_iter().zip(modules).collect(),
    })
}

fn compile_variant(
    source: &assemble::Source,
    switches: &Switches,
    tree: &Tree,
    manifest: &manifest::Manifest,
) -> Result<(Assembled, Vec<Entry>), Vec<Problem>> {
    let assembled = assemble::assemble(source, switches, &tree.library, manifest).map_err(|problem| vec![problem])?;
    let (module, info) = check::check(&assembled, switches).map_err(|problem| vec![problem])?;
    let subject = lint::Subject { source, assembled: &assembled, module: &module, info: &info };
    let mut problems = lint::shader(&subject);
    match reflect::reflect(&subject) {
        Ok(entries) if problems.is_empty() => Ok((assembled, entries)),
        Ok(_) => Err(problems),
        Err(problem) => {
            problems.push(problem);
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests;
