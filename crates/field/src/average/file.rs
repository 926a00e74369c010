//! Averaged operators from files: results of [`super::average`], and lens files of TransformerLens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use resolvent_model::Run;

use super::torch::{self, lens::Lens};
use crate::certificate::dot;
use crate::error::{Error, Result};
use crate::file::{check_writable, write_whole};
use crate::labelled::Labelled;
use crate::place::shape;

/// Averaged operators to the last level, of some levels of one model.
#[derive(Clone, Debug)]
pub struct AveragedOperator {
    /// The file that they come from, for messages.
    path: PathBuf,
    d: usize,
    /// `[d, d]` of each level, rows are components of h\[L\].
    levels: BTreeMap<usize, Vec<f32>>,
    prompts: usize,
    /// Level of which rows are components, if the file says so.
    last: Option<usize>,
    metadata: BTreeMap<String, String>,
}

impl AveragedOperator {
    /// Takes the operators of a result of [`super::average`].
    ///
    /// # Errors
    /// A result of another analysis.
    pub fn of(result: &Labelled) -> Result<Self> {
        let operator = result.array("operator").filter(|a| a.axes.len() == 3 && a.axes[1].1 == a.axes[2].1);
        let Some(operator) = operator.filter(|a| a.axes[0].1 > 1 && a.axes[1].1 > 0) else {
            let reason = "has no array `operator` [L+1, d, d]; give a result of `average`";
            return Err(Error::Input(format!("the result {reason}")));
        };
        let (levels, d) = (operator.axes[0].1, operator.axes[1].1);
        Ok(Self {
            path: PathBuf::new(),
            d,
            levels: operator.data.chunks(d * d).map(<[f32]>::to_vec).enumerate().collect(),
            prompts: result.number("prompts").map_or(0, |n| n as usize),
            last: Some(levels - 1),
            metadata: result.metadata.clone(),
        })
    }

    /// Reads a result of [`super::average`] (.safetensors), or a lens file that TransformerLens 4 or the reference
    /// implementation of the Jacobian lens wrote (.pt).
    ///
    /// A lens file numbers blocks: its matrix of block l is of their outputs, level l + 1.
    ///
    /// # Errors
    /// A file that cannot be read, another ending, or another content.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::File { path: path.to_owned(), reason };
        let mut found = match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Self::of(&Labelled::read(path)?).map_err(|e| fail(e.to_string()))?,
            Some("pt") => {
                let bytes = std::fs::read(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
                let lens = torch::read(&bytes).map_err(|reason| fail(format!("is not a lens file: {reason}")))?;
                Self {
                    path: PathBuf::new(),
                    d: lens.d,
                    levels: lens.blocks.into_iter().map(|(block, matrix)| (block + 1, matrix)).collect(),
                    prompts: lens.prompts,
                    last: lens.target.and_then(|block| block.checked_add(1)),
                    metadata: lens.metadata,
                }
            }
            _ => return Err(fail("a file of averaged operators ends in .safetensors or .pt".to_owned())),
        };
        if let Some((level, _)) = found.levels.iter().find(|(_, matrix)| !matrix.iter().all(|x| x.is_finite())) {
            return Err(fail(format!("the operator of level {level} has elements that are not finite")));
        }
        path.clone_into(&mut found.path);
        Ok(found)
    }

    /// Checks that [`AveragedOperator::write_lens`] could write to `path`, before the work is done.
    ///
    /// # Errors
    /// An ending other than `.pt`, or a directory that is missing or not writable.
    pub fn check_path(path: &Path) -> Result<()> {
        match path.extension().is_some_and(|e| e == "pt") {
            true => check_writable(path),
            false => Err(Error::File { path: path.to_owned(), reason: "a lens file ends in .pt".to_owned() }),
        }
    }

    /// Writes a lens file, which `JacobianLens.load` of TransformerLens 4.3 reads: the levels 1 to L - 1, as outputs of
    /// the blocks 0 to L - 2, in f32.
    ///
    /// # Errors
    /// As [`AveragedOperator::check_path`], a model of one block, which has no such level, or a file of 4 GiB or more.
    pub fn write_lens(&self, path: &Path) -> Result<()> {
        Self::check_path(path)?;
        let last = self.last.unwrap_or(usize::MAX);
        let blocks = self.levels.range(1..last).map(|(level, matrix)| (level - 1, matrix.clone())).collect();
        let lens = Lens {
            blocks,
            d: self.d,
            prompts: self.prompts,
            target: self.last.map(|level| level - 1),
            metadata: self.metadata.clone(),
        };
        let bytes = torch::write(&lens).map_err(|reason| Error::File { path: path.to_owned(), reason })?;
        write_whole(path, &bytes)
    }

    /// Returns the levels that have an operator, ascending.
    pub fn levels(&self) -> Vec<usize> {
        self.levels.keys().copied().collect()
    }

    /// Returns the operator `[d, d]` of a level, rows are components of h\[L\]; `None` if there is none.
    pub fn operator(&self, level: usize) -> Option<&[f32]> {
        self.levels.get(&level).map(Vec::as_slice)
    }

    /// Returns the width d.
    pub fn width(&self) -> usize {
        self.d
    }

    /// Returns over how many prompts the operators are averaged; 0 if the file does not say so.
    pub fn prompts(&self) -> usize {
        self.prompts
    }

    /// Returns what the file says about itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Checks that the operators are of the model of a run.
    pub(crate) fn check(&self, run: &Run) -> Result<()> {
        let (levels, _, d) = shape(run);
        let (last, model) = (levels - 1, run.model());
        let fail = |what: String| {
            let reason = format!("{what}; give operators of {}", model.name());
            Err(match self.path.as_os_str().is_empty() {
                true => Error::Input(format!("the averaged operators: {reason}")),
                false => Error::File { path: self.path.clone(), reason },
            })
        };
        if self.d != d {
            return fail(format!("they have width {}, and the model {d}", self.d));
        }
        if let Some(target) = self.last.filter(|&target| target != last) {
            return fail(format!("they lead to level {target}, and the model's last is {last}"));
        }
        if let Some(level) = self.levels.keys().find(|&&level| level > last) {
            return fail(format!("they have level {level}, and the model's last is {last}"));
        }
        match self.metadata.get("model_hash") {
            Some(hash) if hash != model.hash() => fail("they are of a model with other weights".to_owned()),
            _ => Ok(()),
        }
    }

    /// Returns the levels that can be read, and their rows in the place of those of level L: `J[l] h[l, t]`,
    /// `[levels, T, d]`. Level L is itself.
    pub(crate) fn transported(&self, run: &Run) -> Result<(Vec<usize>, Vec<f32>)> {
        self.check(run)?;
        let (count, tokens, d) = shape(run);
        let field = run.field()?;
        let has = |level: &usize| level + 1 == count || self.levels.contains_key(level);
        let levels: Vec<usize> = (0..count).filter(has).collect();
        let mut rows = Vec::with_capacity(levels.len() * tokens * d);
        for &level in &levels {
            let h = &field[level * tokens * d..][..tokens * d];
            match self.operator(level).filter(|_| level + 1 < count) {
                Some(operator) => rows.par_extend(
                    h.par_chunks(d).flat_map_iter(|h| operator.chunks(d).map(move |row| dot(row, h) as f32)),
                ),
                None => rows.extend_from_slice(h),
            }
        }
        match rows.iter().position(|x| !x.is_finite()) {
            None => Ok((levels, rows)),
            Some(at) => Err(Error::NotFinite {
                array: "averaged operator".to_owned(),
                value: rows[at],
                place: format!("level {}, token {}", levels[at / (tokens * d)], at / d % tokens),
            }),
        }
    }
}
