//! The files: `ops`, `fused` and `analysis` hold shaders, `lib` what they import, `parts` what one of them imports.

use super::{
    assemble::{Library, Source},
    manifest::{self, Manifest},
    problem::Problem,
};
use std::{fs, io, path::Path};

const FOLDERS: [&str; 3] = ["ops", "fused", "analysis"];

/// What shaders import. A file of the second folder belongs to one shader, with whose name its own begins, and may use what that
/// declares.
const IMPORTED: [&str; 2] = ["lib", "parts"];

/// Everything that the compiler reads.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) shaders: Vec<Source>,
    pub(crate) library: Library,
    /// The text of `variants.toml`; empty where there is none.
    pub(crate) manifest: String,
}

impl Tree {
    /// Reads `shaders/` below the root of the repository. A folder that is missing is empty.
    pub(crate) fn read(root: &Path) -> Result<Self, Vec<Problem>> {
        let mut tree = Self::default();
        for folder in FOLDERS {
            tree.shaders.extend(read_folder(root, folder).map_err(|problem| vec![problem])?);
        }
        for folder in IMPORTED {
            for source in read_folder(root, folder).map_err(|problem| vec![problem])? {
                tree.library.insert(source.name.clone(), source);
            }
        }
        tree.manifest = match fs::read_to_string(root.join(manifest::PATH)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(vec![Problem::new(manifest::PATH, 0, error.to_string())]),
        };
        Ok(tree)
    }

    /// Names become Rust modules and the halves of kernel names, so they are held to snake_case and to be distinct.
    pub(crate) fn check_names(&self, manifest: &Manifest) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, source) in self.shaders.iter().enumerate() {
            if !is_snake_case(&source.name) {
                problems.push(Problem::new(&source.path, 0, "a shader's file name has to be snake_case"));
            }
            if let Some(other) = self.shaders[..index].iter().find(|other| other.name == source.name) {
                problems.push(Problem::new(&source.path, 0, format!("{} has the same name", other.path)));
            }
        }
        for name in manifest.shaders() {
            if !self.shaders.iter().any(|source| source.name == name) {
                let message = format!("there is no shader `{name}` in {}", FOLDERS.join(", "));
                problems.push(Problem::new(manifest::PATH, 0, message));
            }
        }
        problems
    }
}

pub(crate) fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn read_folder(root: &Path, folder: &str) -> Result<Vec<Source>, Problem> {
    let place = format!("shaders/{folder}");
    let problem = |error: io::Error| Problem::new(&place, 0, error.to_string());
    let entries = match fs::read_dir(root.join(&place)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(problem(error)),
    };
    let mut sources = Vec::new();
    for entry in entries {
        let path = entry.map_err(problem)?.path();
        if path.extension().is_none_or(|extension| extension != "wgsl") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).map_err(problem)?;
        sources.push(Source { path: format!("{place}/{name}.wgsl"), name, text });
    }
    // The order of a directory is the file system's; that of the generated code must not be.
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}
